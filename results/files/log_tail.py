"""The last lines of what a run's process printed."""

import os
from pathlib import Path

_BLOCK_BYTES = 1 << 16
_MOST_BYTES = 1 << 20
"""Of lines that are longer than that together, only so much of the end is read."""


def last_lines(path: Path, lines: int) -> str:
    """The last lines of a log, without the newline that ends it; bytes that are not UTF-8 as `�`.

    Args:
        path: of the log, however large.
        lines: at least 1.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        least = max(0, start - _MOST_BYTES)
        tail = b""
        # One newline more than lines: the last line may have its own, the first is only whole after one.
        while start > least and tail.count(b"\n") <= lines:
            block = min(_BLOCK_BYTES, start - least)
            start -= block
            file.seek(start)
            tail = file.read(block) + tail
    return b"\n".join(tail.removesuffix(b"\n").split(b"\n")[-lines:]).decode(errors="replace")
