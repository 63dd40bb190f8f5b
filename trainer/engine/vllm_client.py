"""A rollout engine that is `vllm serve` on a unix socket."""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from trainer.engine.protocol import Completion, EngineCounters, GenerationError, GenerationRequest
from trainer.errors import EngineError
from trainer.server import SERVED_NAME, VllmServer, version

_TIMEOUT = httpx.Timeout(connect=10, read=600, write=60, pool=None)
# The server keeps idle connections far longer than this (server.py), so that none is ever reused in
# the moment in which the server closes it.
_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=5)
_CACHE_RESET_TRIES = 20
_COUNTERS = {
    "requests": "vllm:request_success_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "completion_tokens": "vllm:generation_tokens_total",
}


class VllmEngine:
    """Speaks to a server that somebody else started, or that this object owns.

    Every request carries the policy version as its cache salt, so that the prefix cache can never
    serve what older weights computed, even should a reset of the cache fail.
    """

    def __init__(self, socket: Path, owned: VllmServer | None = None) -> None:
        self.description = f"vllm {version()}"
        self._owned = owned
        self._socket = socket
        self._version = -1
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=_LIMITS),
            base_url="http://engine",
            timeout=_TIMEOUT,
        )

    async def attach(self) -> None:
        """End whatever an earlier owner left running there."""
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
            "cache_salt": f"version {self._version}",
        }
        response = await self._post("/inference/v1/generate", json=body)
        if response.status_code != HTTPStatus.OK:
            raise GenerationError(f"{response.status_code}: {response.text[:500]}")
        choices = sorted(response.json()["choices"], key=lambda choice: int(choice["index"]))
        if len(choices) != request.n:
            raise GenerationError(f"asked for {request.n} completions, got {len(choices)}")
        return [_completion(choice) for choice in choices]

    async def load_weights(self, weights: Path, version: int) -> dict[str, str]:
        """Load, then forget everything computed with the old weights."""
        result = await self._rpc("load_policy_weights", path=str(weights))
        if missing := result["missing"]:
            raise EngineError(f"the weights in {weights} leave parameters of the engine unloaded: {missing}")
        await self._expect_ok("/update_weight_version", json={"new_version": str(version)})
        await self._reset_prefix_cache()
        self._version = version
        checksums: dict[str, str] = result["checksums"]
        return checksums

    async def abort_all(self) -> None:
        """Abort every request the server knows of."""
        await self._expect_ok("/abort_requests", json={})

    async def counters(self) -> EngineCounters:
        """Sums over the server's Prometheus counters."""
        try:
            text = (await self._client.get("/metrics")).text
        except httpx.HTTPError as error:
            raise self._gone(error) from error
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
        await self._client.aclose()
        if self._owned:
            await asyncio.to_thread(self._owned.stop)
            self._socket.parent.rmdir()  # made for this socket alone (start.py)

    async def _reset_prefix_cache(self) -> None:
        for _ in range(_CACHE_RESET_TRIES):
            response = await self._expect_ok("/reset_prefix_cache")
            if response.json()["success"]:
                return
            await asyncio.sleep(0.01)  # blocks of the last requests are being freed
        raise EngineError("the engine's prefix cache could not be reset although no request is running")

    async def _rpc(self, method: str, **kwargs: str) -> dict[str, Any]:
        response = await self._expect_ok("/collective_rpc", json={"method": method, "kwargs": kwargs})
        result: dict[str, Any] = response.json()["results"][0]
        return result

    async def _expect_ok(self, route: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        response = await self._post(route, **request)
        if response.status_code != HTTPStatus.OK:
            raise EngineError(
                f"the engine answered {route} with {response.status_code}: {response.text[:500]}"
            )
        return response

    async def _post(self, route: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            return await self._client.post(route, **request)
        except httpx.HTTPError as error:
            raise self._gone(error) from error

    def _gone(self, error: httpx.HTTPError) -> EngineError:
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
