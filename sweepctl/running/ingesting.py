"""Keeps the store up to date beside a running sweep, so that the dashboard shows it live."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL_S = 5.0
_NICENESS = 10


class BackgroundIngest:
    """A thread of low priority that ingests now and then, and once more at the end.

    A failure is said once and stops nothing: the store can be made again from the runs' files.
    """

    def __init__(self, ingest: Callable[[], object], say: Callable[[str], None]) -> None:
        self._ingest = ingest
        self._say = say
        self._wake = threading.Event()
        self._stopping = False
        self._said = False
        self._thread = threading.Thread(target=self._loop, name="ingest", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=60)

    def soon(self) -> None:
        """Ingest now rather than at the next turn: a run has ended."""
        self._wake.set()

    def _loop(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while True:
            stopping = self._stopping
            self._once()
            if stopping:
                return
            self._wake.wait(INTERVAL_S)
            self._wake.clear()

    def _once(self) -> None:
        try:
            self._ingest()
        except Exception as error:  # whatever it is, a sweep of many hours must not end for it
            if not self._said:
                self._said = True
                self._say(f"the store is not up to date ({error}); later: sweepctl ingest")


def update_store(runs_dir: Path) -> object:
    """Bring the store up to date."""
    from results.ingest import ingest  # noqa: PLC0415 - duckdb is slow to import

    return ingest(runs_dir)
