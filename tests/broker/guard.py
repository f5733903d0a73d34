"""Run a program that cannot outlive the test process, even when that is killed with SIGKILL.

Called as a script: ``python guard.py [--user NAME] PARENT_PID program arguments...``. It asks the kernel to
kill this process when its parent dies, and then becomes the program (the setting survives exec).
Doing it here, rather than between fork and exec in the test process, is what makes it safe while
other threads are running there. With ``--user`` root becomes that user first, since the kernel forgets
the setting when the user changes.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    arguments = sys.argv[1:]
    libc = ctypes.CDLL(None)
    if arguments[0] == "--user":
        user = pwd.getpwnam(arguments[1])
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        arguments = arguments[2:]
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
