"""`timings.json`: how long the parts of each invocation took, for whoever plans the next sweep."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from sweepctl.files import write_atomically


class Timings:
    """The record of this invocation is added to those of earlier ones, and written after every entry."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._earlier = _invocations(path)
        self._this: dict[str, Any] = {
            "started_unix": time.time(),
            "engine_starts_s": [],
            "runs": [],
            "evaluation_s": None,
        }

    def engine_starts(self, seconds: list[float]) -> None:
        """How long each start of an engine took."""
        if seconds:
            with self._lock:
                self._this["engine_starts_s"] += [round(each, 3) for each in seconds]
                self._write()

    def run(self, name: str, state: str, seconds: float) -> None:
        """How long an attempt's process took, its start included."""
        with self._lock:
            self._this["runs"].append({"run_name": name, "state": state, "seconds": round(seconds, 3)})
            self._write()

    def evaluation(self, seconds: float) -> None:
        """How long the evaluations over one engine took; added up."""
        with self._lock:
            self._this["evaluation_s"] = round((self._this["evaluation_s"] or 0.0) + seconds, 3)
            self._write()

    def _write(self) -> None:
        content = {"version": 1, "invocations": [*self._earlier, self._this]}
        write_atomically(self._path, json.dumps(content, indent=2))


def _invocations(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_bytes())["invocations"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return found if isinstance(found, list) else []
