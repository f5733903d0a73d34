"""`rbhq-stream tail`, `replay` and `record`: the feed, or a recording of it, as it comes; and recording it."""

from rbhq_stream._tail.origins import Origin, live, recorded
from rbhq_stream._tail.recording import record
from rbhq_stream._tail.showing import Look, show
from rbhq_stream._tail.since import parse_since

__all__ = ["Look", "Origin", "live", "parse_since", "record", "recorded", "show"]
