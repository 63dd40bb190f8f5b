"""A rollout engine in a child process, for machines where vLLM does not install.

The child serves what is waiting as one batch after another (`transformers_worker`); this side hands
requests over a pipe and resolves a future for each answer.
"""

import asyncio
import importlib.metadata
import itertools
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

from trainer.config import EngineSettings
from trainer.engine.protocol import Completion, EngineCounters, GenerationError, GenerationRequest
from trainer.engine.transformers_worker import serve
from trainer.errors import EngineError
from trainer.models import model_path


class TransformersEngine:
    """Starts the child and speaks to it; the child ends with this process."""

    def __init__(self, model: str, settings: EngineSettings, cores: tuple[int, ...]) -> None:
        self.description = f"transformers {importlib.metadata.version('transformers')}"
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, model_path(model), settings.dtype, cores, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._send_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def attach(self) -> None:
        """Start to listen for answers; the child is new, so nothing can be running in it."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, name="transformers-engine", daemon=True).start()
        await self._call("ping")

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """Sample a group, together with whatever else is waiting."""
        completions: list[Completion] = await self._call("generate", request)
        return completions

    async def load_weights(self, weights: Path, version: int) -> dict[str, str]:
        """Load a safetensors file; the child refuses one that leaves a parameter unloaded."""
        checksums: dict[str, str] = await self._call("load_weights", str(weights), version)
        return checksums

    async def abort_all(self) -> None:
        """Forget what is waiting and stop the batch that is running."""
        await self._call("abort_all")

    async def counters(self) -> EngineCounters:
        """The child's own counters."""
        counters: EngineCounters = await self._call("counters")
        return counters

    async def close(self) -> None:
        """End the child."""
        self._process.terminate()
        await asyncio.to_thread(self._process.join)

    async def _call(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - any answer
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting[number] = future
        try:
            with self._send_lock:
                self._pipe.send((number, method, arguments))
        except OSError as error:
            raise self._gone() from error
        return await future

    def _listen(self) -> None:
        assert self._loop is not None
        while True:
            try:
                number, value, failure = self._pipe.recv()
            except (EOFError, OSError):
                break
            self._loop.call_soon_threadsafe(self._resolve, number, value, failure)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fail_all)

    def _resolve(self, number: int, value: Any, failure: tuple[bool, str] | None) -> None:  # noqa: ANN401
        future = self._waiting.pop(number)
        if future.done():
            return  # its owner was cancelled
        if failure is None:
            future.set_result(value)
        else:
            fatal, message = failure
            future.set_exception(EngineError(message) if fatal else GenerationError(message))

    def _fail_all(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._gone())
        self._waiting.clear()

    def _gone(self) -> EngineError:
        return EngineError(
            f"the transformers engine (process {self._process.pid}) has ended; train.log says why"
        )
