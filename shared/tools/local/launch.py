"""Become another program that dies with its parent.

Run as `python -I -S launch.py PARENT_PID PROGRAM ARGUMENTS…`. The kernel then kills the program
when the thread that started it ends, however it ends, so a supervisor killed with kill -9 leaves
nothing behind. A launcher instead of subprocess's preexec_fn, which is unsafe with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arrange to die with the parent, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above could take effect
        sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
