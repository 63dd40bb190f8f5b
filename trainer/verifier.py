"""Rewards of completions, computed where they can do no harm.

`exact_match` is computed at once. Anything else goes to worker processes, because computer algebra and
users' code may hang without ever giving a Python thread back, and may crash. A worker has one group at a
time and computes its completions one by one; one that takes too long is killed, and the next group that
needs it starts a new one. So a bad completion costs its own group, and others a worker for a while.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from typing import Any

from trainer.rewards import check_reward, exact_match
from trainer.rewards.worker import Call, Refusal, serve
from trainer.tasks import Problem, Task

# Most rewards take milliseconds, and the learner wants the cores.
_MAX_WORKERS = min(8, max(2, (os.cpu_count() or 1) // 4))
_START_TIMEOUT_S = 120.0  # imports, perhaps from a cold disk
_SHOWN_CHARACTERS = 60


class VerificationError(Exception):
    """A reward could not be had for some completion; the group fails, the run goes on."""


class Verifier:
    """Computes a task's rewards.

    `rewards` and `close` belong to one event loop, whose thread must live until `close` has returned: a
    worker ends with the thread that started it.

    Raises:
        ConfigError: the task's reward does not exist.
    """

    def __init__(self, task: Task) -> None:
        check_reward(task.reward)
        self._reward = task.reward
        self._timeout_s = task.reward_timeout_s
        self._free = asyncio.Semaphore(_MAX_WORKERS)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    async def rewards(self, problem: Problem, texts: Sequence[str]) -> list[float]:
        """One reward a completion. When this is cancelled, its worker is killed.

        Raises:
            VerificationError: one of them raised, never returned, or is no finite number.
        """
        if self._reward == "exact_match":
            return [exact_match(text, problem.answer) for text in texts]
        async with self._free:
            if self._closed:
                raise VerificationError(f"{problem.prompt_id}: the run ended before it was verified")
            worker = self._idle.pop() if self._idle else _Worker(self._reward)
            self._busy.add(worker)
            try:
                return [await self._one(worker, problem, text) for text in texts]
            finally:
                self._busy.discard(worker)
                if worker.waiting:
                    self._idle.append(worker)
                else:
                    await worker.end()

    async def close(self) -> None:
        """End the worker processes; groups that are being verified fail."""
        self._closed = True
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(worker.end() for worker in workers))

    async def _one(self, worker: "_Worker", problem: Problem, text: str) -> float:
        outcome = await worker.call(Call(text, problem.answer, problem.row), self._timeout_s)
        if isinstance(outcome, Refusal):
            start = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
            raise VerificationError(
                f"{problem.prompt_id}: reward {self._reward} {outcome.reason}; the completion: {start!r}"
            )
        return outcome


class _Worker:
    """One worker process, from this side.

    Attributes:
        waiting: it has started and owes no answer; else it must be ended.
    """

    def __init__(self, reward: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, reward, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()
        self._started = False
        self._ended = False
        self.waiting = False

    async def call(self, call: Call, timeout_s: float) -> float | Refusal:
        """The reward, or why there is none."""
        self.waiting = False
        late = f"did not start within {_START_TIMEOUT_S:g} s"
        try:
            if not self._started:
                refusal: Refusal | None = await self._receive(_START_TIMEOUT_S)
                if refusal is not None:
                    return refusal
                self._started = True
            late = f"did not return within task.reward_timeout_s = {timeout_s:g} s"
            try:
                message = ForkingPickler.dumps(call)
            # A dataset's columns may hold anything, and every class refuses in its own way.
            except Exception as error:
                self.waiting = True
                return Refusal(f"cannot be sent the row: {type(error).__name__}: {error}")
            self._pipe.send_bytes(message)
            outcome: float | Refusal = await self._receive(timeout_s)
        except TimeoutError:
            return Refusal(late)
        except (EOFError, OSError):
            await self.end()
            return Refusal(f"ended its process ({_cause(self._process.exitcode)})")
        self.waiting = True
        return outcome

    async def end(self) -> None:
        """Kill the process and what it has started."""
        if self._ended:
            return
        self._ended, self.waiting = True, False
        assert self._process.pid is not None
        with suppress(ProcessLookupError):  # it had no time yet to make a process group of its own
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        try:
            await asyncio.to_thread(self._process.join)
        finally:
            self._pipe.close()

    async def _receive(self, timeout_s: float) -> Any:  # noqa: ANN401 - whatever the worker sends
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        pipe = self._pipe.fileno()
        loop.add_reader(pipe, readable.set)
        try:
            async with asyncio.timeout(timeout_s):
                await readable.wait()
        finally:
            loop.remove_reader(pipe)
        return self._pipe.recv()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
