"""A rollout engine that is `vllm serve` on a unix socket."""

import asyncio
import json
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from trainer.engine.limits import hangs, in_thread, require_room, wait_while_sampling
from trainer.engine.protocol import (
    UNKNOWN_VERSION,
    Completion,
    EngineCounters,
    GenerationAborted,
    GenerationError,
    GenerationRequest,
    Weights,
)
from trainer.errors import EngineError
from trainer.server import SERVED_NAME, VllmServer, version
from trainer.settings import EngineSettings, WeightTransfer

if TYPE_CHECKING:  # slow to import, and needed on GPUs only
    from collections.abc import Mapping

    from torch import Tensor

    from trainer.engine.vllm_transfer import DeviceTransfer

_CONNECT_TIMEOUT_S = 10
_ABORT_AGAIN_S = 0.1
# vLLM refuses more completions in one request than it runs at once, at least so many by default.
_MOST_COMPLETIONS = 128
_GENERATE = "/inference/v1/generate"
_COUNTERS = {
    # The only one that counts a completion at its first token, and so also one that is aborted later.
    "requests": "vllm:time_to_first_token_seconds_count",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "completion_tokens": "vllm:generation_tokens_total",
}


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        return json.loads(self.body)

    def problem(self) -> str:
        return f"{self.status}: {self.body[:500].decode(errors='replace')}"


class VllmEngine:
    """Speaks to a server that somebody else started, or that this object owns.

    Every request carries a cache salt that each load of weights draws anew, so that the prefix cache
    can never serve what other weights computed, even should a reset of the cache fail.
    """

    def __init__(
        self,
        socket: Path,
        settings: EngineSettings,
        weight_transfer: WeightTransfer = "file",
        owned: VllmServer | None = None,
    ) -> None:
        self.description = f"vllm {version()}"
        self.takes_tensors = weight_transfer != "file"
        self._weight_transfer = weight_transfer
        self._transfer: DeviceTransfer | None = None
        self._owned = owned
        self._socket = socket
        self._settings = settings
        self._log = str(owned.log) if owned else "engine.log in the sweep's folder"
        self._cache_salt = "before any load"
        self._version = UNKNOWN_VERSION
        self._session: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Task[_Answer]] = set()

    async def attach(self) -> None:
        """Connect, in the event loop that will make all calls, and end what an earlier owner left."""
        # aiohttp, because httpx looks through all connections at every request: with 256 of them that took
        # most of the client's time. A connection for each request, because one that is used again may be
        # closed by the server at that moment: whether `generate` had begun, and counts, would be unknown.
        connector = aiohttp.UnixConnector(str(self._socket), limit=0, force_close=True)
        self._session = aiohttp.ClientSession("http://engine", connector=connector)
        await self.abort_all()
        await self._post("/resume")  # an owner that was killed during a load leaves the engine paused
        await self._name_version(UNKNOWN_VERSION)
        if self.takes_tensors:
            doing = "agreeing with the engine on a transfer of weights"
            self._transfer = await in_thread(self._connect, self._settings.timeout_s, doing)

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """Sample a group, in as few requests as vLLM takes it."""
        require_room(request, self._settings.max_model_len)  # vLLM would cut the completions short
        parts = _parts(request)
        running = [self._start(self._body(part)) for part in parts]
        answers = await asyncio.gather(*map(self._answer, running))
        choices = [
            choice
            for part, answer in zip(parts, answers, strict=True)
            for choice in await self._choices(part, answer)
        ]
        completions = [self._completion(choice) for choice in choices]
        if any(choice["finish_reason"] == "abort" for choice in choices):
            raise GenerationAborted(completions)
        return completions

    async def load_weights(self, weights: Weights, version: int) -> dict[str, str]:
        """Load while all requests stand still, and forget everything computed with the old weights."""
        await self._post("/pause?mode=keep&clear_cache=false")
        try:
            checksums = await self._load_paused(weights, version)
        except BaseException:
            with suppress(EngineError):  # the first error is the one to tell
                await self.abort_all()  # else they would go on under weights that nobody knows
                await self._post("/resume")
            raise
        await self._post("/resume")
        return checksums

    async def abort_all(self) -> None:
        """Abort every request the server knows of, running or waiting, and await the answers of our own."""
        ours = set(self._running)
        await self._post("/abort_requests", {})
        # The server may not have known of one that was only just sent.
        while ours and (await asyncio.wait(ours, timeout=_ABORT_AGAIN_S))[1]:
            await self._post("/abort_requests", {})

    async def counters(self) -> EngineCounters:
        """Sums over the server's Prometheus counters."""
        text = (await self._request("GET", "/metrics")).body.decode()
        totals = {
            field: int(
                sum(
                    float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{")
                )
            )
            for field, name in _COUNTERS.items()
        }
        return EngineCounters(**totals)

    async def close(self) -> None:
        """Disconnect; stop the server when it is ours."""
        if self._transfer:
            with suppress(EngineError):  # what hangs ends with this process
                await in_thread(self._transfer.close, _CONNECT_TIMEOUT_S, "letting go of the transfer")
        if self._session:
            await self._session.close()
        if self._owned:
            await asyncio.to_thread(self._owned.stop)
            shutil.rmtree(self._socket.parent, ignore_errors=True)  # made for this socket alone (start.py)

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        sampling: dict[str, Any] = {
            "n": request.n,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "seed": request.seed,  # vLLM gives completion i the seed `seed + i`
            "logprobs": 0,
            "include_stop_str_in_output": True,
        }
        if request.stop:
            sampling["stop"] = list(request.stop)
        return {
            "model": SERVED_NAME,
            "token_ids": list(request.token_ids),
            "sampling_params": sampling,
            "stream": False,
            "cache_salt": self._cache_salt,
        }

    async def _choices(self, request: GenerationRequest, answer: _Answer) -> list[dict[str, Any]]:
        if answer.status != HTTPStatus.OK:
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                await self._require_health()
            raise GenerationError(answer.problem())
        choices = sorted(answer.json()["choices"], key=lambda choice: int(choice["index"]))
        if len(choices) != request.n:
            raise GenerationError(f"asked for {request.n} completions, got {len(choices)}")
        return choices

    def _start(self, body: dict[str, Any]) -> asyncio.Task[_Answer]:
        task = asyncio.create_task(self._request("POST", _GENERATE, body))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _answer(self, running: asyncio.Task[_Answer]) -> _Answer:
        return await wait_while_sampling(running, self._sampled_tokens, self._settings.timeout_s, self._log)

    def _connect(self) -> "DeviceTransfer":
        # Imports vLLM and torch, which this client does not need otherwise.
        from trainer.engine.vllm_transfer import DeviceTransfer, init_info_for  # noqa: PLC0415

        transfer = DeviceTransfer(self._socket, self._settings.timeout_s)
        try:
            transfer.connect(init_info_for(self._weight_transfer, transfer.workers))
        except BaseException:
            transfer.close()
            raise
        return transfer

    async def _load_paused(self, weights: Weights, version: int) -> dict[str, str]:
        if isinstance(weights, Path):
            source = str(weights)
            result = await self._on_worker("load_policy_weights", path=source)
        else:
            source = "the learner's memory"
            result = await self._transferred(weights)
        if refused := result["refused"]:
            raise EngineError(f"the engine's model takes nothing from tensors in {source}: {refused}")
        if missing := result["missing"]:
            raise EngineError(f"the weights in {source} leave parameters of the engine unloaded: {missing}")
        await self._name_version(version)
        # Sends running requests back to the queue: their keys and values are computed again.
        reset = await self._post("/reset_prefix_cache?reset_running_requests=true")
        if not reset.json()["success"]:
            raise EngineError("the engine could not clear what it cached of the old weights")
        self._cache_salt = secrets.token_hex(8)
        checksums: dict[str, str] = result["checksums"]
        return checksums

    async def _transferred(self, weights: "Mapping[str, Tensor]") -> dict[str, Any]:
        if self._transfer is None:
            raise EngineError("this engine takes weights from files only")
        await self._on_worker("begin_policy_load", names=list(weights))
        send = partial(self._transfer.send, weights)
        await in_thread(send, self._settings.timeout_s, "sending weights to the engine")
        result: dict[str, Any] = await self._on_worker("end_policy_load")
        return result

    async def _on_worker(self, method: str, **arguments: object) -> Any:  # noqa: ANN401 - any JSON
        """What a method of the worker extension returns; all workers are given the same weights."""
        answer = await self._post("/collective_rpc", {"method": method, "kwargs": arguments})
        return answer.json()["results"][0]

    async def _name_version(self, version: int) -> None:
        await self._post("/update_weight_version", {"new_version": str(version)})
        self._version = version

    async def _sampled_tokens(self) -> int:
        return (await self.counters()).completion_tokens

    async def _require_health(self) -> None:
        answer = await self._request("GET", "/health")
        if answer.status != HTTPStatus.OK:
            raise self._gone(f"health {answer.status}")

    async def _post(self, route: str, body: dict[str, Any] | None = None) -> _Answer:
        answer = await self._request("POST", route, body)
        if answer.status != HTTPStatus.OK:
            raise EngineError(f"the engine answered {route} with {answer.problem()}")
        return answer

    async def _request(self, method: str, route: str, body: dict[str, Any] | None = None) -> _Answer:
        if self._session is None:
            raise EngineError(f"the engine on {self._socket} was used before it was attached")
        # A group may have to wait for its turn; `generate` sees to it that the engine samples meanwhile.
        silence_s = None if route == _GENERATE else self._settings.timeout_s
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_TIMEOUT_S, sock_read=silence_s)
        try:
            async with self._session.request(method, route, json=body, timeout=timeout) as response:
                return _Answer(response.status, await response.read())
        except aiohttp.SocketTimeoutError as error:
            raise hangs(self._settings.timeout_s, self._log) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._gone(f"{type(error).__name__}: {error}") from error

    def _gone(self, reason: str) -> EngineError:
        return EngineError(f"the engine on {self._socket} does not answer ({reason}); {self._log} says why")

    def _completion(self, choice: dict[str, Any]) -> Completion:
        # One that was aborted before its first token has no span.
        spans = choice["weight_versions"] or [{"version": self._version}]
        return Completion(
            token_ids=choice["token_ids"],
            logprobs=[token["logprob"] for token in choice["logprobs"]["content"]],
            truncated=choice["finish_reason"] == "length",
            version_min=int(spans[0]["version"]),
            version_max=int(spans[-1]["version"]),
        )


def _parts(request: GenerationRequest) -> list[GenerationRequest]:
    """A group as requests that vLLM takes; completion i keeps the seed `seed + i`."""
    return [
        replace(request, n=min(_MOST_COMPLETIONS, request.n - first), seed=request.seed + first)
        for first in range(0, request.n, _MOST_COMPLETIONS)
    ]
