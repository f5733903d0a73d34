"""The pytest fixtures of PostgreSQL: ``pytest_plugins = ["tests.postgres.fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.postgres.server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The one server that all tests share, started by the first test that needs it."""
    from tests.postgres.server import PostgresServer  # noqa: PLC0415  # its driver is for these tests alone

    with PostgresServer() as server:
        yield server


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    """The connection string of an empty schema for this test alone."""
    return postgres.create_schema()
