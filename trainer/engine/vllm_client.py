"""A rollout engine that is `vllm serve` on a unix socket."""

import asyncio
import json
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from trainer.engine.protocol import Completion, EngineCounters, GenerationError, GenerationRequest
from trainer.errors import EngineError
from trainer.server import SERVED_NAME, VllmServer, version

# No limit on a whole request: it may wait for its turn. Silence for so long is an engine that hangs.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
# The server keeps idle connections far longer than this (server.py), so that none is ever reused in
# the moment in which the server closes it.
_KEEP_ALIVE_S = 5
_CACHE_RESET_TRIES = 20
_COUNTERS = {
    "requests": "vllm:request_success_total",
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

    def __init__(self, socket: Path, owned: VllmServer | None = None) -> None:
        self.description = f"vllm {version()}"
        self._owned = owned
        self._socket = socket
        self._cache_salt = "before any load"
        self._session: aiohttp.ClientSession | None = None

    async def attach(self) -> None:
        """Connect, in the event loop that will make all calls, and end what an earlier owner left."""
        # httpx looks through all connections at every request: with 256 of them that took most of
        # the client's time.
        connector = aiohttp.UnixConnector(str(self._socket), limit=0, keepalive_timeout=_KEEP_ALIVE_S)
        self._session = aiohttp.ClientSession("http://engine", connector=connector, timeout=_TIMEOUT)
        await self.abort_all()

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """Sample a group in one request: vLLM gives completion i the seed `seed + i`."""
        sampling: dict[str, Any] = {
            "n": request.n,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "logprobs": 0,
            "include_stop_str_in_output": True,
        }
        if request.stop:
            sampling["stop"] = list(request.stop)
        body = {
            "model": SERVED_NAME,
            "token_ids": list(request.token_ids),
            "sampling_params": sampling,
            "stream": False,
            "cache_salt": self._cache_salt,
        }
        response = await self._request("POST", "/inference/v1/generate", body)
        if response.status != HTTPStatus.OK:
            raise GenerationError(response.problem())
        choices = sorted(response.json()["choices"], key=lambda choice: int(choice["index"]))
        if len(choices) != request.n:
            raise GenerationError(f"asked for {request.n} completions, got {len(choices)}")
        if any(choice["finish_reason"] == "abort" for choice in choices):
            raise GenerationError("aborted")
        return [_completion(choice) for choice in choices]

    async def load_weights(self, weights: Path, version: int) -> dict[str, str]:
        """Load, then forget everything computed with the old weights."""
        result = await self._rpc("load_policy_weights", path=str(weights))
        if missing := result["missing"]:
            raise EngineError(f"the weights in {weights} leave parameters of the engine unloaded: {missing}")
        await self._post("/update_weight_version", {"new_version": str(version)})
        await self._reset_prefix_cache()
        self._cache_salt = secrets.token_hex(8)
        checksums: dict[str, str] = result["checksums"]
        return checksums

    async def abort_all(self) -> None:
        """Abort every request the server knows of."""
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
        if self._session:
            await self._session.close()
        if self._owned:
            await asyncio.to_thread(self._owned.stop)
            self._socket.parent.rmdir()  # made for this socket alone (start.py)

    async def _reset_prefix_cache(self) -> None:
        for _ in range(_CACHE_RESET_TRIES):
            response = await self._post("/reset_prefix_cache")
            if response.json()["success"]:
                return
            await asyncio.sleep(0.01)  # blocks of the last requests are being freed
        raise EngineError("the engine's prefix cache could not be reset although no request is running")

    async def _rpc(self, method: str, **kwargs: str) -> dict[str, Any]:
        response = await self._post("/collective_rpc", {"method": method, "kwargs": kwargs})
        result: dict[str, Any] = response.json()["results"][0]
        return result

    async def _post(self, route: str, body: dict[str, Any] | None = None) -> _Answer:
        answer = await self._request("POST", route, body)
        if answer.status != HTTPStatus.OK:
            raise EngineError(f"the engine answered {route} with {answer.problem()}")
        return answer

    async def _request(self, method: str, route: str, body: dict[str, Any] | None = None) -> _Answer:
        if self._session is None:
            raise EngineError(f"the engine on {self._socket} was used before it was attached")
        try:
            try:
                return await self._once(self._session, method, route, body)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError):
                # The server closes a connection after an error without saying so, which shows when
                # the next request is written or its answer read. Every request here may be repeated,
                # and a server that is gone refuses the next connection.
                return await self._once(self._session, method, route, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._gone(error) from error

    @staticmethod
    async def _once(
        session: aiohttp.ClientSession, method: str, route: str, body: dict[str, Any] | None
    ) -> _Answer:
        async with session.request(method, route, json=body) as response:
            return _Answer(response.status, await response.read())

    def _gone(self, error: Exception) -> EngineError:
        return EngineError(
            f"the engine on {self._socket} does not answer ({type(error).__name__}: {error}); "
            "its log says why (engine.log in the sweep's folder)"
        )


def _completion(choice: dict[str, Any]) -> Completion:
    spans = choice["weight_versions"]
    return Completion(
        token_ids=choice["token_ids"],
        logprobs=[token["logprob"] for token in choice["logprobs"]["content"]],
        truncated=choice["finish_reason"] == "length",
        version_min=int(spans[0]["version"]),
        version_max=int(spans[-1]["version"]),
    )
