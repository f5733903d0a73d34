"""Run a program that cannot outlive the test process, even when that is killed with SIGKILL.

Called as a script: ``python guard.py PARENT_PID program arguments...``. It asks the kernel to
kill this process when its parent dies, and then becomes the program (the setting survives exec).
Doing it here, rather than between fork and exec in the test process, is what makes it safe while
other threads are running there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
