"""What a partner was given by RBHQ, and how the feed is to behave."""

from rbhq_stream._config.feed_config import FeedConfig, Topics, read_ahead_bytes

__all__ = ["FeedConfig", "Topics", "read_ahead_bytes"]
