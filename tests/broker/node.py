"""One Kafka node: the process, and everything that can happen to it."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.broker import guard, wire
from tests.broker.config import LOG4J, Ports
from tests.broker.install import class_archive, java_command

_JVM = [
    *("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *("-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true"),
]
# The kernel counts the *thread* that started a process as its parent: when a test starts a node
# from a thread of its own, the node must not be killed as that thread ends. So one thread that
# stays until the end starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-starter")
_nodes: weakref.WeakSet[KafkaNode] = weakref.WeakSet()


class BrokerError(RuntimeError):
    """A broker did not start, or is not in the state a test asked for; has the end of its log."""


class KafkaNode:
    """A broker and controller in one process, with its data, configuration and log in a folder.

    It listens on the same ports through every restart, and keeps its data.
    """

    def __init__(
        self, node_id: int, directory: Path, ports: Ports, libs: Path, jvm_options: Sequence[str] = ()
    ) -> None:
        self.node_id = node_id
        self.directory = directory
        self.ports = ports
        self.log_file = directory / "server.log"
        self._libs = libs
        self._jvm_options = jvm_options
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        (directory / "tmp").mkdir(parents=True)
        (directory / "log4j2.properties").write_text(LOG4J)
        _nodes.add(self)

    @property
    def pid(self) -> int | None:
        """The process id while it runs (also while paused), else None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether there is a process and it is not paused."""
        return self.pid is not None and not self._paused

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the node wrote to its log."""
        if not self.log_file.exists():
            return "(no log)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    def write_properties(self, text: str) -> None:
        """Set the configuration used from the next start on."""
        (self.directory / "server.properties").write_text(text)

    def format(self, cluster_id: str, admin_password: str) -> None:
        """Prepare the empty data folder, as Kafka requires once; needs ``write_properties``."""
        scram = f"SCRAM-SHA-512=[name=admin,password={admin_password}]"
        properties = str(self.directory / "server.properties")
        arguments = ["format", f"--cluster-id={cluster_id}", "--config", properties]
        process = self._java("kafka.tools.StorageTool", *arguments, "--add-scram", scram)
        if process.wait(60) != 0:
            raise BrokerError(f"node {self.node_id} could not be formatted:\n{self.log_tail()}")
        self.log_file.unlink()  # it had nothing else in it

    def start(self, *, wait: bool = True) -> None:
        """Start the process; with ``wait``, return only once it serves clients."""
        if self.pid is not None:
            raise BrokerError(f"node {self.node_id} is already running")
        self._paused = False
        self._process = self._java("kafka.Kafka", str(self.directory / "server.properties"))
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the node answers requests and is a member of the cluster.

        With three nodes that takes two of them: one alone has no quorum.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self.pid is None:
                raise BrokerError(f"node {self.node_id} stopped:\n{self.log_tail()}")
            try:
                if self.node_id in wire.metadata(self.ports.internal).brokers:
                    return
            except wire.NoAnswerError:
                pass
            if time.monotonic() > deadline:
                raise BrokerError(f"node {self.node_id} was not ready in {timeout:g} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def stop(self, timeout: float = 20) -> None:
        """Shut down in an orderly way (SIGTERM), as for an upgrade.

        A node without a quorum can wait for the others for minutes; it is killed after ``timeout``.
        """
        if self.pid is None or self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process on the spot (SIGKILL), as in a crash."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
        self._paused = False

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): its connections stay open, and nothing responds."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self._paused = False

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is None:
            raise BrokerError(f"node {self.node_id} is not running")
        os.kill(pid, number)

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        options = [
            f"-Djava.io.tmpdir={self.directory / 'tmp'}",
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
            f"-XX:ErrorFile={self.directory / 'jvm-crash.log'}",
        ]
        if class_archive().exists():
            options.append(f"-XX:SharedArchiveFile={class_archive()}")
        options += self._jvm_options
        command = [java_command(), *_JVM, *options, "-cp", f"{self._libs}/*", *arguments]
        return _starter.submit(self._spawn, command).result()

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        guarded = [sys.executable, "-I", "-S", str(guard.__file__), str(os.getpid()), *command]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is for pytest, which then stops us
            )


@atexit.register
def _kill_all() -> None:
    for node in list(_nodes):
        node.kill()
