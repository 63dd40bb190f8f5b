"""The rollout engine that all runs and the evaluation share: one at a time, started when first needed."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sweepctl.machine import Placement
from trainer.errors import ConfigError
from trainer.settings import EngineSettings


class Server(Protocol):
    """A running engine; `trainer.server.VllmServer` is one."""

    socket: Path

    def healthy(self) -> bool:
        """Whether it lives and answers."""

    def stop(self) -> None:
        """End it and everything it started."""


class StartServer(Protocol):
    """How an engine is started; blocks until it answers, or raises EngineError."""

    def __call__(
        self,
        model: str,
        *,
        settings: EngineSettings,
        socket: Path,
        log: Path,
        cores: tuple[int, ...],
        device: str | None,
    ) -> Server:
        """Start an engine for `model`, listening on `socket`."""


@dataclass(frozen=True)
class EngineKey:
    """What an engine is started for. Runs that agree on it share one."""

    model: str
    settings: EngineSettings


def vllm_available() -> bool:
    """Whether vLLM is installed here."""
    from trainer.server import available  # noqa: PLC0415 - httpx is slow to import

    return available()


def start_vllm(
    model: str,
    *,
    settings: EngineSettings,
    socket: Path,
    log: Path,
    cores: tuple[int, ...],
    device: str | None,
) -> Server:
    """Start `vllm serve`."""
    from trainer.server import VllmServer  # noqa: PLC0415 - httpx is slow to import

    return VllmServer.start(model, settings=settings, socket=socket, log=log, cores=cores, device=device)


@dataclass
class SharedEngine:
    """Holds at most one engine. Leaving the context ends it."""

    log: Path
    placement: Placement
    available: Callable[[], bool] = vllm_available
    start: StartServer = start_vllm
    announce: Callable[[str], None] = lambda _: None
    start_seconds: list[float] = field(default_factory=list)
    """How long each start took, for timings.json."""
    _server: Server | None = None
    _key: EngineKey | None = None
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        # A unix socket's path holds about a hundred bytes: too few for a folder of runs.
        self._folder = tempfile.TemporaryDirectory(prefix="sweepctl-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if self._folder is not None:
                self._folder.cleanup()

    def socket_for(self, key: EngineKey) -> Path | None:
        """The socket of a healthy engine for `key`, started now if need be; None where vLLM is not used.

        Raises:
            EngineError: when it does not start.
            ConfigError: when vLLM is asked for and is not installed.
        """
        if key.settings.name == "transformers":
            return None
        if not self.available():
            if key.settings.name == "vllm":
                raise ConfigError(
                    "engine.name is vllm, which is not installed here; install it or use 'auto'"
                )
            return None
        if self._server is not None and (self._key != key or not self._server.healthy()):
            self.announce("the engine is ended: it answers no more, or another model is needed")
            self.stop()
        if self._server is None:
            self._start(key)
        return self._server.socket if self._server else None

    def stop(self) -> None:
        """End the engine, if there is one."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def _start(self, key: EngineKey) -> None:
        if self._folder is None:
            raise RuntimeError("SharedEngine is used outside its context")
        self.announce(f"starting the engine for {key.model} (log: {self.log})")
        began = time.monotonic()
        self._server = self.start(
            key.model,
            settings=key.settings,
            socket=Path(self._folder.name) / "engine.sock",
            log=self.log,
            cores=self.placement.engine_cores,
            device=self.placement.engine_device,
        )
        self._key = key
        self.start_seconds.append(time.monotonic() - began)
        self.announce(f"engine ready after {self.start_seconds[-1]:.0f} s")
