"""Fetch Apache Kafka from Maven Central, once, into a cache folder.

When Kafka is already in the cache, ``install`` only checks for Java; otherwise it downloads about
45 MB with Maven.

The cache is ``$RBHQ_STREAM_CACHE``, or else ``rbhq-stream`` in the user's cache folder.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# 4.4.0 is listed on Maven Central but needs kafka-tools-api:4.4.0, which is not there; 4.3.1 is
# the newest release whose parts all are.
KAFKA_VERSION = "4.3.1"
# The same log4j version Kafka itself depends on: the bridge from slf4j, which Kafka leaves out.
LOG4J_VERSION = "2.25.4"
JAVA_VERSION = 17

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>rbhq.stream.tests</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <groupId>org.apache.maven.plugins</groupId>
        <artifactId>maven-dependency-plugin</artifactId>
        <version>3.8.1</version>
      </plugin>
    </plugins>
  </build>
</project>
"""


class InstallError(RuntimeError):
    """Kafka cannot be made available; the text describes what to do about it."""


def cache_folder() -> Path:
    """The folder everything downloaded is kept in."""
    chosen = os.environ.get("RBHQ_STREAM_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rbhq-stream"


def libs_folder() -> Path:
    """Where Kafka's jars are, or will be once installed."""
    return cache_folder() / f"kafka-{KAFKA_VERSION}" / "libs"


def installed() -> bool:
    """Whether Kafka is in the cache. The folder appears in one rename, so it is never half full."""
    return (libs_folder() / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file()


def class_archive() -> Path:
    """Where Java's archive of Kafka's classes is, or will be once ``prepare`` has made it."""
    return libs_folder().parent / "classes.jsa"


def java_command() -> str:
    """The ``java`` to run: the one in ``$JAVA_HOME`` if that is set, else the one on the PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        return str(Path(home) / "bin" / "java")
    return "java"


def java_version() -> int | None:
    """The major version of Java, or None when there is none."""
    try:
        run = subprocess.run([java_command(), "-version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    found = re.search(r'version "(\d+)', run.stderr + run.stdout)
    return int(found[1]) if found else None


def ensure_tools(*, maven: bool = True) -> None:
    """Make sure there is a Java new enough (and Maven): install them when we may, else say how.

    As root on a system with apt-get they are installed from the distribution; anywhere else a
    test run does not change the machine, and the error names what is missing.
    """
    version = java_version()
    java_missing = version is None or version < JAVA_VERSION
    maven_missing = maven and shutil.which("mvn") is None
    if not java_missing and not maven_missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _apt_install(java=java_missing, maven=maven_missing)
        version = java_version()
        java_missing = version is None or version < JAVA_VERSION
        maven_missing = maven and shutil.which("mvn") is None
    wanted = []
    if java_missing:
        found = "there is none" if version is None else f"found Java {version}"
        wanted.append(f"Java {JAVA_VERSION} or newer ({found}; openjdk-17-jre-headless on Debian)")
    if maven_missing:
        wanted.append("Maven (the command mvn; package maven on Debian)")
    if wanted:
        raise InstallError("the test broker needs " + " and ".join(wanted) + ": please install it")


def _apt_install(*, java: bool, maven: bool) -> None:
    names = ["Java"] * java + ["Maven"] * maven
    print(f"installing {' and '.join(names)} with apt-get", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}

    def apt(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)

    def install(*packages: str) -> subprocess.CompletedProcess[str]:
        return apt("install", "-y", "--no-install-recommends", *packages)

    apt("update")
    others = ["maven"] if maven else []
    # Newer distributions no longer have 17; their default is newer, which is as good.
    said = ""
    for candidate in ["openjdk-17-jre-headless", "default-jre-headless"] if java else [None]:
        done = install(*([candidate] if candidate else []), *others)
        if done.returncode == 0:
            return
        said = done.stderr.strip()
    raise InstallError(f"apt-get could not install {' and '.join(names)}:\n{said}")


@contextmanager
def _only_one() -> Iterator[None]:
    """Hold the cache's lock, so that two test runs do not download at the same time."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
        yield


def _download() -> None:
    target = libs_folder().parent
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=".download-") as temporary:
        ready = Path(temporary) / "kafka"
        ready.mkdir()
        (ready / "pom.xml").write_text(_POM)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={ready / 'libs'}"]
        run = subprocess.run(command, cwd=ready, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise InstallError(f"Maven could not download Kafka {KAFKA_VERSION}:\n{run.stdout}")
        shutil.rmtree(target, ignore_errors=True)  # only there if someone took its jars away
        ready.rename(target)


def install() -> Path:
    """Make Kafka available and return the folder of its jars; quick when that is done already."""
    if installed():
        ensure_tools(maven=False)
        return libs_folder()
    with _only_one():
        if not installed():  # another process may have done it while we waited
            ensure_tools()
            print(f"downloading Apache Kafka {KAFKA_VERSION} (once)", flush=True)
            _download()
    return libs_folder()
