"""No process outlives the one that started it, however that one ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Loaded here, not in the child: between fork and exec only what is already in memory is safe.
_LIBC = ctypes.CDLL(None)


def end_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent ends (Linux; elsewhere a no-op).

    Call in the child. `parent` is the pid that started it: if that is gone already, the signal
    would never come, so the child ends at once.
    """
    if sys.platform != "linux":
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(128 + number)
