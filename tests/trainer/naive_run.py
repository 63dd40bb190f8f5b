"""A run in virtual time as the trainer's loop reads, over the real buffer and order of prompts.

The engine is integrated from event to event: each group that runs has so much work left, all of them lose the
same of it. Slow and plain, to check `trainer.simulator` against.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from trainer_factory import group

from trainer.buffer import GroupBuffer
from trainer.frontier import PromptFrontier
from trainer.records import Fate

PHASES = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")


class StalledError(Exception):
    """Nothing can happen any more and the run is not done."""


@dataclass
class NaiveRun:
    """What happened.

    Attributes:
        trained: (step, number, version at dispatch) of each trained group.
        fates: of the other groups, by number.
        finished_s: of the groups that came to the end of their generation, by number.
        done: share of its generation, of each aborted group, by number.
        steps: seconds by phase.
        idle_s: of the engine.
    """

    trained: list = field(default_factory=list)
    fates: dict = field(default_factory=dict)
    finished_s: dict = field(default_factory=dict)
    done: dict = field(default_factory=dict)
    steps: list = field(default_factory=list)
    idle_s: float = 0.0


class NaivePlayer:
    """Plays one run; `works` has the work of the n-th prompt at place n."""

    def __init__(self, way, durations, works):
        self.way, self.schedule, self.durations, self.works = way, way.schedule, durations, works
        self.chunk = way.chunk or self.schedule.prompts_per_optim_step
        self.frontier = PromptFrontier(1000, seed=0)
        self.buffer = GroupBuffer(self.schedule, on_evict=self._evicted, on_room=lambda: None)
        self.groups = []  # by number
        self.left, self.line, self.verdicts = {}, deque(), []  # the work left, and who waits, by number
        self.now, self.halted, self.run = 0.0, False, NaiveRun()

    def play(self):
        self._dispatch()
        for step in range(self.schedule.max_steps):
            self._step(step)
        return self.run

    def _step(self, step):
        began, idle_before = self.now, self.run.idle_s
        spent = dict.fromkeys(PHASES, 0.0)
        durations, version = self.durations, step + 1
        for _ in range(self.schedule.prompts_per_optim_step // self.chunk):
            waited_from = self.now
            while not (taken := self.buffer.try_take(self.chunk, step)):
                self._dispatch()
                self._event()
            spent["wait_s"] += self.now - waited_from
            self._dispatch()
            self.run.trained += [(step, item.number, item.version_min) for item in taken]
            tokens = sum(self._work(item.number).learner_tokens for item in taken)
            spent["learn_s"] += self._pass(
                self.chunk * durations.learn_s_per_prompt + tokens * durations.learn_s_per_token
            )
        spent["learn_s"] += self._pass(durations.optimizer_s)
        spent["other_s"] = self._pass(durations.other_s)
        if self.schedule.sync_due(version):
            spent["drain_s"] = self._drain()
            self.halted = True
            spent["sync_s"] = self._pass(durations.sync_s)
            self.halted = False
            self.buffer.resume(version)
            self._dispatch()
        every = self.way.checkpoint_every_steps
        if version == self.schedule.max_steps or (every and version % every == 0):
            spent["checkpoint_s"] = self._pass(durations.checkpoint_s)
        spent |= {
            "start_s": began,
            "wall_s": self.now - began,
            "engine_idle_s": self.run.idle_s - idle_before,
        }
        self.run.steps.append(spent)

    def _drain(self):
        began = self.now
        self.buffer.pause()
        if self.way.in_flight == "abort":
            for number in [*self.left, *self.line]:
                whole = self._work(number).generate_s
                self.run.done[number] = 1 - self.left.get(number, whole) / whole if whole else 1.0
                self.buffer.generated(self.groups[number])
                self.frontier.put_back(self.groups[number].prompt)
                self._drop(number, Fate.ABORTED)
            self.left, self.line = {}, deque()
        while self.way.in_flight == "wait" and self.left:
            self._event()
        return self.now - began

    def _pass(self, seconds):
        """The learner is busy; what ends at the same moment as it comes before it."""
        until = self.now + seconds
        while self._next()[0] <= until:
            self._event()
        self._to(until)
        return seconds

    def _pace(self):
        return 1 + self.durations.crowding * (len(self.left) - 1)

    def _next(self):
        """When what happens next, and to whom: the end of a generation before a verdict."""
        ends = [(self.now + left * self._pace(), 0, number) for number, left in self.left.items()]
        verdicts = [(when, 1, number) for when, number in self.verdicts]
        return min([*([] if self.halted else ends), *verdicts], default=(inf, 0, 0))

    def _to(self, when):
        if self.halted or not self.left:
            self.run.idle_s += when - self.now
        else:
            gone = (when - self.now) / self._pace()
            self.left = {number: max(left - gone, 0.0) for number, left in self.left.items()}
        self.now = when

    def _event(self):
        when, is_verdict, number = self._next()
        if when == inf:
            raise StalledError
        self._to(when)
        if is_verdict:
            self.verdicts.remove((when, number))
            return self._decide(number)
        del self.left[number]
        self.run.finished_s[number] = self.now
        self.buffer.generated(self.groups[number])
        if self.line:
            self._begin(self.line.popleft())
        if self.durations.verify_s:
            return self.verdicts.append((self.now + self.durations.verify_s, number))
        return self._decide(number)

    def _decide(self, number):
        fate = self._work(number).fate
        if fate is Fate.TRAINED:
            self.buffer.accept(self.groups[number])
        else:
            self._drop(number, fate)
            self._dispatch()

    def _dispatch(self):
        while self.buffer.may_dispatch():
            item = group(len(self.groups), version=self.buffer.engine_version)
            item.prompt = self.frontier.next()
            self.groups.append(item)
            self.buffer.dispatched(item)
            self._begin(item.number)

    def _begin(self, number):
        if len(self.left) < (self.durations.max_concurrent_groups or inf):
            self.left[number] = self._work(number).generate_s
        else:
            self.line.append(number)

    def _work(self, number):
        return self.works[self.groups[number].prompt.ordinal]

    def _drop(self, number, fate):
        self.buffer.drop(self.groups[number], fate)
        self.run.fates[number] = fate

    def _evicted(self, item):
        self.frontier.put_back(item.prompt)
        self.run.fates[item.number] = Fate.EVICTED
