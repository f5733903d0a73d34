"""``PostgresServer``: a PostgreSQL server in a temporary folder, which ends with the test process."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from types import TracebackType

import psycopg
from typing_extensions import Self

from tests.broker import guard
from tests.postgres.install import install

START_TIMEOUT = 60.0
"""Seconds that the server may take to accept connections."""
_CONFIG = """
listen_addresses = ''
unix_socket_directories = '{folder}'
max_connections = 50
shared_buffers = 16MB
# The tests kill clients, never the server: its data need not survive a power cut.
fsync = off
full_page_writes = off
"""


class PostgresServer:
    """A server for one test session, reached by a Unix socket.

    PostgreSQL refuses to run as root. When the tests do, it runs as the user ``nobody``, who may not be allowed to
    enter the folder of the virtual environment: the wheel's programs are copied out of it.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rbhq-postgres-"))
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = count(1)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def dsn(self) -> str:
        """The connection string."""
        return f"host={self._folder} user=postgres dbname=postgres"

    def create_schema(self) -> str:
        """Creates an empty schema, and returns a connection string whose tables are in it."""
        name = f"test{next(self._schemas)}"
        with psycopg.connect(self.dsn) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.dsn} options=-csearch_path={name}"

    def stop(self) -> None:
        """Stops the server at once and removes its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # the immediate shutdown, which needs no goodbye of any client
            self._process.wait()
        shutil.rmtree(self._folder)

    def _start(self) -> None:
        programs = install()
        user: list[str] = []
        if os.geteuid() == 0:
            if programs.is_relative_to(sys.prefix):
                programs = _copy_of_wheel(programs, self._folder)
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            user = ["--user", nobody.pw_name]
        data = self._folder / "data"
        guarded = [sys.executable, "-I", "-S", str(guard.__file__), *user, str(os.getpid())]
        with self._log.open("wb") as log:
            command = [*guarded, str(programs / "initdb"), "--auth=trust", "--username=postgres", "--encoding=UTF8"]
            command += ["--locale=C", "--no-sync", "-D", str(data)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=False)
            if done.returncode != 0:
                raise RuntimeError(f"initdb failed:\n{self._log.read_text()}")
            with (data / "postgresql.conf").open("a") as config:
                config.write(_CONFIG.format(folder=self._folder))
            command = [*guarded, str(programs / "postgres"), "-D", str(data)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}") from None
                time.sleep(0.05)
            else:
                return


def _copy_of_wheel(programs: Path, folder: Path) -> Path:
    """Copies the server, and the libraries that its programs expect beside the wheel's package."""
    installed, package = programs.parent, programs.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    copy = folder / package.name / installed.name
    shutil.copytree(installed, copy, ignore=shutil.ignore_patterns("include"))
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return copy / programs.name
