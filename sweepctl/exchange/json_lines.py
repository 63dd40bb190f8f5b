"""The end of JSON lines that were copied: half a line is none, and a whole one may lack its newline."""

import json
import os
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 65536


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that was still being written: one without a newline that is no JSON object."""
    with path.open("r+b") as file:
        end = _whole_lines(file)
        file.seek(end)
        if not _is_object(file.read()):
            file.truncate(end)


def end_last_line(path: Path) -> None:
    """Add the newline that a last line lacks: whoever follows a growing file waits for it."""
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        if _whole_lines(file) < length:
            file.seek(length)
            file.write(b"\n")


def _whole_lines(file: BinaryIO) -> int:
    """Bytes up to the end of the last line that has its newline."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _CHUNK_BYTES)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
