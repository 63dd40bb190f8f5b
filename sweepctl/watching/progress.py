"""How far each run is, from its status and the new end of its trace."""

import json
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweepctl.states import read_status
from trainer.errors import ConfigError
from trainer.paths import RunPaths

RECENT_STEPS = 20
"""Speed and reward are means over so many steps."""


class TraceTail:
    """Reads what was appended to a trace since the last look, whole lines only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_records(self) -> list[dict[str, Any]]:
        """The `step` and `resumed` records since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        # Most lines are spans and groups: looked at only if they may be wanted at all.
        lines = (line for line in whole.splitlines() if b'"step"' in line[:200] or b'"resumed"' in line[:200])
        return [record for record in map(_record, lines) if record.get("kind") in {"step", "resumed"}]


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        return {}  # a torn line of a killed attempt; the store puts such lines on record
    return record if isinstance(record, dict) else {}


@dataclass
class RunProgress:
    """One run as the table shows it."""

    label: str
    name: str
    max_steps: int
    paths: RunPaths
    state: str
    step: int = 0
    _tail: TraceTail = field(init=False)
    _recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS), init=False)

    def __post_init__(self) -> None:
        self._tail = TraceTail(self.paths.trace)

    def refresh(self) -> None:
        """Look at the run's files again."""
        for record in self._tail.new_records():
            if record["kind"] == "resumed":
                self._recent.clear()  # by an earlier attempt, and at another time
                self.step = int(record["from_step"])
            else:
                self._recent.append(record)
        try:
            status = read_status(self.paths)
        except ConfigError:
            return  # the run's end decides what it means
        if status is not None:
            self.step = status.step
        if self._recent:
            self.step = max(self.step, int(self._recent[-1]["policy_version"]))

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the recent steps."""
        return self._mean("wall_s")

    @property
    def reward(self) -> float | None:
        """Mean over the recent steps."""
        return self._mean("reward_mean")

    @property
    def age(self) -> float | None:
        """Mean off-policy steps of the recent steps."""
        return self._mean("off_policy_steps_mean")

    @property
    def seconds_left(self) -> float | None:
        """Until its last step at the recent speed."""
        pace = self.seconds_per_step
        return None if pace is None else pace * (self.max_steps - self.step)

    def _mean(self, key: str) -> float | None:
        values = [record[key] for record in self._recent if isinstance(record.get(key), int | float)]
        return sum(values) / len(values) if values else None


@dataclass
class SweepProgress:
    """All runs of one invocation, and what is being done now."""

    name: str
    profile: str | None
    runs: list[RunProgress]
    doing: str = "starting"
    began: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> int:
        """How many runs need nothing more."""
        return sum(run.state in {"succeeded", "failed", "skipped"} for run in self.runs)

    @property
    def seconds_left(self) -> float | None:
        """Until the last run ends, taking runs not started for as slow as those seen."""
        paces = [run.seconds_per_step for run in self.runs]
        seen = [pace for pace in paces if pace is not None]
        if not seen:
            return None
        mean = sum(seen) / len(seen)
        waiting = [run for run in self.runs if run.state in {"pending", "interrupted", "running"}]
        return sum((run.seconds_per_step or mean) * (run.max_steps - run.step) for run in waiting)

    def line(self) -> str:
        """The sweep in one line."""
        left = self.seconds_left
        parts = [f"{self.ended}/{len(self.runs)} runs", f"{duration(time.monotonic() - self.began)} so far"]
        parts += [f"about {duration(left)} of training left"] if left else []
        profile = f" [{self.profile}]" if self.profile else ""
        return f"{self.name}{profile}: {self.doing}; " + ", ".join(parts)


def duration(seconds: float) -> str:
    """`1h 02m`, `3m 20s`, `12s`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minute:02d}m"
    return f"{minute}m {second:02d}s" if minute else f"{second}s"
