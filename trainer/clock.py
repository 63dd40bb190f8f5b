"""Seconds of run time: monotonic, continuing across attempts with downtime left out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class RunClock:
    """Starts where the attempts before it stopped.

    Args:
        elapsed_s: run time of the earlier attempts.
    """

    def __init__(self, elapsed_s: float = 0.0) -> None:
        self._origin = time.monotonic() - elapsed_s

    def now(self) -> float:
        """Seconds of run time so far."""
        return time.monotonic() - self._origin


class StepTimer:
    """Splits the learner's lane into phases, so that they add up to the time that passed."""

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock
        self.start_s = clock.now()
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside under `name`."""
        began = self._clock.now()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + self._clock.now() - began

    def finish(self) -> dict[str, float]:
        """The step's `wall_s`, its phases by field name, and `other_s`; the next step starts here."""
        end = self._clock.now()
        wall = end - self.start_s
        split = {
            f"{name}_s": self.phases.get(name, 0.0)
            for name in ("wait", "drain", "learn", "sync", "checkpoint")
        }
        split["other_s"] = wall - sum(split.values())
        result = {"start_s": self.start_s, "wall_s": wall, **split}
        self.start_s, self.phases = end, {}
        return result
