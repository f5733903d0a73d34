"""What RBHQ gave the partner, and how the feed behaves: `FeedConfig`."""

from rbhq_stream._config.feed_config import FeedConfig, Topics, read_ahead_bytes

__all__ = ["FeedConfig", "Topics", "read_ahead_bytes"]
