"""Rollouts as the learner sees them: a thread that generates while the learner computes."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from trainer.buffer import Dropped, GroupBuffer
from trainer.config import RunConfig
from trainer.dispatch import Dispatcher
from trainer.engine.protocol import (
    Completion,
    Engine,
    EngineCounters,
    GenerationAborted,
    GenerationError,
    GenerationRequest,
    Weights,
)
from trainer.errors import EngineError
from trainer.frontier import PromptFrontier
from trainer.group import Group
from trainer.group_log import GroupLog
from trainer.records import Fate
from trainer.tasks import Problem, Task
from trainer.trace import TraceWriter

_Result = TypeVar("_Result")

_END_PATIENCE_S = 10.0  # for an engine to answer when the run ends anyway


class Rollouts:
    """Called from the learner's thread, but for `interrupt`, which any other may call.

    Args:
        config: the run's configuration.
        engine: the rollout engine; it is attached, used and closed on the rollouts' thread.
        task: where prompts come from.
        prompt_token_ids: of the task's problems.
        tokenizer: the model's.
        trace: where dispatches and spans go.
        log: where the fates of groups go.

    Attributes:
        buffer: where groups wait for the learner.
        takes_tensors: whether the engine does, see `Engine`.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        engine: Engine,
        task: Task,
        prompt_token_ids: Sequence[list[int]],
        tokenizer: PreTrainedTokenizerBase,
        trace: TraceWriter,
        log: GroupLog,
    ) -> None:
        self._engine = engine
        self.takes_tensors = engine.takes_tensors
        self._task = task
        self._prompt_token_ids = prompt_token_ids
        self._log = log
        self._frontier = PromptFrontier(len(task.problems), config.seed)
        self._interrupted: Future[None] = Future()
        self._dispatching: Future[None] | None = None
        self._stopped = False
        self._uncounted = False
        self._loop = asyncio.new_event_loop()
        self._sampled_outside = EngineCounters()
        self._counters_before: EngineCounters | None = None
        self.buffer = GroupBuffer(config.schedule, on_evict=self._evict, on_room=self._room)
        self._dispatcher = Dispatcher(
            config=config,
            engine=engine,
            task=task,
            prompt_token_ids=prompt_token_ids,
            tokenizer=tokenizer,
            frontier=self._frontier,
            buffer=self.buffer,
            trace=trace,
            log=log,
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="rollouts", daemon=True)
        self._thread.start()

    def attach(self) -> None:
        """Take the engine over; raises EngineError when it does not answer."""
        self._interruptibly(self._engine.attach())
        self._counters_before = self._interruptibly(self._engine.counters())

    def start(self) -> None:
        """Begin to dispatch."""
        self._submit(self._dispatcher.begin()).result()
        self._dispatching = self._submit(self._dispatcher.run())

    def pause(self) -> int:
        """Let nothing more be dispatched; returns how many groups are still being generated.

        Runs on the rollouts' thread, so that no dispatch is half done when it returns.
        """

        async def pause() -> int:
            in_flight = self.buffer.pause()
            self._dispatcher.account()
            return in_flight

        return self._submit(pause()).result()

    def abort(self) -> None:
        """End the groups that are being generated; their prompts are the next to be dispatched."""
        self._submit(self._engine.abort_all()).result()

    def load_weights(self, weights: Weights, version: int) -> dict[str, str]:
        """Load weights into the engine, see `Engine.load_weights`; until `resume` nothing is dispatched."""

        async def load() -> dict[str, str]:
            self._dispatcher.syncing = True
            self._dispatcher.newest_version = version
            self._dispatcher.account()
            return await self._engine.load_weights(weights, version)

        return self._submit(load()).result()

    def resume(self, version: int) -> None:
        """The engine holds `version`: dispatching goes on."""

        async def resume() -> None:
            self._dispatcher.syncing = False
            self.buffer.resume(version)
            self._dispatcher.account()

        self._submit(resume()).result()

    def learner_is_at(self, version: int) -> None:
        """The policy version that the learner has reached."""
        self._dispatcher.learner_version = version

    def sample(self, requests: Sequence[GenerationRequest]) -> list[list[Completion]]:
        """Sample outside the schedule: for the probe of the weights and for held-out problems.

        Raises:
            EngineError: a request could not be served.
        """

        async def sample() -> list[list[Completion]]:
            self._dispatcher.evaluating = True
            self._dispatcher.account()
            try:
                return await asyncio.gather(*map(self._engine.generate, requests))
            finally:
                self._dispatcher.evaluating = False
                self._dispatcher.account()

        self._uncounted = True
        try:
            sampled = self._interruptibly(sample())
        except (GenerationError, GenerationAborted) as error:
            raise EngineError(f"the engine did not serve a request outside the schedule: {error}") from error
        for request, completions in zip(requests, sampled, strict=True):
            self._sampled_outside = self._sampled_outside.plus(len(request.token_ids), completions)
        self._uncounted = False
        return sampled

    def reward(self, problem: Problem, text: str) -> float:
        """The reward of a completion outside the schedule; raises VerificationError."""
        return self._interruptibly(self._dispatcher.verifier.rewards(problem, [text]))[0]

    def groups_counters(self) -> EngineCounters | None:
        """The engine's own counters since `attach`, less what was sampled outside the schedule.

        None where that cannot be told: it does not answer, or a request outside the schedule was cut off.
        """
        if self._uncounted or self._counters_before is None:
            return None
        try:
            counters = self._submit(self._engine.counters()).result(_END_PATIENCE_S)
        except (EngineError, TimeoutError):
            return None
        return counters.since(self._counters_before).since(self._sampled_outside)

    def idle_s(self) -> float:
        """Seconds the engine was idle so far."""
        return self._dispatcher.lane.idle_s()

    def interrupt(self, interruption: BaseException) -> None:
        """End what is running, dispatch nothing more, and raise `interruption` where the learner waits.

        Prompts of what was running are the next to be dispatched by whoever resumes.
        """
        self.buffer.interrupt(interruption)
        if not self._interrupted.done():
            self._interrupted.set_exception(interruption)
        if self._dispatching is not None and not self._stopped:
            with suppress(EngineError, TimeoutError):  # the learner will hear of it
                self._submit(self._engine.abort_all()).result(_END_PATIENCE_S)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of prompts and groups, as JSON. No step may be half done.

        Runs on the rollouts' thread, so that no dispatch or verdict is half done.
        """

        async def state() -> dict[str, Any]:
            accepted, undecided, dropped = self.buffer.waiting()
            return {
                "next_group": self._dispatcher.next_group,
                "undecided": [group.number for group in undecided],
                "frontier": self._frontier.state(group.prompt for group in undecided),
                "accepted": [group.state() for group in accepted],
                "dropped": {"fates": dict(dropped.fates), "rewards": dropped.rewards},
            }

        return self._submit(state()).result()

    def restore(self, state: dict[str, Any], consumed: int, engine_version: int) -> None:
        """Go on where `state` was taken; before `start`."""
        self._frontier.restore(**state["frontier"])
        groups = []
        for kept in state["accepted"]:
            prompt = self._frontier.prompt(kept["ordinal"])
            problem, tokens = self._task.problems[prompt.index], self._prompt_token_ids[prompt.index]
            groups.append(Group.restore(kept, prompt, problem, tokens))
        self.buffer.restore(groups, consumed, engine_version, Dropped.restore(**state["dropped"]))

    def stop(self) -> None:
        """Dispatch nothing more and end what is running; called again, it does nothing."""

        async def stop() -> None:
            if self._dispatching is not None:
                self._dispatching.cancel()
            await self._dispatcher.end()

        if not self._stopped:
            self._stopped = True
            with suppress(EngineError):  # an engine that is gone has nothing left to abort
                self._submit(stop()).result()

    def settle(self, saved: bool) -> None:
        """Give every group without one a fate; after `stop`.

        Args:
            saved: accepted groups are in a checkpoint, so a later attempt will decide about them.
        """
        accepted, undecided, _ = self.buffer.waiting()
        for group in [] if saved else accepted:
            self._log.write(group, Fate.LEFTOVER)
        for group in undecided:
            self._log.write(group, Fate.ABORTED if group.finished_s is None else Fate.LEFTOVER)

    def close(self) -> None:
        """Let go of the engine, end the worker processes and the thread."""
        self._submit(self._dispatcher.verifier.close()).result()
        self._submit(self._engine.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submit(self, coroutine: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _interruptibly(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """The coroutine's result; raises what `interrupt` is given while it waits for it."""
        future = self._submit(coroutine)
        either: list[Future[Any]] = [future, self._interrupted]
        wait(either, return_when=FIRST_COMPLETED)
        if self._interrupted.done():  # first: it also ends what the future waits for
            future.cancel()
            self._interrupted.result()
        return future.result()

    def _evict(self, group: Group) -> None:
        self._frontier.put_back(group.prompt)
        self._log.write(group, Fate.EVICTED)

    def _room(self) -> None:
        self._loop.call_soon_threadsafe(self._dispatcher.wake.set)
