"""Bytes to events and back: `decode` and `encode`. The only room that knows JSON."""

from rbhq_stream._wire.codec import MAX_BYTES, decode, encode

__all__ = ["MAX_BYTES", "decode", "encode"]
