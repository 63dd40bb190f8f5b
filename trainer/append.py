"""A file that is only ever appended to, by whole lines."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from trainer.errors import StorageError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class AppendFile:
    """Lines written by one process at a time; each is there whole, or torn where that process was killed.

    Raises:
        StorageError: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
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

    def flush(self) -> None:
        """Return once every line is on disk."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise storage_error(error, self._path) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def storage_error(error: OSError, path: Path) -> StorageError:
    """What to tell the user when `path` could not be written."""
    advice = (
        "free some space and run again: a run goes on from its last checkpoint"
        if error.errno in _NO_SPACE
        else "see that the folder may be written, and run again"
    )
    return StorageError(f"{path} could not be written ({error.strerror or error}); {advice}")
