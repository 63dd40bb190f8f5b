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

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
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
        learn_s_per_prompt, learn_s_per_token: forward and backward, of all updates of a batch.
        optimizer_s: of a step's optimizer.
        other_s: what else comes with a step, before its sync.
        sync_s: bringing the engine to the learner's version, once it is drained.
        checkpoint_s: of one checkpoint.
        held_out_s: of one evaluation on held-out problems, for which the learner waits.
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
    held_out_s: float = 0.0


@dataclass(frozen=True)
class Way:
    """What of a run's configuration decides its course in time.

    Attributes:
        schedule: the law of dispatches, steps and syncs.
        in_flight: what a sync does to running groups.
        chunk: groups in one forward and backward pass; below B the learner streams.
        checkpoint_every_steps: steps between two checkpoints; the last step always leaves one.
        held_out_every_steps: steps between two evaluations on held-out problems.
        max_useless_groups: so many filtered or failed groups in a row end the run.
    """

    schedule: Schedule
    in_flight: InFlight = "wait"
    chunk: int | None = None
    checkpoint_every_steps: int | None = None
    held_out_every_steps: int | None = None
    max_useless_groups: float = inf


@dataclass(slots=True, eq=False)
class SimulatedGroup:
    """One group from its dispatch to its fate.

    Attributes:
        number: 0 for the first dispatch of the run, 1 for the next one, and so on.
        place: its prompt's in the order of prompts; one that is sent again keeps it.
        work: what it asks for.
        version: the engine's policy version at dispatch.
        dispatched_s, finished_s: from dispatch to the end of generation; None where that did not come.
        done: share of its generation that was done.
        step: that trained it, or None.
        fate: what became of it; None so far.
    """

    number: int
    place: int
    work: Work
    version: int
    dispatched_s: float
    finished_s: float | None = None
    done: float = 0.0
    step: int | None = None
    fate: Fate | None = None

    @property
    def completion_tokens(self) -> int:
        """Sampled, as far as it came."""
        return round(self.done * self.work.completion_tokens)


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
        latency_s: seconds between dispatch and end of generation, summed over the groups that finished.
        finished: groups that finished.
    """

    steps: list[SimulatedStep] = field(default_factory=list)
    ages: Counter[int] = field(default_factory=Counter)
    fates: Counter[Fate] = field(default_factory=Counter)
    tokens: Counter[Fate] = field(default_factory=Counter)
    latency_s: float = 0.0
    finished: int = 0

    @property
    def wall_s(self) -> float:
        """From the first dispatch to the end of the last step."""
        return self.steps[-1].start_s + self.steps[-1].wall_s


class StalledError(RuntimeError):
    """The run never comes to its end: its settings are infeasible, or all of its groups useless."""


class _Engine:
    """A processor-sharing queue with a line in front of it."""

    def __init__(self, crowding: float, places: float) -> None:
        self._crowding, self._places = crowding, places
        self._running: list[tuple[float, int, SimulatedGroup]] = []  # by the virtual time at which they end
        self._line: deque[SimulatedGroup] = deque()
        self._virtual, self._since_s = 0.0, 0.0
        self.halted, self.evaluating = False, False
        self.idle_s = 0.0

    @property
    def occupied(self) -> bool:
        """Whether it has anything to do."""
        return bool(self._running)

    def advance(self, now: float) -> None:
        """Its clocks come to `now`."""
        passed, self._since_s = now - self._since_s, now
        if self.halted or not self._running:
            self.idle_s += 0.0 if self.evaluating else passed
        else:
            self._virtual += passed / (1.0 + self._crowding * (len(self._running) - 1))

    def next_end_s(self) -> float:
        """When the next group is done, if nothing else happens before."""
        if self.halted or not self._running:
            return inf
        left = self._running[0][0] - self._virtual
        if left <= 0.0:  # by rounding
            return self._since_s
        return self._since_s + left * (1.0 + self._crowding * (len(self._running) - 1))

    def begin(self, group: SimulatedGroup) -> None:
        """Run a group now, or put it in line."""
        if len(self._running) < self._places:
            heappush(self._running, (self._virtual + group.work.generate_s, group.number, group))
        else:
            self._line.append(group)

    def end_next(self) -> SimulatedGroup:
        """The group that is done now; the first in line takes its place."""
        self._virtual, _, group = heappop(self._running)
        group.done = 1.0
        if self._line:
            self.begin(self._line.popleft())
        return group

    def abort(self) -> list[SimulatedGroup]:
        """End everything; returns the groups, which know how much of them was done."""
        for ends_at, _, group in self._running:
            whole = group.work.generate_s
            group.done = 1.0 - (ends_at - self._virtual) / whole if whole else 1.0
        ended = [*(group for _, _, group in self._running), *self._line]
        self._running.clear()
        self._line.clear()
        return ended


def simulate(
    way: Way,
    durations: Durations,
    draw: Callable[[int], Work],
    watch: Callable[[SimulatedGroup], object] | None = None,
) -> SimulatedRun:
    """Play a run from its first dispatch to the end of its last step.

    Args:
        way: its schedule and what else decides its course.
        durations: how long things take.
        draw: the next prompt's work, given the policy version that samples it.
        watch: called with each group when it has its fate.

    Raises:
        StalledError: the settings can never make progress (see `schedule.infeasibility`), or so many groups
            in a row gave nothing to train on that the trainer would end the run.
    """
    return _Simulation(way, durations, draw, watch).play()


class _Simulation:
    """The state of `GroupBuffer` and `PromptFrontier`, the engine, the learner, and the time."""

    def __init__(
        self,
        way: Way,
        durations: Durations,
        draw: Callable[[int], Work],
        watch: Callable[[SimulatedGroup], object] | None,
    ) -> None:
        self._way, self._durations, self._draw, self._watch = way, durations, draw, watch
        self._schedule = way.schedule
        self._chunk = way.chunk or way.schedule.prompts_per_optim_step
        self._engine = _Engine(durations.crowding, durations.max_concurrent_groups or inf)
        self._waiting: dict[int, SimulatedGroup] = {}  # dispatched and not taken, in that order
        self._accepted: dict[int, SimulatedGroup] = {}  # of these, in the order of verdicts
        self._verdicts: deque[tuple[float, SimulatedGroup]] = deque()  # and when they come
        self._returned: list[tuple[int, Work]] = []  # prompts to be sent again, oldest first
        self._groups, self._prompts, self._consumed = 0, 0, 0  # so far
        self._useless = 0  # in a row
        self._version = 0  # the engine's
        self._paused = False
        self._now = 0.0
        self._run = SimulatedRun()

    def play(self) -> SimulatedRun:
        engine, verdicts = self._engine, self._verdicts
        learner = self._learner()
        due = next(learner)
        self._dispatch()
        while True:
            ends = engine.next_end_s()
            verdict = verdicts[0][0] if verdicts else inf
            self._now = now = min(ends, verdict, due)
            if now == inf:
                raise StalledError(f"step {len(self._run.steps)} can never begin")
            engine.advance(now)
            if ends == now:
                self._generated(engine.end_next())
            elif verdict == now:
                self._decide(verdicts.popleft()[1])
            if due == _WAITS or (now < ends and now < verdict):
                busy_s = next(learner, None)
                if busy_s is None:
                    return self._run
                due = now + busy_s

    def _learner(self) -> Iterator[float]:
        """The loop of `trainer.loop`; yields seconds of work, or that it waits for something to happen."""
        schedule, durations = self._schedule, self._durations
        every = self._way.checkpoint_every_steps
        for step in range(schedule.max_steps):
            record = SimulatedStep(start_s=self._now)
            idle_before_s = self._engine.idle_s
            yield from self._evaluate(step, record)
            yield from self._train(step, record)
            record.other_s += durations.other_s
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

    def _evaluate(self, version: int, record: SimulatedStep) -> Iterator[float]:
        """As in the trace: a version is evaluated after its step's record, so the next step bears the time.

        The first version's evaluation comes before the first step and the last one's after the last step.
        """
        every = self._way.held_out_every_steps
        if every is not None and version > 0 and version % every == 0:
            record.other_s += self._durations.held_out_s
            self._engine.evaluating = True
            yield self._durations.held_out_s
            self._engine.evaluating = False

    def _train(self, step: int, record: SimulatedStep) -> Iterator[float]:
        durations = self._durations
        if self._schedule.too_old(self._version, step):
            raise StalledError(f"whatever the engine samples before step {step} is too old for it")
        for _ in range(self._schedule.prompts_per_optim_step // self._chunk):
            began_s = self._now
            while not (taken := self._take(step)):
                yield _WAITS
            record.wait_s += self._now - began_s
            tokens = sum([group.work.learner_tokens for group in taken])
            record.completion_tokens += sum([group.work.completion_tokens for group in taken])
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
            group = SimulatedGroup(self._groups, place, work, self._version, self._now)
            self._groups += 1
            self._waiting[group.number] = group
            self._engine.begin(group)

    def _generated(self, group: SimulatedGroup) -> None:
        group.finished_s = self._now
        self._run.latency_s += self._now - group.dispatched_s
        self._run.finished += 1
        if self._durations.verify_s:
            self._verdicts.append((self._now + self._durations.verify_s, group))
        else:
            self._decide(group)

    def _decide(self, group: SimulatedGroup) -> None:
        if group.work.fate is Fate.TRAINED:
            self._accepted[group.number] = group
            self._useless = 0
            return
        self._useless += 1
        if self._useless >= self._way.max_useless_groups:
            raise StalledError(f"{self._useless} groups in a row had nothing to train on")
        self._drop(group, group.work.fate)
        self._dispatch()

    def _take(self, step: int) -> list[SimulatedGroup]:
        """The groups of the next forward and backward pass, or nothing when they are not all there."""
        in_order, accepted = self._schedule.in_dispatch_order, self._accepted
        if not in_order:
            self._evict(step)
        if len(accepted) < self._chunk:
            return []
        taken = list(islice((self._waiting if in_order else accepted).values(), self._chunk))
        for group in taken:
            if group.number not in accepted:
                return []
        for group in taken:
            del self._waiting[group.number], accepted[group.number]
            group.step = step
            self._run.ages[step - group.version] += 1
            self._settle(group, Fate.TRAINED)
        self._consumed += self._chunk
        self._dispatch()
        return taken

    def _evict(self, step: int) -> None:
        old = [group for group in self._accepted.values() if self._schedule.too_old(group.version, step)]
        for group in old:
            del self._accepted[group.number]
            self._send_again(group, Fate.EVICTED)
        if old:
            self._dispatch()

    def _abort(self) -> None:
        for group in self._engine.abort():
            self._send_again(group, Fate.ABORTED)

    def _send_again(self, group: SimulatedGroup, fate: Fate) -> None:
        heappush(self._returned, (group.place, group.work))
        self._drop(group, fate)

    def _drop(self, group: SimulatedGroup, fate: Fate) -> None:
        del self._waiting[group.number]
        self._settle(group, fate)

    def _settle(self, group: SimulatedGroup, fate: Fate) -> None:
        group.fate = fate
        self._run.fates[fate] += 1
        self._run.tokens[fate] += group.completion_tokens
        if self._watch is not None:
            self._watch(group)
