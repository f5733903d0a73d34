"""The Python environments of the peers: made once, in the cache folder, from the pinned versions beside this module."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.broker.install import cache_folder

_HERE = Path(__file__).parent
OURS = "ours"
"""The environment that the benchmark itself runs in: the library and its dependencies."""


class UnavailableError(Exception):
    """An environment can't be made, with the reason."""


def python_of(environment: str) -> Path:
    """The interpreter of an environment: `OURS`, or the name of a `.txt` file here."""
    if environment == OURS:
        return Path(sys.executable)
    requirements = _HERE / f"{environment}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "bench" / f"{environment}-{platform.python_version()}-{digest}"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making the environment {environment!r} in {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        install = "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)
        made = subprocess.run([str(python), *install], capture_output=True, text=True, timeout=600, check=False)
        if made.returncode:
            raise UnavailableError(f"pip: {(made.stderr.strip().splitlines() or ['it failed'])[-1]}")
        done.touch()
    return python
