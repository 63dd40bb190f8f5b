"""Which run comes next: in the plan's order, retries in their time, none after too many failures."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sweepctl.plan.plan import PlannedRun
from sweepctl.running.engine import EngineKey, engine_key
from sweepctl.running.supervise import StopSignals

_POLL_S = 0.2


@dataclass
class _Waiting:
    run: PlannedRun
    not_before_unix: float


class RunQueue:
    """The runs that are still to be trained. Several slots take from it at once."""

    def __init__(
        self, runs: Sequence[PlannedRun], stop_after_failures: int | None, not_before: dict[str, float]
    ) -> None:
        """Queue `runs`, in order.

        Args:
            runs: what is to be trained.
            stop_after_failures: after so many failed runs in a row none is started any more.
            not_before: by run name, when one may begin, in seconds since the epoch.
        """
        self._waiting = [_Waiting(run, not_before.get(run.name, 0.0)) for run in runs]
        self._limit = stop_after_failures
        self._failures = 0
        self._deaths: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, warm: EngineKey | None, stop: StopSignals) -> PlannedRun | None:
        """The next run, waiting for a retry whose time has not come; None when nothing is left.

        Among those that may begin, one for the engine that is `warm` goes first: a start takes a minute.

        Raises:
            StopRequestedError: sweepctl is asked to stop.
        """
        while True:
            stop.check()
            with self._lock:
                if not self._waiting or self.exhausted:
                    return None
                now = time.time()
                due = [each for each in self._waiting if each.not_before_unix <= now]
                if due:
                    chosen = next((each for each in due if engine_key(each.run) == warm), due[0])
                    self._waiting.remove(chosen)
                    return chosen.run
            time.sleep(_POLL_S)

    def retry(self, run: PlannedRun, at_unix: float) -> None:
        """Put a run back, to begin at a time."""
        with self._lock:
            self._waiting.append(_Waiting(run, at_unix))

    def put_back(self, run: PlannedRun) -> None:
        """A run that was taken was not begun."""
        with self._lock:
            self._waiting.insert(0, _Waiting(run, 0.0))

    def died(self, run: PlannedRun) -> int:
        """A run's process was killed from outside; how often that has happened to it now."""
        with self._lock:
            self._deaths[run.name] += 1
            return self._deaths[run.name]

    def settle(self, *, failed: bool) -> None:
        """A run has ended for good."""
        with self._lock:
            self._failures = self._failures + 1 if failed else 0

    @property
    def exhausted(self) -> bool:
        """Whether too many runs have failed in a row."""
        return self._limit is not None and self._failures >= self._limit

    @property
    def left(self) -> tuple[PlannedRun, ...]:
        """The runs that were never taken."""
        with self._lock:
            return tuple(each.run for each in self._waiting)
