"""Groups between dispatch and consumption, kept in dispatch order.

Two threads meet here. The rollout side asks `may_dispatch`, announces groups with `dispatched` and
ends each with `accept` or `drop`. The learner blocks in `take` until the oldest groups are all
accepted, and around a sync calls `pause`, `wait_drained` and `resume`. What each waits for, and who
wakes it: `take` for verdicts, `wait_drained` for the end of generation, both by the rollout side; the
rollout side for drops (its own) and `resume` (the learner's, by the callback).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from trainer.engine.protocol import Completion
from trainer.schedule import Schedule
from trainer.tasks import Problem


@dataclass
class Group:
    """One prompt's completions on their way from dispatch to consumption. Times are run time."""

    number: int
    problem: Problem
    epoch: int
    prompt_token_ids: list[int]
    version_min: int
    dispatched_s: float
    finished_s: float | None = None
    verified_s: float | None = None
    completions: list[Completion] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def completion_tokens(self) -> int:
        """Tokens sampled, over all completions."""
        return sum(len(completion.token_ids) for completion in self.completions)

    @property
    def truncated(self) -> int:
        """Completions cut off by their limit."""
        return sum(completion.truncated for completion in self.completions)


class GroupBuffer:
    """Keeps the schedule's count and the order of groups.

    Args:
        schedule: the law that says when a group may be dispatched.
        on_resume: called, from the learner's thread, when dispatching may go on after a sync.
    """

    def __init__(self, schedule: Schedule, on_resume: Callable[[], None]) -> None:
        self._schedule = schedule
        self._on_resume = on_resume
        self._changed = threading.Condition()
        self._groups: OrderedDict[int, Group] = OrderedDict()
        self._accepted: set[int] = set()
        self._generating: set[int] = set()
        self._consumed = 0
        self._dropped_since_take: list[Group] = []
        self._paused = False
        self._engine_version = 0
        self._error: BaseException | None = None

    def may_dispatch(self) -> bool:
        """Whether the schedule lets the next group be dispatched now."""
        with self._changed:
            return not self._paused and self._schedule.may_dispatch(
                self._consumed + len(self._groups), self._engine_version
            )

    @property
    def engine_version(self) -> int:
        """The policy version the engine holds."""
        return self._engine_version

    @property
    def generating(self) -> int:
        """Groups the engine is working on."""
        return len(self._generating)

    def dispatched(self, group: Group) -> None:
        """A group was sent to the engine."""
        with self._changed:
            self._groups[group.number] = group
            self._generating.add(group.number)

    def generated(self, group: Group) -> None:
        """The engine has finished with a group, well or not; its verdict follows."""
        with self._changed:
            self._generating.discard(group.number)
            self._changed.notify_all()

    def accept(self, group: Group) -> None:
        """A group will be trained on."""
        with self._changed:
            self._accepted.add(group.number)
            self._changed.notify_all()

    def drop(self, group: Group) -> None:
        """A group leaves the count; later ones move forward."""
        with self._changed:
            del self._groups[group.number]
            self._dropped_since_take.append(group)
            self._changed.notify_all()  # those behind it may all be accepted already

    def take(self, count: int) -> tuple[list[Group], list[Group]]:
        """Wait until the `count` oldest groups are accepted, and remove them.

        Returns:
            The groups in dispatch order, and those dropped since the last call.

        Raises:
            BaseException: whatever `fail` was given.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._ready(count))
            self._raise_if_failed()
            taken = [self._groups.popitem(last=False)[1] for _ in range(count)]
            self._accepted.difference_update(group.number for group in taken)
            self._consumed += count
            dropped, self._dropped_since_take = self._dropped_since_take, []
            return taken, dropped

    def pause(self) -> int:
        """Let nothing more be dispatched; returns how many groups are still being generated."""
        with self._changed:
            self._paused = True
            return len(self._generating)

    def wait_drained(self) -> None:
        """Wait until the engine works on nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or not self._generating)
            self._raise_if_failed()

    def resume(self, engine_version: int) -> None:
        """The engine holds `engine_version`: dispatching goes on."""
        with self._changed:
            self._engine_version = engine_version
            self._paused = False
        self._on_resume()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in whoever waits here, now or later; the first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def leftovers(self) -> tuple[list[Group], list[Group]]:
        """Groups never consumed: those accepted, and those without a verdict."""
        with self._changed:
            accepted = [group for number, group in self._groups.items() if number in self._accepted]
            undecided = [group for number, group in self._groups.items() if number not in self._accepted]
            return accepted, undecided

    def _ready(self, count: int) -> bool:
        if len(self._groups) < count:
            return False
        oldest = iter(self._groups)
        return all(next(oldest) in self._accepted for _ in range(count))

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error
