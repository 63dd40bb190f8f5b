"""`status.json`: replaced atomically, with a heartbeat while the run lives."""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from trainer.append import storage_error
from trainer.records import RunState, RunStatus

_HEARTBEAT_S = 2.0


def write_status(path: Path, status: RunStatus) -> None:
    """Replace the file at once: a reader sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(status.model_dump_json(indent=1) + "\n")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


class Heartbeat:
    """Keeps `status.json` fresh from a thread of its own until `finish`."""

    def __init__(self, path: Path, attempt: int, max_steps: int) -> None:
        self._path = path
        process = psutil.Process()
        self._fields = {"attempt": attempt, "pid": process.pid, "pid_started": process.create_time()}
        self._max_steps = max_steps
        self.step = 0
        self._done = threading.Event()
        try:
            self._write(RunState.RUNNING)
        except OSError as error:
            raise storage_error(error, path) from error
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def finish(self, state: RunState, reason: str | None = None) -> None:
        """Write the last state."""
        self._done.set()
        self._thread.join()
        try:
            self._write(state, reason)
        except OSError as error:
            print(f"{storage_error(error, self._path)}; the run ended as {state}", file=sys.stderr)

    def _beat(self) -> None:
        while not self._done.wait(_HEARTBEAT_S):
            with suppress(OSError):  # a full disk: the trace will say so
                self._write(RunState.RUNNING)

    def _write(self, state: RunState, reason: str | None = None) -> None:
        status = RunStatus.model_validate(
            {
                **self._fields,
                "state": state,
                "heartbeat": time.time(),
                "step": self.step,
                "max_steps": self._max_steps,
                "reason": reason,
            }
        )
        write_status(self._path, status)
