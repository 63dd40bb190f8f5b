"""A rollout engine in a child process, for machines where vLLM does not install.

The child serves what is waiting as one batch after another (`transformers_worker`); this side hands
requests over a pipe and resolves a future for each answer.
"""

import asyncio
import importlib.metadata
import inspect
import itertools
import multiprocessing
import os
import queue
import threading
from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from trainer.engine.limits import hangs, wait_while_sampling
from trainer.engine.protocol import Completion, EngineCounters, GenerationRequest, Weights
from trainer.engine.transformers_worker import serve
from trainer.errors import ConfigError, EngineError
from trainer.models import model_path
from trainer.server import START_TIMEOUT_S
from trainer.settings import EngineSettings

_LOG = "train.log"
_Call = tuple[int, str, tuple[Any, ...]]


class TransformersEngine:
    """Starts the child and speaks to it; the child ends with this process.

    Raises:
        ConfigError: the model's configuration cannot be read, or this engine cannot sample from such a model.
    """

    def __init__(self, model: str, settings: EngineSettings, cores: tuple[int, ...]) -> None:
        self.description = f"transformers {importlib.metadata.version('transformers')}"
        self.takes_tensors = False
        self._timeout_s = settings.timeout_s
        path = model_path(model)
        _require_cache(path)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, path, settings, cores, os.getpid()), daemon=True
        )
        self._process.start()
        theirs.close()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._outbox: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()  # None: the last
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def attach(self) -> None:
        """Start to listen for answers; the child is new, so nothing can be running in it."""
        self._loop = asyncio.get_running_loop()
        # Threads, because a child that hangs neither sends nor takes what is sent.
        for work in (self._send, self._listen):
            threading.Thread(target=work, name="transformers-engine", daemon=True).start()
        await self._call("ping", timeout_s=START_TIMEOUT_S)

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """Sample a group, together with whatever else is waiting."""
        answer = self._ask("generate", request)
        completions: list[Completion] = await wait_while_sampling(
            answer, self._sampled_tokens, self._timeout_s, _LOG
        )
        return completions

    async def load_weights(self, weights: Weights, version: int) -> dict[str, str]:
        """Load a safetensors file; the child refuses one whose names are not exactly the model's."""
        if not isinstance(weights, Path):
            raise EngineError("the transformers engine takes weights from files only")
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
        self._process.kill()  # it has nothing to save, and one that hangs would not hear a request to end
        await asyncio.to_thread(self._process.join)
        self._outbox.put(None)

    async def _sampled_tokens(self) -> int:
        return (await self.counters()).completion_tokens

    async def _call(self, method: str, *arguments: Any, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        limit_s = timeout_s or self._timeout_s
        try:
            return await asyncio.wait_for(self._ask(method, *arguments), limit_s)
        except TimeoutError as error:
            raise hangs(limit_s, _LOG) from error

    def _ask(self, method: str, *arguments: Any) -> asyncio.Future[Any]:  # noqa: ANN401 - any call
        if self._loop is None:
            raise EngineError("the transformers engine was used before it was attached")
        if self._ended:
            raise self._gone()
        number = next(self._numbers)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = future
        self._outbox.put((number, method, arguments))
        return future

    def _send(self) -> None:
        while (call := self._outbox.get()) is not None:
            try:
                self._pipe.send(call)
            except OSError:
                return  # the child has ended, as `_listen` sees too

    def _listen(self) -> None:
        assert self._loop is not None
        while True:
            try:
                number, value = self._pipe.recv()
            except (EOFError, OSError):
                break
            self._loop.call_soon_threadsafe(self._resolve, number, value)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fail_all)

    def _resolve(self, number: int, value: Any) -> None:  # noqa: ANN401 - any answer
        future = self._waiting.pop(number)
        if future.done():
            return  # its owner was cancelled
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)

    def _fail_all(self) -> None:
        self._ended = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._gone())
        self._waiting.clear()

    def _gone(self) -> EngineError:
        return EngineError(
            f"the transformers engine (process {self._process.pid}) has ended; {_LOG} says why"
        )


def _require_cache(model: str) -> None:
    """Refuse a model that takes no keys and values, such as a state-space one: `Batch` samples with them."""
    try:
        config = AutoConfig.from_pretrained(model)
        kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except (OSError, ValueError) as error:
        raise ConfigError(f"the configuration of model {model!r} could not be read: {error}") from error
    except KeyError as error:
        raise ConfigError(f"model {model!r} is no causal language model: {type(config).__name__}") from error
    if "past_key_values" not in inspect.signature(kind.forward).parameters:
        raise ConfigError(
            f"model {model!r}: the transformers engine cannot sample from {kind.__name__}, which takes no "
            "cache of keys and values (state-space models keep a state instead); use engine.name: vllm, or "
            "another model"
        )
