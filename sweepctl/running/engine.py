"""The warm rollout engine of a slot, which its runs and evaluations share: started when first needed."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sweepctl.plan.plan import PlannedRun
from sweepctl.running.slots import Slot
from trainer.errors import ConfigError
from trainer.scratch import scratch_folder
from trainer.settings import EngineSettings, WeightTransfer


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
        weight_transfer: WeightTransfer,
        cores: tuple[int, ...],
        device: str | None,
        while_waiting: Callable[[], None],
        hold: Sequence[int],
    ) -> Server:
        """Start an engine for `model`, listening on `socket`."""


@dataclass(frozen=True)
class EngineKey:
    """What an engine is started for. Runs that agree on it share one."""

    model: str
    settings: EngineSettings


def engine_key(run: PlannedRun) -> EngineKey:
    """The engine a run needs."""
    return EngineKey(run.config.model, run.config.engine)


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
    weight_transfer: WeightTransfer,
    cores: tuple[int, ...],
    device: str | None,
    while_waiting: Callable[[], None],
    hold: Sequence[int],
) -> Server:
    """Start `vllm serve`."""
    from trainer.server import VllmServer  # noqa: PLC0415 - httpx is slow to import

    return VllmServer.start(
        model,
        settings=settings,
        socket=socket,
        log=log,
        weight_transfer=weight_transfer,
        cores=cores,
        device=device,
        while_waiting=while_waiting,
        hold=hold,
    )


@dataclass(frozen=True)
class EngineKind:
    """Where engines come from."""

    available: Callable[[], bool] = vllm_available
    start: StartServer = start_vllm


@dataclass
class WarmEngine:
    """Holds at most one engine. Leaving the context ends it."""

    slot: Slot
    log: Path
    kind: EngineKind
    say: Callable[[str], None]
    hold: tuple[int, ...] = ()
    """Descriptors of locks that are held as long as the engine lives."""
    start_seconds: list[float] = field(default_factory=list)
    """How long each start took, for timings.json."""
    key: EngineKey | None = None
    """What the engine that runs was started for."""
    _server: Server | None = None
    _folder: Path | None = None

    def __enter__(self) -> Self:
        # A unix socket's path holds about a hundred bytes: too few for a folder of runs.
        self._folder = scratch_folder("sweepctl-engine-", Path(tempfile.gettempdir()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def socket_for(
        self,
        key: EngineKey,
        while_waiting: Callable[[], None],
        starting: AbstractContextManager[None] | None = None,
    ) -> Path | None:
        """The socket of a healthy engine for `key`, started now if need be; None where vLLM is not used.

        Args:
            key: what it is for.
            while_waiting: called again and again while one starts; what it raises ends it.
            starting: entered while one starts.

        Raises:
            EngineError: when it does not start.
            ConfigError: when vLLM is asked for and is not installed.
        """
        if key.settings.name == "transformers":
            return None
        if not self.kind.available():
            if key.settings.name == "vllm":
                raise ConfigError(
                    "engine.name is vllm, which is not installed here; install it or use 'auto'"
                )
            return None
        if self._server is not None and self.key != key:
            self.say(f"the engine for {self.key.model if self.key else ''} makes room for {key.model}")
            self.stop()
        if self._server is not None and not self._server.healthy():
            self.say(f"the engine does not answer any more and is replaced (log: {self.log})")
            self.stop()
        if self._server is None:
            with starting or nullcontext():
                self._start(key, while_waiting)
        return self._server.socket if self._server else None

    def stop(self) -> None:
        """End the engine, if there is one."""
        server, self._server, self.key = self._server, None, None
        if server is not None:
            server.stop()

    def _start(self, key: EngineKey, while_waiting: Callable[[], None]) -> None:
        if self._folder is None:
            raise RuntimeError("WarmEngine is used outside its context")
        self.say(f"starting the engine for {key.model} on {self.slot.name} (log: {self.log})")
        began = time.monotonic()
        self._server = self.kind.start(
            key.model,
            settings=key.settings,
            socket=self._folder / "engine.sock",
            log=self.log,
            weight_transfer=self.slot.weight_transfer,
            cores=self.slot.engine_cores,
            device=self.slot.engine_device,
            while_waiting=while_waiting,
            hold=self.hold,
        )
        self.key = key
        self.start_seconds.append(time.monotonic() - began)
        self.say(f"engine ready after {self.start_seconds[-1]:.0f} s")
