"""The steps of a run, read from its trace as they are written."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

RECENT_STEPS = 20
"""Speed, reward and age are means over so many steps."""
BLOCK_BYTES = 1 << 18
"""A trace that is there already is read backwards in such blocks, until the recent steps are found."""
ENOUGH_BYTES = 1 << 20
"""Further back than that one step is enough."""

# Most lines are spans and groups, and a sweep may have a thousand traces: only lines with one of these are
# parsed. Searching for them is several times faster than for a regular expression.
_STEP, _RESUMED = b'"policy_version"', b'"resumed"'
_ALL_ANEW = {"kind": "resumed", "from_step": 0}


class TraceTail:
    """Reads what was appended to a trace since the last look, whole lines only, each byte once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: int | None = None
        self._file: tuple[int, int] | None = None

    def new_records(self) -> list[dict[str, Any]]:
        """The `step` and `resumed` records since the last call; of the first call, the last of them.

        A trace that took the place of another begins with a `resumed` record from step 0.
        """
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                anew = self._is_another(found)
                if anew:
                    self._offset = None
                self._file = (found.st_dev, found.st_ino)
                lines = _wanted_lines(self._look(file, found.st_size))
        except FileNotFoundError:
            return []
        # Of use are the recent steps, and where their attempt began again.
        resumed = [line for line in lines if _RESUMED in line]
        useful = (*resumed[-1:], *lines[-RECENT_STEPS:])
        records = [record for record in map(_record, useful) if record]
        return [_ALL_ANEW, *records] if anew else records

    def _is_another(self, found: os.stat_result) -> bool:
        if self._offset is None:
            return False
        return (found.st_dev, found.st_ino) != self._file or found.st_size < self._offset

    def _look(self, file: BinaryIO, size: int) -> bytes:
        """The whole lines after the offset, which moves to their end."""
        if self._offset is None:
            return self._first_look(file, size)
        if size == self._offset:
            return b""
        file.seek(self._offset)
        whole = _until_last_newline(file.read())
        self._offset += len(whole)
        return whole

    def _first_look(self, file: BinaryIO, size: int) -> bytes:
        """The last lines, as many as are needed to find the recent steps."""
        blocks: list[bytes] = []
        start, steps = size, 0
        while start > 0 and steps < (RECENT_STEPS if size - start < ENOUGH_BYTES else 1):
            length = min(BLOCK_BYTES, start)
            start -= length
            file.seek(start)
            blocks.append(file.read(length))
            steps += blocks[-1].count(_STEP)
        whole = _until_last_newline(b"".join(reversed(blocks)))
        self._offset = start + len(whole)
        return whole if start == 0 else whole[whole.find(b"\n") + 1 :]  # the first is the end of a line


def _until_last_newline(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _wanted_lines(data: bytes) -> list[bytes]:
    starts = sorted({start for mark in (_STEP, _RESUMED) for start in _line_starts(data, mark)})
    lines = (data[start : data.find(b"\n", start)] for start in starts)
    return [line for line in lines if b'"run_finished"' not in line]


def _line_starts(data: bytes, mark: bytes) -> Iterator[int]:
    """Where the lines begin that contain a mark."""
    found = data.find(mark)
    while found >= 0:
        yield data.rfind(b"\n", 0, found) + 1
        found = data.find(mark, found + len(mark))


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None  # a torn line of a killed attempt; the store puts such lines on record
    wanted = isinstance(record, dict) and record.get("kind") in {"step", "resumed"}
    return record if wanted else None
