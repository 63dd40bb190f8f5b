"""The trace: append-only records, one JSON object a line."""

import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainer.clock import RunClock
from trainer.records import Record


class TraceWriter:
    """Appends records; safe to call from any thread. A line is one write, so it is whole or torn.

    Attributes:
        attempt: 1 for the first process that writes this trace, one more for each later one.
        clock: run time, continuing after the last line of the attempt before.
        first_group: the lowest group number that no earlier attempt has used.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = _EarlierAttempts.read(path)
        self.attempt = earlier.attempts + 1
        self.first_group = earlier.groups
        self.clock = RunClock(earlier.elapsed_s)
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, record: type[Record], /, **fields: Any) -> None:  # noqa: ANN401 - checked by the record
        """Write one record; `attempt` and `t` are filled in."""
        line = record(attempt=self.attempt, t=self.clock.now(), **fields)
        data = line.model_dump_json().encode() + b"\n"
        with self._lock:
            os.write(self._file, data)

    def close(self) -> None:
        """Make sure that every line is on disk."""
        os.fsync(self._file)
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _EarlierAttempts:
    """What earlier attempts left in a trace; a torn last line is cut off, it was never a record."""

    def __init__(self) -> None:
        self.attempts = 0
        self.groups = 0
        self.elapsed_s = 0.0

    @classmethod
    def read(cls, path: Path) -> Self:
        found = cls()
        if not path.exists():
            return found
        whole = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                found._take(line)
        if whole < path.stat().st_size:
            os.truncate(path, whole)
        return found

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            self.attempts = max(self.attempts, int(record["attempt"]))
            self.elapsed_s = max(self.elapsed_s, float(record["t"]))
            if record["kind"] == "dispatch":
                self.groups = max(self.groups, int(record["group"]) + 1)
        except (ValueError, KeyError, TypeError):
            return  # damaged: kept as it is, the ingest reports it
