"""What RBHQ gave the partner, and how the feed behaves: `FeedConfig`."""

from rbhq_stream._config.feed_config import FeedConfig, feed_name, read_ahead_bytes
from rbhq_stream._config.topics import Topics

__all__ = ["FeedConfig", "Topics", "feed_name", "read_ahead_bytes"]
