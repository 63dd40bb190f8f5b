"""What the engine does at any time, as spans that follow each other without a gap."""

from typing import Literal

from trainer.records import Span
from trainer.trace import TraceWriter

Activity = Literal["generate", "held_out", "idle:admission", "idle:drain", "idle:sync", "idle:end"]


class EngineLane:
    """Writes a span whenever the engine's activity changes. Used from one thread.

    The engine is busy while at least one group is generated (`generate`), or else a held-out problem is
    answered (`held_out`), and no sync holds it up. Otherwise it is idle for a reason: nothing may be
    dispatched (`admission`), a sync is due (`drain`) or going on (`sync`), or the run ends.
    """

    def __init__(self, trace: TraceWriter) -> None:
        self._trace = trace
        self._activity: Activity | None = None
        self._since_s = 0.0
        self._idle_s = 0.0

    def now(self, activity: Activity | None) -> None:
        """From now on the engine does this; None ends the lane."""
        if activity == self._activity:
            return
        now = self._trace.clock.now()
        if self._activity is not None:
            self._trace.write(
                Span, lane="engine", name=self._activity, start_s=self._since_s, end_s=now, step=None
            )
            self._idle_s += (now - self._since_s) * self._activity.startswith("idle:")
        self._activity, self._since_s = activity, now

    def idle_s(self) -> float:
        """Seconds the engine was idle so far."""
        idle_now = self._activity is not None and self._activity.startswith("idle:")
        return self._idle_s + (self._trace.clock.now() - self._since_s) * idle_now
