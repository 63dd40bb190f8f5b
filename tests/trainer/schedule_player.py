"""Whole runs of the schedule in virtual time: the real law, buffer and order of prompts, no engine."""

import heapq
import itertools
from dataclasses import dataclass, field

from trainer_factory import group

from trainer.buffer import GroupBuffer
from trainer.frontier import PromptFrontier
from trainer.records import Fate


class StalledError(Exception):
    """Nothing can happen any more and the run is not done."""


@dataclass
class Played:
    """What happened: (step, group) of every trained group in order, and the fate of every other one."""

    trained: list = field(default_factory=list)
    fates: dict = field(default_factory=dict)
    dispatched: list = field(default_factory=list)

    def ages(self):
        return [step - item.version_min for step, item in self.trained]


class Player:
    """Plays one run. Latencies and verdicts (None: accepted) are taken in turn, the last verdict for ever."""

    def __init__(
        self, schedule, latencies, verdicts=(), *, learn_s=1.0, in_flight="wait", chunk=None, problems=7
    ):
        self.schedule, self.in_flight, self.learn_s = schedule, in_flight, learn_s
        self.chunk = chunk or schedule.prompts_per_optim_step
        self.latency = itertools.cycle(latencies)
        self.verdict = itertools.chain(verdicts, itertools.repeat(None))
        self.frontier = PromptFrontier(problems, seed=0)
        self.buffer = GroupBuffer(schedule, on_evict=self._evicted, on_room=lambda: None)
        self.finishing, self.played, self.now = [], Played(), 0.0

    def play(self):
        version = 0
        while version < self.schedule.max_steps:
            for _ in range(self.schedule.prompts_per_optim_step // self.chunk):
                while not (taken := self.buffer.try_take(self.chunk, version)):
                    self._advance()
                self.played.trained += [(version, item) for item in taken]
                self._learn()
            version += 1
            if self.schedule.sync_due(version):
                self._sync(version)
        return self.played

    def _learn(self):
        done = self.now + self.learn_s
        self._dispatch()
        while self.finishing and self.finishing[0][0] <= done:
            self._advance()
        self.now = done

    def _sync(self, version):
        self.buffer.pause()
        if self.in_flight == "abort":
            for _, _, item in self.finishing:
                self._end(item, Fate.ABORTED)
            self.finishing = []
        while self.in_flight == "wait" and self.finishing:
            self._advance()
        self.buffer.resume(version)

    def _dispatch(self):
        while self.buffer.may_dispatch():
            item = group(len(self.played.dispatched), version=self.buffer.engine_version)
            item.prompt = self.frontier.next()
            self.buffer.dispatched(item)
            self.played.dispatched.append(item)
            heapq.heappush(self.finishing, (self.now + next(self.latency), item.number, item))

    def _advance(self):
        """Let the next group finish, and dispatch before and after."""
        self._dispatch()
        if not self.finishing:
            raise StalledError
        when, _, item = heapq.heappop(self.finishing)
        self.now = max(self.now, when)
        self._end(item, next(self.verdict))
        self._dispatch()

    def _end(self, item, fate):
        self.buffer.generated(item)
        if fate is None:
            self.buffer.accept(item)
            return
        if fate is Fate.ABORTED:
            self.frontier.put_back(item.prompt)
        self.buffer.drop(item, fate)
        self.played.fates[item.number] = fate

    def _evicted(self, item):
        self.frontier.put_back(item.prompt)
        self.played.fates[item.number] = Fate.EVICTED


def play(schedule, latencies, verdicts=(), **how):
    return Player(schedule, latencies, verdicts, **how).play()
