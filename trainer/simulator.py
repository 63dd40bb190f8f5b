"""A run played in virtual time: the trainer's own schedule, an engine, a learner and syncs. Torch-free.

    draw -> engine (shared among the groups it runs) -> verdict -> learner -> sync -> engine
            `Schedule.may_dispatch`                     in order   `Schedule.sync_due`

Discrete events: the clock goes to whatever happens next, the end of a generation, a verdict, or the end of
what the learner does. The learner is written like the loop of `trainer.loop`, as a generator that yields how
long it is busy, or that it waits.

The engine is a processor-sharing queue: while it runs c groups, each of them goes on at
1 / (1 + crowding (c - 1)) of the speed it has alone. That needs no event per group and change of c, but a
second clock, the engine's *virtual* time, which runs at that speed: a group begun at V with work w ends at
V + w (the virtual time of Parekh and Gallager, IEEE/ACM Trans. Networking 1(3), 1993).
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Literal

from trainer.records import Fate
from trainer.schedule import Schedule

InFlight = Literal["wait", "abort", "keep"]
_WAITS = inf
"""What the learner yields when something else has to happen first."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one group asks of engine and learner.

    Attributes:
        generate_s: seconds of generation where the engine runs nothing else.
        completion_tokens: sampled, over all completions of the group.
        learner_tokens: what the learner computes on, prompts included.
        fate: `TRAINED`, or why nothing can be learned from it: `FILTERED`, `FAILED`.
    """

    generate_s: float
    completion_tokens: int = 0
    learner_tokens: int = 0
    fate: Fate = Fate.TRAINED


@dataclass(frozen=True)
class Durations:
    """How long things take, in seconds.

    Attributes:
        crowding: by how much every other group slows a group down, as a share of its time alone; 0: an engine
            that serves any number at once.
        max_concurrent_groups: that the engine runs at once; others wait in line. None: any number.
        verify_s: from the end of a generation to its verdict.
        learn_s_per_prompt, learn_s_per_token: forward and backward.
        optimizer_s: of a step's optimizer.
        other_s: what else comes with a step, before its sync.
        sync_s: bringing the engine to the learner's version, once it is drained.
        checkpoint_s: of one checkpoint.
    """

    crowding: float = 0.0
    max_concurrent_groups: int | None = None
    verify_s: float = 0.0
    learn_s_per_prompt: float = 0.0
    learn_s_per_token: float = 0.0
    optimizer_s: float = 0.0
    other_s: float = 0.0
    sync_s: float = 0.0
    checkpoint_s: float = 0.0


@dataclass(frozen=True)
class Way:
    """What of a run's configuration decides its course in time.

    Attributes:
        schedule: the law of dispatches, steps and syncs.
        in_flight: what a sync does to running groups.
        chunk: groups in one forward and backward pass; below B the learner streams.
        checkpoint_every_steps: steps between two checkpoints; the last step always leaves one.
    """

    schedule: Schedule
    in_flight: InFlight = "wait"
    chunk: int | None = None
    checkpoint_every_steps: int | None = None


@dataclass(slots=True)
class SimulatedStep:
    """One step as in the trace: wall_s = wait_s + drain_s + learn_s + sync_s + checkpoint_s + other_s."""

    start_s: float
    wall_s: float = 0.0
    wait_s: float = 0.0
    drain_s: float = 0.0
    learn_s: float = 0.0
    sync_s: float = 0.0
    checkpoint_s: float = 0.0
    other_s: float = 0.0
    engine_idle_s: float = 0.0
    completion_tokens: int = 0


@dataclass
class SimulatedRun:
    """What a run would look like.

    Attributes:
        steps: in order.
        ages: how many trained groups were so many steps off policy.
        fates: how many groups met which fate.
        tokens: sampled tokens by fate; of an aborted group as far as it came.
        order: numbers of the trained groups, in the order in which they were trained.
        latency_s: seconds between dispatch and end of generation, summed over the groups that finished.
        finished: groups that finished.
    """

    steps: list[SimulatedStep] = field(default_factory=list)
    ages: Counter[int] = field(default_factory=Counter)
    fates: Counter[Fate] = field(default_factory=Counter)
    tokens: Counter[Fate] = field(default_factory=Counter)
    order: list[int] = field(default_factory=list)
    latency_s: float = 0.0
    finished: int = 0

    @property
    def wall_s(self) -> float:
        """From the first dispatch to the end of the last step."""
        return self.steps[-1].start_s + self.steps[-1].wall_s


class StalledError(RuntimeError):
    """Nothing can happen any more although the run is not done; feasible settings never come here."""


@dataclass(slots=True, eq=False)
class _Group:
    """A group between dispatch and training; `place` is its prompt's in the order of prompts."""

    number: int
    place: int
    work: Work
    version: int
    dispatched_s: float


class _Engine:
    """A processor-sharing queue with a line in front of it."""

    def __init__(self, crowding: float, places: float) -> None:
        self._crowding, self._places = crowding, places
        self._running: list[tuple[float, int, _Group]] = []  # by the virtual time at which they end
        self._line: deque[_Group] = deque()
        self._virtual, self._since_s = 0.0, 0.0
        self.halted = False
        self.idle_s = 0.0

    @property
    def occupied(self) -> bool:
        """Whether it has anything to do."""
        return bool(self._running)

    def advance(self, now: float) -> None:
        """Its clocks come to `now`."""
        passed, self._since_s = now - self._since_s, now
        if self.halted or not self._running:
            self.idle_s += passed
        else:
            self._virtual += passed / (1.0 + self._crowding * (len(self._running) - 1))

    def next_end_s(self) -> float:
        """When the next group is done, if nothing else happens before."""
        if self.halted or not self._running:
            return inf
        pace = 1.0 + self._crowding * (len(self._running) - 1)
        return self._since_s + max(self._running[0][0] - self._virtual, 0.0) * pace

    def begin(self, group: _Group) -> None:
        """Run a group now, or put it in line."""
        if len(self._running) < self._places:
            heappush(self._running, (self._virtual + group.work.generate_s, group.number, group))
        else:
            self._line.append(group)

    def end_next(self) -> _Group:
        """The group that is done now; the first in line takes its place."""
        self._virtual, _, group = heappop(self._running)
        if self._line:
            self.begin(self._line.popleft())
        return group

    def abort(self) -> list[tuple[_Group, float]]:
        """End everything; returns each group with the share of its work that was done."""
        ended = []
        for ends_at, _, group in self._running:
            whole = group.work.generate_s
            ended.append((group, 1.0 - (ends_at - self._virtual) / whole if whole else 1.0))
        ended += [(group, 0.0) for group in self._line]
        self._running.clear()
        self._line.clear()
        return ended


def simulate(way: Way, durations: Durations, draw: Callable[[int], Work]) -> SimulatedRun:
    """Play a run from its first dispatch to the end of its last step.

    Args:
        way: its schedule and what else decides its course.
        durations: how long things take.
        draw: the next prompt's work, given the policy version that samples it.

    Raises:
        StalledError: the settings can never make progress (see `schedule.infeasibility`).
    """
    return _Simulation(way, durations, draw).play()


class _Simulation:
    """The state of `GroupBuffer` and `PromptFrontier`, the engine, the learner, and the time."""

    def __init__(self, way: Way, durations: Durations, draw: Callable[[int], Work]) -> None:
        self._way, self._durations, self._draw = way, durations, draw
        self._schedule = way.schedule
        self._chunk = way.chunk or way.schedule.prompts_per_optim_step
        self._engine = _Engine(durations.crowding, durations.max_concurrent_groups or inf)
        self._waiting: OrderedDict[int, _Group] = OrderedDict()  # dispatched and not taken, in that order
        self._accepted: OrderedDict[int, _Group] = OrderedDict()  # of these, in the order of verdicts
        self._verdicts: deque[tuple[float, _Group]] = deque()  # of finished groups, and when they come
        self._returned: list[tuple[int, Work]] = []  # prompts to be sent again, oldest first
        self._groups, self._prompts, self._consumed = 0, 0, 0  # so far
        self._version = 0  # the engine's
        self._paused = False
        self._now = 0.0
        self._run = SimulatedRun()

    def play(self) -> SimulatedRun:
        learner = self._learner()
        due = next(learner)
        self._dispatch()
        while True:
            ends = self._engine.next_end_s()
            verdict = self._verdicts[0][0] if self._verdicts else inf
            self._now = min(ends, verdict, due)
            if self._now == inf:
                raise StalledError(f"step {len(self._run.steps)} can never begin")
            self._engine.advance(self._now)
            if ends == self._now:
                self._generated(self._engine.end_next())
            elif verdict == self._now:
                self._decide(self._verdicts.popleft()[1])
            if due == _WAITS or self._now < min(ends, verdict):
                busy_s = next(learner, None)
                if busy_s is None:
                    return self._end()
                due = self._now + busy_s

    def _learner(self) -> Iterator[float]:
        """The loop of `trainer.loop`; yields seconds of work, or that it waits for something to happen."""
        schedule, durations = self._schedule, self._durations
        every = self._way.checkpoint_every_steps
        for step in range(schedule.max_steps):
            record = SimulatedStep(start_s=self._now)
            idle_before_s = self._engine.idle_s
            yield from self._train(step, record)
            record.other_s = durations.other_s
            yield durations.other_s
            version = step + 1
            if schedule.sync_due(version):
                yield from self._sync(version, record)
            if version == schedule.max_steps or (every is not None and version % every == 0):
                record.checkpoint_s = durations.checkpoint_s
                yield durations.checkpoint_s
            record.wall_s = self._now - record.start_s
            record.engine_idle_s = self._engine.idle_s - idle_before_s
            self._run.steps.append(record)

    def _train(self, step: int, record: SimulatedStep) -> Iterator[float]:
        durations = self._durations
        for _ in range(self._schedule.prompts_per_optim_step // self._chunk):
            began_s = self._now
            while not (taken := self._take(step)):
                yield _WAITS
            record.wait_s += self._now - began_s
            tokens = sum(group.work.learner_tokens for group in taken)
            record.completion_tokens += sum(group.work.completion_tokens for group in taken)
            busy_s = self._chunk * durations.learn_s_per_prompt + tokens * durations.learn_s_per_token
            record.learn_s += busy_s
            yield busy_s
        record.learn_s += durations.optimizer_s
        yield durations.optimizer_s

    def _sync(self, version: int, record: SimulatedStep) -> Iterator[float]:
        self._paused = True
        if self._way.in_flight == "abort":
            self._abort()
        began_s = self._now
        while self._way.in_flight == "wait" and self._engine.occupied:
            yield _WAITS
        record.drain_s = self._now - began_s
        record.sync_s = self._durations.sync_s
        self._engine.halted = True
        yield self._durations.sync_s
        self._engine.halted = False
        self._version, self._paused = version, False
        self._dispatch()

    def _dispatch(self) -> None:
        while not self._paused and self._schedule.may_dispatch(
            self._consumed, len(self._waiting), self._version
        ):
            if self._returned:
                place, work = heappop(self._returned)
            else:
                place, work = self._prompts, self._draw(self._version)
                self._prompts += 1
            group = _Group(self._groups, place, work, self._version, self._now)
            self._groups += 1
            self._waiting[group.number] = group
            self._engine.begin(group)

    def _generated(self, group: _Group) -> None:
        self._run.latency_s += self._now - group.dispatched_s
        self._run.finished += 1
        if self._durations.verify_s:
            self._verdicts.append((self._now + self._durations.verify_s, group))
        else:
            self._decide(group)

    def _decide(self, group: _Group) -> None:
        if group.work.fate is Fate.TRAINED:
            self._accepted[group.number] = group
        else:
            self._drop(group, group.work.fate)
            self._dispatch()

    def _take(self, step: int) -> list[_Group]:
        """The groups of the next forward and backward pass, or nothing when they are not all there."""
        if not self._schedule.in_dispatch_order:
            self._evict(step)
        elif len(self._accepted) < self._chunk:
            return []
        taken: list[_Group] = []
        for group in (self._waiting if self._schedule.in_dispatch_order else self._accepted).values():
            if group.number not in self._accepted:
                return []
            taken.append(group)
            if len(taken) == self._chunk:
                break
        if len(taken) < self._chunk:
            return []
        for group in taken:
            del self._waiting[group.number], self._accepted[group.number]
            self._run.ages[step - group.version] += 1
            self._run.order.append(group.number)
            self._count(Fate.TRAINED, group.work.completion_tokens)
        self._consumed += self._chunk
        self._dispatch()
        return taken

    def _evict(self, step: int) -> None:
        old = [group for group in self._accepted.values() if self._schedule.too_old(group.version, step)]
        for group in old:
            del self._accepted[group.number]
            self._drop(group, Fate.EVICTED)
            self._send_again(group)
        if old:
            self._dispatch()

    def _abort(self) -> None:
        for group, done in self._engine.abort():
            self._drop(group, Fate.ABORTED, done)
            self._send_again(group)

    def _send_again(self, group: _Group) -> None:
        heappush(self._returned, (group.place, group.work))

    def _drop(self, group: _Group, fate: Fate, done: float = 1.0) -> None:
        del self._waiting[group.number]
        self._count(fate, round(done * group.work.completion_tokens))

    def _count(self, fate: Fate, tokens: int) -> None:
        self._run.fates[fate] += 1
        self._run.tokens[fate] += tokens

    def _end(self) -> SimulatedRun:
        """What has no fate yet gets one, as at the end of a run."""
        for group, done in self._engine.abort():
            self._drop(group, Fate.ABORTED, done)
        for group in list(self._waiting.values()):
            self._drop(group, Fate.LEFTOVER)
        return self._run
