"""A lock on a file that processes we start can share.

It is let go of when the last process that has it open is gone, so what outlives a killed sweepctl for some
seconds still holds it. (`filelock` keeps its descriptor to itself.)
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self


class LockFile:
    """An exclusive lock. What is written into the file is for whoever finds it locked."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        """To be handed on to guards, with `pass_fds`."""

    @classmethod
    def take(cls, path: Path, *, wait: bool = False) -> Self | None:
        """Lock a file, which is made; None when another process has it.

        Raises:
            OSError: it cannot be opened.
        """
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def write(self, text: str) -> None:
        """Replace what the file says."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, text.encode(), 0)

    def release(self) -> None:
        """Let go of it, unless a process that was handed the descriptor still lives."""
        os.close(self.descriptor)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for a lock and hold it; for what takes moments."""
    lock = LockFile.take(path, wait=True)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        # Without O_CREAT: in a folder that users share, the system refuses it for somebody else's file.
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        with suppress(PermissionError):
            os.fchmod(descriptor, 0o666)
        return descriptor
