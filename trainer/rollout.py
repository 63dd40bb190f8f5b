"""The engine's lane: dispatch, generation, verification, verdict.

A thread of its own runs an asyncio loop, so that a group is verified and the next one dispatched
while the learner computes.
"""

import asyncio
import hashlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from trainer.buffer import Group, GroupBuffer
from trainer.config import RunConfig
from trainer.engine.protocol import Completion, Engine, EngineCounters, GenerationError, GenerationRequest
from trainer.errors import ConfigError, EngineError, TrainingError
from trainer.frontier import PromptFrontier
from trainer.group_log import GroupLog
from trainer.records import Dispatch, Fate, Span
from trainer.tasks import Problem, Task
from trainer.trace import TraceWriter

_Result = TypeVar("_Result")

# After so many batches' worth of groups in a row without one to train on, a run is going nowhere.
_USELESS_BATCHES = 20


class Rollouts:
    """Keeps the engine as busy as the schedule allows.

    Args:
        config: the run's configuration.
        engine: already holding version 0 when `start` is called.
        task: where prompts and rewards come from.
        tokenizer: the model's.
        trace: where dispatches and engine spans go.
        log: where the fates of groups go.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        engine: Engine,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        trace: TraceWriter,
        log: GroupLog,
    ) -> None:
        self._config = config
        self._engine = engine
        self._task = task
        self._tokenizer = tokenizer
        self._trace = trace
        self._log = log
        self._frontier = PromptFrontier(len(task.problems), config.seed)
        self._next_group = trace.first_group
        self._useless = 0
        self._idle_since: float | None = trace.clock.now()
        self._busy_since = 0.0
        self.sampled_outside = EngineCounters()
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._groups: set[asyncio.Task[None]] = set()
        self._dispatcher: Future[None] | None = None
        self.buffer = GroupBuffer(config.schedule, on_resume=self._resumed)
        self._thread = threading.Thread(target=self._loop.run_forever, name="rollouts", daemon=True)
        self._thread.start()

    def attach(self) -> None:
        """Take the engine over; raises EngineError when it does not answer."""
        self._submit(self._engine.attach()).result()

    def start(self) -> None:
        """Begin to dispatch."""
        self._idle_since = self._trace.clock.now()
        self._dispatcher = self._submit(self._dispatch_forever())

    def pause(self) -> int:
        """Let nothing more be dispatched; returns how many groups are still being generated.

        Runs on the rollouts' thread, so that no dispatch is half done when it returns.
        """

        async def pause() -> int:
            return self.buffer.pause()

        return self._submit(pause()).result()

    def load_weights(self, weights: Path, version: int) -> dict[str, str]:
        """Load weights into the engine, from the learner's thread; see `Engine.load_weights`."""
        return self._submit(self._engine.load_weights(weights, version)).result()

    def sample(self, request: GenerationRequest) -> list[Completion]:
        """Sample outside the schedule, from the learner's thread: for the probe of the weights."""
        completions = self._submit(self._engine.generate(request)).result()
        self.sampled_outside = self.sampled_outside.plus(len(request.token_ids), completions)
        return completions

    def counters(self) -> EngineCounters:
        """The engine's own counters."""
        return self._submit(self._engine.counters()).result()

    def stop(self) -> None:
        """End what is running and give every group without one a fate."""
        self._submit(self._end()).result()
        accepted, undecided = self.buffer.leftovers()
        for group in accepted:
            self._log.write(group, Fate.LEFTOVER)
        for group in undecided:
            self._log.write(group, Fate.ABORTED)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submit(self, coroutine: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _resumed(self) -> None:
        self._loop.call_soon_threadsafe(self._wake.set)

    async def _end(self) -> None:
        self.buffer.pause()
        if self._dispatcher is not None:
            self._dispatcher.cancel()
        for task in self._groups:
            task.cancel()
        await asyncio.gather(*self._groups, return_exceptions=True)
        self._end_span()
        with suppress(EngineError):  # an engine that is gone has nothing left to abort
            if self.buffer.leftovers()[1]:
                await self._engine.abort_all()
        await self._engine.close()

    async def _dispatch_forever(self) -> None:
        try:
            while True:
                self._wake.clear()
                while self.buffer.may_dispatch():
                    self._dispatch()
                await self._wake.wait()
        except Exception as error:
            self.buffer.fail(error)

    def _dispatch(self) -> None:
        index, epoch = self._frontier.next()
        problem = self._task.problems[index]
        now = self._trace.clock.now()
        group = Group(
            number=self._next_group,
            problem=problem,
            epoch=epoch,
            prompt_token_ids=self._encode(problem),
            version_min=self.buffer.engine_version,
            dispatched_s=now,
        )
        self._next_group += 1
        if self.buffer.generating == 0:
            self._begin_busy(now)
        self.buffer.dispatched(group)
        self._trace.write(
            Dispatch, group=group.number, prompt_id=problem.prompt_id, epoch=epoch, version=group.version_min
        )
        task = self._loop.create_task(self._run_group(group))
        self._groups.add(task)
        task.add_done_callback(self._groups.discard)

    def _encode(self, problem: Problem) -> list[int]:
        token_ids: list[int] = self._tokenizer.encode(problem.prompt)
        room = self._config.engine.max_model_len - self._config.sampling.max_completion_tokens
        if len(token_ids) > room:
            raise ConfigError(
                f"prompt {problem.prompt_id} has {len(token_ids)} tokens, but engine.max_model_len - "
                f"sampling.max_completion_tokens leaves room for {room}; raise engine.max_model_len"
            )
        return token_ids

    async def _run_group(self, group: Group) -> None:
        try:
            fate = await self._generate_and_verify(group)
            if fate is None:
                self._useless = 0
                self.buffer.accept(group)
                return
            self.buffer.drop(group)
            self._log.write(group, fate)
            self._count_useless(fate)
            self._wake.set()
        except Exception as error:
            self.buffer.fail(error)

    async def _generate_and_verify(self, group: Group) -> Fate | None:
        """The group's fate when it will not be trained on, else None."""
        sampling = self._config.sampling
        try:
            group.completions = await self._engine.generate(
                GenerationRequest(
                    token_ids=group.prompt_token_ids,
                    n=self._config.completions_per_prompt,
                    max_tokens=sampling.max_completion_tokens,
                    temperature=sampling.temperature,
                    seed=_sampling_seed(self._config.seed, group.problem.prompt_id, group.epoch),
                    stop=self._task.stop,
                )
            )
        except GenerationError as error:
            self._log.warn(f"group {group.number} ({group.problem.prompt_id}) failed: {error}")
            return Fate.FAILED
        finally:
            group.finished_s = self._trace.clock.now()
            self.buffer.generated(group)
            if self.buffer.generating == 0:
                self._begin_idle(group.finished_s)
        self._check_versions(group)
        group.texts = [
            str(self._tokenizer.decode(completion.token_ids, skip_special_tokens=True))
            for completion in group.completions
        ]
        group.rewards = [self._task.reward(group.problem, text) for text in group.texts]
        group.verified_s = self._trace.clock.now()
        self._trace.write(
            Span, lane="verify", name="verify", start_s=group.finished_s, end_s=group.verified_s, step=None
        )
        return Fate.FILTERED if len(set(group.rewards)) == 1 else None

    def _check_versions(self, group: Group) -> None:
        """No sync happens while a group runs, so the engine must name one version: the one at dispatch."""
        named = {version for c in group.completions for version in (c.version_min, c.version_max)}
        if named != {group.version_min}:
            raise EngineError(
                f"group {group.number} was dispatched at policy version {group.version_min}, "
                f"but the engine says it sampled with {sorted(named)}"
            )

    def _count_useless(self, fate: Fate) -> None:
        self._useless += 1
        limit = _USELESS_BATCHES * self._config.prompts_per_optim_step
        if self._useless >= limit:
            raise TrainingError(
                f"{limit} groups in a row had nothing to train on (the last one: {fate}). Either the task is "
                "far too hard or too easy for this model, or its completions are cut off "
                "(sampling.max_completion_tokens)"
            )

    def _begin_busy(self, now: float) -> None:
        if self._idle_since is not None:
            self._span("idle:admission", self._idle_since, now)
        self._idle_since, self._busy_since = None, now

    def _begin_idle(self, now: float) -> None:
        self._span("generate", self._busy_since, now)
        self._idle_since = now

    def synced(self, paused_s: float, resumed_s: float) -> None:
        """Account for the engine's time around a sync: it may dispatch nothing in between."""
        if self._idle_since is None:
            return
        if self._idle_since < paused_s:
            self._span("idle:admission", self._idle_since, paused_s)
        self._span("idle:sync", max(self._idle_since, paused_s), resumed_s)
        self._idle_since = resumed_s

    def _end_span(self) -> None:
        now = self._trace.clock.now()
        if self._idle_since is None:
            self._span("generate", self._busy_since, now)
        else:
            self._span("idle:end", self._idle_since, now)

    def _span(self, name: str, start_s: float, end_s: float) -> None:
        self._trace.write(Span, lane="engine", name=name, start_s=start_s, end_s=end_s, step=None)


def _sampling_seed(seed: int, prompt_id: str, epoch: int) -> int:
    """A seed for the n-th occurrence of a prompt, the same whatever the order of dispatch.

    62 bits, so that adding the completion's index stays within a signed 64-bit integer.
    """
    digest = hashlib.sha256(f"{seed}/{prompt_id}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 2
