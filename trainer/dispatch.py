"""From prompts to verdicts: dispatch, generation, verification. Everything here runs on one event loop."""

import asyncio
import hashlib
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from trainer.answer import answer_text
from trainer.buffer import GroupBuffer
from trainer.config import RunConfig
from trainer.engine.protocol import Engine, GenerationAborted, GenerationError, GenerationRequest
from trainer.engine_lane import EngineLane
from trainer.errors import EngineError
from trainer.frontier import PromptFrontier
from trainer.group import Group
from trainer.group_log import GroupLog
from trainer.records import Dispatch, Fate, Span
from trainer.tasks import Task
from trainer.trace import TraceWriter
from trainer.useless import Useless
from trainer.verifier import VerificationError, Verifier

_END_TIMEOUT_S = 10.0  # for an engine to end what is running when the run ends


class Dispatcher:
    """Keeps the engine as busy as the schedule allows.

    Args:
        config: the run's configuration.
        engine: attached, and holding the right weights when `run` is called.
        task: where prompts come from.
        prompt_token_ids: of the task's problems.
        tokenizer: the model's.
        frontier: the order of prompts.
        buffer: where groups wait for the learner.
        trace: where dispatches and spans go.
        log: where the fates of groups go.

    Attributes:
        next_group: number of the next group to be dispatched.
        learner_version: the learner's policy version, kept up to date by the learner.
        newest_version: the newest policy version the engine was ever given.
        syncing: whether weights are being loaded.
        evaluating: whether the engine works outside the schedule.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        engine: Engine,
        task: Task,
        prompt_token_ids: Sequence[list[int]],
        tokenizer: PreTrainedTokenizerBase,
        frontier: PromptFrontier,
        buffer: GroupBuffer,
        trace: TraceWriter,
        log: GroupLog,
    ) -> None:
        self._config = config
        self._engine = engine
        self._task = task
        self._prompt_token_ids = prompt_token_ids
        self._tokenizer = tokenizer
        self._frontier = frontier
        self._buffer = buffer
        self._trace = trace
        self._log = log
        self._useless = Useless(config.max_useless_batches * config.prompts_per_optim_step)
        self._running: set[asyncio.Task[None]] = set()
        self.verifier = Verifier(task)
        self.lane = EngineLane(trace)
        self.wake = asyncio.Event()
        self.next_group = trace.first_group
        self.learner_version = 0
        self.newest_version = 0
        self.syncing = False
        self.evaluating = False
        self._begun = False

    async def begin(self) -> None:
        """The engine's lane begins now."""
        self._begun = True
        self.account()

    async def run(self) -> None:
        """Dispatch for ever: whenever `wake` is set, as many groups as the schedule allows."""
        try:
            while True:
                self.wake.clear()
                self.account()
                while self._buffer.may_dispatch():
                    self._dispatch()
                await self.wake.wait()
        except Exception as error:
            self._buffer.fail(error)

    async def end(self) -> None:
        """End what is running, keeping what it had sampled; raises EngineError when the engine is gone."""
        self._buffer.pause()
        if self._begun and not self._running:
            self.lane.now("idle:end")
        try:
            if self._buffer.generating:
                async with asyncio.timeout(_END_TIMEOUT_S):
                    await self._engine.abort_all()
                    while self._buffer.generating:
                        await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass  # it does not even end what it works on; whoever owns it will end it
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            self.lane.now(None)

    def account(self) -> None:
        """Say in the trace what the engine does from now on."""
        if not self._begun:
            return
        if self.syncing:
            self.lane.now("idle:sync")
        elif self._buffer.generating:
            self.lane.now("generate")
        elif self.evaluating:
            self.lane.now("held_out")
        else:
            self.lane.now("idle:drain" if self._buffer.paused else "idle:admission")

    def _dispatch(self) -> None:
        prompt = self._frontier.next()
        group = Group(
            number=self.next_group,
            prompt=prompt,
            problem=self._task.problems[prompt.index],
            prompt_token_ids=self._prompt_token_ids[prompt.index],
            version_min=self._buffer.engine_version,
            dispatched_s=self._trace.clock.now(),
        )
        self.next_group += 1
        self._buffer.dispatched(group)
        self.account()
        self._trace.write(
            Dispatch,
            group=group.number,
            prompt_id=group.problem.prompt_id,
            epoch=prompt.epoch,
            version=group.version_min,
        )
        task = asyncio.get_running_loop().create_task(self._run_group(group))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run_group(self, group: Group) -> None:
        try:
            fate, reason = await self._verdict(group)
            if fate is None:
                self._useless.reset()
                self._buffer.accept(group)
                return
            if fate is Fate.ABORTED:
                self._frontier.put_back(group.prompt)
            self._buffer.drop(group, fate)
            self._log.write(group, fate)
            if fate is not Fate.ABORTED:
                self._useless.count(fate, reason)
            self.wake.set()
        except Exception as error:
            self._buffer.fail(error)

    async def _verdict(self, group: Group) -> tuple[Fate | None, str]:
        """The group's fate when it will not be trained on, else None; and why it failed."""
        try:
            await self._generate(group)
            await self._verify(group)
        except GenerationAborted as aborted:
            group.completions = aborted.completions
            return Fate.ABORTED, ""
        except (GenerationError, VerificationError) as error:
            reason = f"group {group.number} ({group.problem.prompt_id}) failed: {error}"
            self._log.warn(reason)
            return Fate.FAILED, reason
        mask = self._config.sampling.truncated == "mask"
        return (None if group.trainable(mask) else Fate.FILTERED), ""

    async def _generate(self, group: Group) -> None:
        sampling = self._config.sampling
        request = GenerationRequest(
            token_ids=group.prompt_token_ids,
            n=self._config.completions_per_prompt,
            max_tokens=sampling.max_completion_tokens,
            temperature=sampling.temperature,
            seed=_sampling_seed(self._config.seed, group.problem.prompt_id, group.prompt.epoch),
            stop=self._task.stop,
        )
        try:
            group.completions = await self._engine.generate(request)
            group.finished_s = self._trace.clock.now()
            group.finished_version = self.learner_version
        finally:
            self._buffer.generated(group)
            self.account()
        self._check_versions(group)

    async def _verify(self, group: Group) -> None:
        began = self._trace.clock.now()
        group.texts = [
            answer_text(self._tokenizer, completion.token_ids, self._task.stop)
            for completion in group.completions
        ]
        group.rewards = await self.verifier.rewards(group.problem, group.texts)
        group.verified_s = self._trace.clock.now()
        self._trace.write(
            Span, lane="verify", name="verify", start_s=began, end_s=group.verified_s, step=None
        )

    def _check_versions(self, group: Group) -> None:
        """Only where groups go on during a sync may the engine name a version newer than at dispatch."""
        named = {version for c in group.completions for version in (c.version_min, c.version_max)}
        newest = self.newest_version if self._config.in_flight == "keep" else group.version_min
        if min(named) < group.version_min or max(named) > newest:
            raise EngineError(
                f"group {group.number} was dispatched at policy version {group.version_min}, "
                f"but the engine says it sampled with {sorted(named)}"
            )


def _sampling_seed(seed: int, prompt_id: str, epoch: int) -> int:
    """A seed for the n-th occurrence of a prompt, the same whatever the order of dispatch.

    62 bits, so that adding the completion's index stays within a signed 64-bit integer.
    """
    digest = hashlib.sha256(f"{seed}/{prompt_id}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 2
