"""Groups between dispatch and training, and the count that the schedule goes by.

Two threads meet here. The rollout side asks `may_dispatch`, announces groups with `dispatched` and
ends each with `accept` or `drop`. The learner blocks in `take` until the groups it wants are accepted,
and around a sync calls `pause`, `wait_drained` and `resume`. What each waits for, and who wakes it:
`take` for verdicts, `wait_drained` for the end of generation, both by the rollout side; the rollout side
for drops (its own) and, through the callback, for evictions and `resume` (the learner's).
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from trainer.group import Group
from trainer.records import Fate
from trainer.schedule import Schedule


@dataclass
class Dropped:
    """Groups that left the count without being trained.

    Attributes:
        fates: how many of each.
        rewards: of the completions of those that were filtered.
    """

    fates: Counter[Fate] = field(default_factory=Counter)
    rewards: list[float] = field(default_factory=list)

    def add(self, group: Group, fate: Fate) -> None:
        """Count one group."""
        self.fates[fate] += 1
        if fate is Fate.FILTERED:
            self.rewards += group.rewards

    @classmethod
    def restore(cls, fates: dict[str, int], rewards: list[float]) -> "Dropped":
        """From what a checkpoint kept."""
        return cls(Counter({Fate(fate): count for fate, count in fates.items()}), rewards)


class GroupBuffer:
    """Keeps the schedule's count and the order of groups.

    Args:
        schedule: the law that says when a group may be dispatched.
        on_evict: called, from the learner's thread, with a group that is too old, before it leaves the
            count; it may not call back.
        on_room: called, from the learner's thread, when dispatching may have become possible.
    """

    def __init__(
        self, schedule: Schedule, on_evict: Callable[[Group], None], on_room: Callable[[], None]
    ) -> None:
        self._schedule = schedule
        self._on_evict = on_evict
        self._on_room = on_room
        self._changed = threading.Condition()
        self._groups: OrderedDict[int, Group] = OrderedDict()  # not taken yet, in dispatch order
        self._accepted: OrderedDict[int, Group] = OrderedDict()  # of these, in the order of verdicts
        self._generating: set[int] = set()
        self._consumed = 0
        self._dropped = Dropped()
        self._paused = False
        self._engine_version = 0
        self._error: BaseException | None = None
        self._interruption: BaseException | None = None

    def may_dispatch(self) -> bool:
        """Whether the schedule lets the next group be dispatched now."""
        with self._changed:
            stopped = self._paused or self._interruption is not None
            return not stopped and self._schedule.may_dispatch(
                self._consumed, len(self._groups), self._engine_version
            )

    @property
    def engine_version(self) -> int:
        """The policy version the engine holds."""
        return self._engine_version

    @property
    def generating(self) -> int:
        """Groups the engine is working on."""
        return len(self._generating)

    @property
    def paused(self) -> bool:
        """Whether a sync is due or going on."""
        return self._paused

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
        """A group may be trained on."""
        with self._changed:
            self._accepted[group.number] = group
            self._changed.notify_all()

    def drop(self, group: Group, fate: Fate) -> None:
        """A group leaves the count; later ones move forward."""
        with self._changed:
            del self._groups[group.number]
            self._dropped.add(group, fate)
            self._changed.notify_all()  # those behind it may all be accepted already

    def take(self, count: int, step: int) -> list[Group]:
        """Wait for the next `count` groups of `step`, and remove them; evict what is too old for it.

        Returns:
            In dispatch order (admission), or in the order in which they were accepted.

        Raises:
            BaseException: whatever `fail` or `interrupt` was given.
        """
        with self._changed:
            while not (groups := self.try_take(count, step)):
                self._changed.wait()
        return groups

    def try_take(self, count: int, step: int) -> list[Group]:
        """What `take` does, without waiting; returns nothing when not all groups are there."""
        with self._changed:
            for error in (self._error, self._interruption):
                if error is not None:
                    raise error
            self._evict(step)
            groups = self._next(count)
            for group in groups:
                del self._groups[group.number], self._accepted[group.number]
            self._consumed += len(groups)
        if groups:
            self._on_room()
        return groups

    def put_back(self, groups: Sequence[Group]) -> None:
        """Undo `take`: the step it was for did not come about."""
        with self._changed:
            for group in reversed(groups):
                for where in (self._groups, self._accepted):
                    where[group.number] = group
                    where.move_to_end(group.number, last=False)
            self._consumed -= len(groups)

    def dropped(self) -> Dropped:
        """What was dropped since the last call."""
        with self._changed:
            dropped, self._dropped = self._dropped, Dropped()
            return dropped

    def pause(self) -> int:
        """Let nothing more be dispatched; returns how many groups are still being generated."""
        with self._changed:
            self._paused = True
            return len(self._generating)

    def wait_drained(self) -> None:
        """Wait until the engine works on nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or not self._generating)
            if self._error is not None:
                raise self._error

    def resume(self, engine_version: int) -> None:
        """The engine holds `engine_version`: dispatching goes on."""
        with self._changed:
            self._engine_version = engine_version
            self._paused = False
        self._on_room()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in whoever waits here, now or later; the first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def interrupt(self, interruption: BaseException) -> None:
        """Dispatch nothing more, and raise `interruption` in `take`: a sync still comes to its end."""
        with self._changed:
            self._interruption = interruption
            self._changed.notify_all()

    def restore(self, groups: Iterable[Group], consumed: int, engine_version: int, dropped: Dropped) -> None:
        """Go on from a checkpoint: these groups were accepted, so many had been consumed."""
        with self._changed:
            self._consumed, self._engine_version, self._dropped = consumed, engine_version, dropped
            for group in groups:
                self._groups[group.number] = self._accepted[group.number] = group

    def waiting(self) -> tuple[list[Group], list[Group], Dropped]:
        """Groups not taken: those accepted, in the order `take` has them, and those without a verdict;
        and what was dropped since `dropped` was asked for."""
        with self._changed:
            undecided = [group for number, group in self._groups.items() if number not in self._accepted]
            return self._in_order(), undecided, self._dropped

    def _in_order(self) -> list[Group]:
        if self._schedule.in_dispatch_order:
            return [group for number, group in self._groups.items() if number in self._accepted]
        return list(self._accepted.values())

    def _next(self, count: int) -> list[Group]:
        """The groups `take` would return, or nothing when they are not all there."""
        line = self._groups if self._schedule.in_dispatch_order else self._accepted
        oldest = [group for group, _ in zip(line.values(), range(count), strict=False)]
        complete = len(oldest) == count and all(group.number in self._accepted for group in oldest)
        return oldest if complete else []

    def _evict(self, step: int) -> None:
        if self._schedule.in_dispatch_order:
            return  # admission lets nothing become too old
        old = [g for g in self._accepted.values() if self._schedule.too_old(g.version_min, step)]
        for group in old:
            self._on_evict(group)
            del self._groups[group.number], self._accepted[group.number]
            self._dropped.add(group, Fate.EVICTED)
        if old:
            self._on_room()
