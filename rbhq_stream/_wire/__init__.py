"""Bytes to events and back: `decode` and `encode`. The only package that knows JSON."""

from rbhq_stream._wire.decoding import MAX_BYTES, decode
from rbhq_stream._wire.encoding import encode

__all__ = ["MAX_BYTES", "decode", "encode"]
