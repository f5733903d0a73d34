"""`rbhq-stream tail` and `rbhq-stream replay`: what the feed says, or a recording of it, as it comes."""

from rbhq_stream._tail.origins import Origin, live, recorded
from rbhq_stream._tail.showing import Look, show
from rbhq_stream._tail.since import parse_since

__all__ = ["Look", "Origin", "live", "parse_since", "recorded", "show"]
