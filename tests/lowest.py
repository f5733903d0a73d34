"""Runs the tests that need no Java with the lowest versions of all dependencies: ``make lowest``.

``python -m tests.lowest`` installs, into the environment that it runs in, the library with each dependency at the lower
bound of ``pyproject.toml``, and what an extra such as ``cattrs[msgspec]`` adds at the lower bound that the dependency
itself declares. Its arguments are those of pytest. ``--with NAME==VERSION`` replaces a lower bound.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping

from tests import ROOT

# Newer tools than the lower bounds allow: pydantic wants a newer typing-extensions.
LEFT_OUT = [
    "--ignore=tests/test_plain_data.py",
    "--ignore=tests/test_docs_operations.py",
    "--ignore=tests/test_docs_pricing_board.py",
    "--ignore=tests/test_tables.py",
]
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([\w,.-]+)\])?\s*\(?>=([\w.]+)")


def lower_bounds(requirements: Iterable[str]) -> dict[str, str]:
    """Returns the lower bound of each requirement that has one, by name."""
    found = (_REQUIREMENT.match(requirement) for requirement in requirements)
    return {match[1]: match[3] for match in found if match}


def own_requirements() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    return re.findall(r'"(.*)"', block[1])


def requirements_of_extras(requirements: Iterable[str]) -> Iterator[str]:
    """Yields what the installed dependencies declare for the extras that are asked for."""
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        for extra in (match[2] or "").split(",") if match else ():
            for declared in importlib.metadata.requires(match[1]) or () if match else ():
                if re.search(rf"extra == ['\"]{extra}['\"]", declared):
                    yield declared


def install(versions: Mapping[str, str]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.writelines(f"{name}=={version}\n" for name, version in versions.items())
        constraints.flush()
        command = [sys.executable, "-m", "pip", "install", "-q", "-e", ".", "--group", "test", "-c", constraints.name]
        subprocess.run(command, cwd=ROOT, check=True)
    importlib.invalidate_caches()


def main(arguments: list[str]) -> int:
    replaced: dict[str, str] = {}
    while arguments[:1] == ["--with"]:
        name, version = arguments[1].split("==")
        replaced[name] = version
        arguments = arguments[2:]
    own = own_requirements()
    versions = {**lower_bounds(own), **replaced}
    install(versions)
    versions = {**versions, **lower_bounds(requirements_of_extras(own)), **replaced}
    install(versions)
    print("with", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in versions if name != "tomli"))
    command = [sys.executable, "-m", "pytest", "--without-java", *LEFT_OUT, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
