"""How far each run is, and the sweep: from the runs' statuses and the new ends of their traces."""

import heapq
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sweepctl.states import read_status
from sweepctl.watching.trace import RECENT_STEPS, TraceTail
from trainer.errors import ConfigError
from trainer.paths import RunPaths
from trainer.records import RunState, RunStatus

ENDED = frozenset({"succeeded", "failed", "skipped", "infeasible"})
"""States in which nothing more happens by itself."""
WAITING_FOR_ENGINE = "waiting for the engine"
"""What stands in place of the state of a run whose slot gets an engine ready."""
_AVERAGED = ("wall_s", "reward_mean", "off_policy_steps_mean")
_WORDS = {
    "succeeded": "done",
    "running": "running",
    "failed": "failed",
    "interrupted": "interrupted",
    "skipped": "skipped",
    "unreadable": "unreadable",
    "pending": "waiting",
    "infeasible": "infeasible",
}


@dataclass
class RunProgress:
    """One run as the table shows it. One thread at a time refreshes it; any number may read."""

    label: str
    name: str
    max_steps: int
    paths: RunPaths
    state: str
    device: str | None = None
    """What it runs on, such as `cores 0,1`."""
    note: str | None = None
    """What its state does not say: `starting`, `retry in 8 s`, `timed out`."""
    step: int = 0
    """The highest policy version known; a new attempt says so when it begins again lower."""
    _means: dict[str, float | None] = field(default_factory=dict, init=False, repr=False)
    _recent: tuple[dict[str, Any], ...] = field(default=(), init=False, repr=False)
    _under_way: bool = field(default=False, init=False, repr=False)
    _tail: TraceTail = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._tail = TraceTail(self.paths.trace)

    def refresh(self) -> None:
        """Look at the run's files again."""
        try:
            status = read_status(self.paths)
        except ConfigError:
            status = None  # the run's end decides what it means
        self.take_in(status)

    def take_in(self, status: RunStatus | None) -> None:
        """Look at the run's trace again, beside a status that was read just now."""
        with self._lock:
            step, recent = self.step, self._recent
            for record in self._tail.new_records():
                if record["kind"] == "resumed":
                    step, recent = _integer(record.get("from_step")), ()
                else:
                    step = max(step, _integer(record.get("policy_version")))
                    recent = (*recent[1 - RECENT_STEPS :], record)
            # An attempt whose engine still starts has put 0 into its status: the trace knows better.
            self.step, self._recent = max(step, status.step if status else 0), recent
            self._means = {key: _mean(recent, key) for key in _AVERAGED}
            self._under_way = bool(recent) and not _begins_again(status, recent[-1])

    @property
    def under_way(self) -> bool:
        """Whether the present attempt has made a step; before that its process and its engine start."""
        return self._under_way

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the recent steps."""
        return self._means.get("wall_s") or None

    @property
    def reward(self) -> float | None:
        """Mean over the recent steps."""
        return self._means.get("reward_mean")

    @property
    def age(self) -> float | None:
        """Mean off-policy steps of the recent steps."""
        return self._means.get("off_policy_steps_mean")

    @property
    def seconds_left(self) -> float | None:
        """Until its last step at the recent speed; None before the present attempt's first step."""
        pace = self.seconds_per_step if self.under_way else None
        return None if pace is None else pace * max(0, self.max_steps - self.step)


@dataclass
class SweepProgress:
    """All runs of one invocation, and what is being done now."""

    name: str
    profile: str | None
    runs: list[RunProgress]
    doing: str = "starting"
    slots: int = 1
    """How many runs may run at the same time."""
    began: float | None = field(default_factory=time.monotonic)
    """When it began, on the monotonic clock; None while nobody runs the sweep."""

    def row(self, name: str) -> RunProgress:
        """The run of that name.

        Raises:
            KeyError: when there is none.
        """
        for run in self.runs:
            if run.name == name:
                return run
        raise KeyError(name)

    @property
    def title(self) -> str:
        """The sweep's name with the profile it runs in."""
        return f"{self.name} [{self.profile}]" if self.profile else self.name

    @property
    def fraction(self) -> float:
        """How much is behind us, by steps; a run that failed has none left."""
        total = sum(run.max_steps for run in self.runs)
        ended = sum(run.max_steps if run.state in ENDED else run.step for run in self.runs)
        return ended / total if total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Until the last run ends, each waiting one taking the next free slot.

        Runs not started count as slow as the mean of those seen. None while no run is under way: engines
        start, or devices are waited for, and how long that takes no step tells.
        """
        todo = [run for run in self.runs if run.state not in ENDED]
        running = [run for run in todo if run.state == "running"]
        paces = {run.name: run.seconds_per_step for run in self.runs}
        seen = [pace for pace in paces.values() if pace is not None]
        if not seen or not any(run.under_way for run in running):
            return None
        mean = sum(seen) / len(seen)
        waiting = [run for run in todo if run.state != "running"]
        slots = [0.0] * max(1, self.slots, len(running))
        for run in [*running, *waiting]:
            steps = max(0, run.max_steps - run.step)
            heapq.heapreplace(slots, slots[0] + steps * (paces[run.name] or mean))
        return max(slots)

    @property
    def activity(self) -> str:
        """What is being done now, in words."""
        waits = any(run.note == WAITING_FOR_ENGINE for run in self.runs)
        trains = any(run.state == "running" for run in self.runs)
        return "starting the engine" if waits and not trains else self.doing

    def times(self) -> str:
        """How long it has taken and how long training may still take, as far as either is known."""
        left = self.seconds_left
        so_far = f"{duration(time.monotonic() - self.began)} so far" if self.began is not None else ""
        return ", ".join(filter(None, (so_far, f"about {duration(left)} left" if left else "")))

    def line(self) -> str:
        """The sweep in one line."""
        facts = (self.activity, count_states(self.runs), self.times())
        return f"{self.title}: {'; '.join(filter(None, facts))}"


def count_states(runs: list[RunProgress]) -> str:
    """`7 of 40 done, 2 running, 31 waiting`; of those that can be run at all."""
    counts = _count(runs)
    return f"{counts['succeeded']} of {len(runs) - counts['infeasible']} done" + "".join(
        f", {count} {word}" for word, count in _by_word(runs) if word != "done"
    )


def count_hidden(runs: list[RunProgress]) -> str:
    """`30 waiting, 7 done`, the larger number first."""
    return ", ".join(f"{count} {word}" for word, count in sorted(_by_word(runs), key=lambda each: -each[1]))


def _by_word(runs: list[RunProgress]) -> list[tuple[str, int]]:
    counts = _count(runs)
    return [(word, counts[state]) for state, word in _WORDS.items() if counts[state]]


def _count(runs: list[RunProgress]) -> Counter[str]:
    return Counter(run.state for run in runs)


@dataclass(frozen=True)
class SpeedUnit:
    """What speeds are told in."""

    name: str
    """`s`, `min` or `h`."""
    seconds: float

    def number(self, seconds_per_step: float | None) -> str:
        """Steps a unit of time; nothing where it is not known."""
        return f"{self.seconds / seconds_per_step:.1f}" if seconds_per_step else ""


def speed_unit(runs: Iterable[RunProgress]) -> SpeedUnit:
    """The shortest unit in which the slowest of the runs does a step: so that all can be compared."""
    slowest = max((run.seconds_per_step or 0.0 for run in runs), default=0.0)
    return next((unit for unit in _SPEED_UNITS if slowest <= unit.seconds), _SPEED_UNITS[-1])


_SPEED_UNITS = (SpeedUnit("s", 1.0), SpeedUnit("min", 60.0), SpeedUnit("h", 3600.0))


def duration(seconds: float) -> str:
    """`1h 02m`, `3m 20s`, `12s`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minute:02d}m"
    return f"{minute}m {second:02d}s" if minute else f"{second}s"


def _mean(records: tuple[dict[str, Any], ...], key: str) -> float | None:
    values = [record[key] for record in records if isinstance(record.get(key), int | float)]
    return sum(values) / len(values) if values else None


def _begins_again(status: RunStatus | None, last: dict[str, Any]) -> bool:
    """Whether the attempt of a status is a later one than that of the last step."""
    if status is None:
        return False
    return status.state is RunState.PENDING or status.attempt > _integer(last.get("attempt"))


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
