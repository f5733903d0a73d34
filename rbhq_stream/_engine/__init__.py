"""How `Feed` and `AsyncFeed` work. Private: import both from `rbhq_stream`."""
