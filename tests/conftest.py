"""Every test may use the real broker of `tests.broker`; only those that ask for it start it."""

pytest_plugins = ["tests.broker.fixtures", "tests.memory_feeds"]
