"""Every test may use the real broker of `tests.broker` and the real PostgreSQL of `tests.postgres`.

Only tests that ask for them start them.
"""

pytest_plugins = ["tests.broker.fixtures", "tests.memory_feeds", "tests.pages", "tests.postgres.fixtures"]
