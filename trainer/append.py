"""A file that is only ever appended to, by whole lines."""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from trainer.errors import InUseError, StorageError

_CHUNK_BYTES = 1 << 20
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class AppendFile:
    """Lines written by one process: it holds the file's lock, and has cut off what a killed one left torn.

    Raises:
        InUseError: another process holds the file.
        StorageError: it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            self._lock()
            if stat.S_ISREG(os.fstat(self._file).st_mode):
                os.ftruncate(self._file, _whole_lines(path))
        except OSError as error:
            raise storage_error(error, path) from error

    def write_line(self, line: bytes) -> None:
        """Append one line, given without its end. On a full disk nothing of it stays."""
        data = line + b"\n"
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            if written:
                with suppress(OSError):
                    os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise storage_error(error, self._path) from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise InUseError(
                f"{self._path} is being written by another process: this run is being trained already"
            ) from error

    def flush(self) -> None:
        """Return once every line is on disk."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise storage_error(error, self._path) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _whole_lines(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    end = path.stat().st_size
    with path.open("rb") as file:
        while end > 0:
            start = max(0, end - _CHUNK_BYTES)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0


def storage_error(error: OSError, path: Path) -> StorageError:
    """What to tell the user when `path` could not be written."""
    advice = (
        "free some space and run again: a run goes on from its last checkpoint"
        if error.errno in _NO_SPACE
        else "see that the folder may be written, and run again"
    )
    return StorageError(f"{path} could not be written ({error.strerror or error}); {advice}")
