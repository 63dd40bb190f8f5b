"""The trace: append-only records, one JSON object a line."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainer.append import AppendFile
from trainer.clock import RunClock
from trainer.records import Record


class TraceWriter:
    """Appends records; safe to call from any thread.

    Attributes:
        attempt: 1 for the first process that writes this trace, one more for each later one.
        clock: run time, continuing after the last line of the attempt before.
        first_group: the lowest group number that no earlier attempt has used.

    Raises:
        InUseError: another process is writing this trace.
        StorageError: here or later, the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = AppendFile(path)  # first: nobody else may be writing what is read next
        self.attempt, self.first_group, elapsed_s = 1, 0, 0.0
        for record in read_records(path):
            self.attempt = max(self.attempt, int(record["attempt"]) + 1)
            elapsed_s = max(elapsed_s, float(record["t"]))
            if record["kind"] == "dispatch":
                self.first_group = max(self.first_group, int(record["group"]) + 1)
        self.clock = RunClock(elapsed_s)
        self._lock = threading.Lock()

    def write(self, record: type[Record], /, **fields: Any) -> None:  # noqa: ANN401 - checked by the record
        """Write one record; `attempt` and `t` are filled in."""
        with self._lock:  # held for the time too, so that lines are in its order
            line = record(attempt=self.attempt, t=self.clock.now(), **fields)
            self._file.write_line(line.model_dump_json().encode())

    def flush(self) -> None:
        """Return once every line is on disk."""
        self._file.flush()

    def close(self) -> None:
        """Make sure that every line is on disk."""
        try:
            self._file.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a trace; lines that are damaged are left out, the ingest reports them."""
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
                int(record["attempt"]), float(record["t"]), str(record["kind"])
            except (ValueError, KeyError, TypeError):
                continue
            yield record
