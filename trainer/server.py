"""Starting and ending `vllm serve` on a unix socket. Torch-free: sweepctl owns the shared engine.

The server is vLLM's own; `trainer.engine.worker_extension` adds the checked loading of weights.
Tried with vLLM 0.32 (see docs/engine.md for the routes that are used).
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import httpx
import psutil

from trainer.errors import ConfigError, EngineError
from trainer.guard import start_guarded
from trainer.models import model_path
from trainer.settings import EngineSettings, WeightTransfer

SERVED_NAME = "policy"
WORKER_EXTENSION = "trainer.engine.worker_extension.WeightLoading"
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 15.0
CANCEL_TIMEOUT_S = 1.0  # one that is still starting does not listen, and has nothing to lose
MAX_SOCKET_PATH = 107  # sun_path of a unix socket, less its terminator
OWN_SOCKET_NAME_LENGTH = 36  # vLLM names the sockets between its processes by a uuid


def available() -> bool:
    """Whether vLLM is installed here."""
    return importlib.util.find_spec("vllm") is not None


def version() -> str:
    """vLLM's version, such as `0.32.0+cpu`."""
    return importlib.metadata.version("vllm")


def require_supported(settings: EngineSettings) -> None:
    """Refuse what the installed build of vLLM cannot do.

    Raises:
        ConfigError: `deterministic` on the CPU build.
    """
    if settings.deterministic and _is_cpu_build():
        raise ConfigError(
            "engine.deterministic: vLLM's batch-invariant kernels are for CUDA, and this is its CPU build, "
            "whose results depend on what runs together; use engine.name: transformers, or leave "
            "engine.deterministic off"
        )


class VllmServer:
    """A running `vllm serve`, ended by `stop` or with the process that started it: see `guard`."""

    def __init__(self, process: subprocess.Popen[bytes], lifeline: BinaryIO, socket: Path, log: Path) -> None:
        self.process = process
        self._lifeline = lifeline
        self.socket = socket
        self.log = log

    @classmethod
    def start(
        cls,
        model: str,
        *,
        settings: EngineSettings,
        socket: Path,
        log: Path,
        weight_transfer: WeightTransfer = "file",
        cores: tuple[int, ...] = (),
        device: str | None = None,
        while_waiting: Callable[[], None] = lambda: None,
        hold: Sequence[int] = (),
    ) -> Self:
        """Start the server and wait until it answers.

        Args:
            model: as in a run's configuration.
            settings: data type, context length, memory and determinism of the engine.
            socket: where it will listen; an old socket there is removed. vLLM's own sockets lie beside
                it, and stay when it is killed: let the folder go with the server.
            log: where its output goes, appended.
            weight_transfer: how a learner will give it weights.
            cores: CPU cores it may use; on CPU it computes on these.
            device: value of CUDA_VISIBLE_DEVICES; None leaves the environment's.
            while_waiting: called again and again until it is ready; what it raises ends the server.
            hold: descriptors that its guard keeps open as long as it lives.

        Raises:
            ConfigError: the installed vLLM cannot do what the settings ask.
            EngineError: it ended before it was ready, or was not ready in time.
        """
        require_supported(settings)
        longest = max(len(os.fsencode(socket)), len(os.fsencode(socket.parent)) + 1 + OWN_SOCKET_NAME_LENGTH)
        if longest > MAX_SOCKET_PATH:
            raise EngineError(
                f"the sockets in {socket.parent} would have {longest} bytes in their paths, and "
                f"{MAX_SOCKET_PATH} is the most; set TMPDIR to a shorter path"
            )
        socket.parent.mkdir(parents=True, exist_ok=True)
        socket.unlink(missing_ok=True)
        process, lifeline = start_guarded(
            _command(model_path(model), settings, socket, weight_transfer),
            log,
            environment=_environment(settings, socket, weight_transfer, cores, device),
            prepare=_on_cores(cores),
            hold=hold,
        )
        server = cls(process, lifeline, socket, log)
        try:
            server._wait_until_ready(while_waiting)
        except BaseException:
            server.stop(patience_s=CANCEL_TIMEOUT_S)
            raise
        return server

    def healthy(self) -> bool:
        """Whether the process lives and answers."""
        if self.process.poll() is not None:
            return False
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=5) as client:
                return client.get("http://engine/health").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def stop(self, patience_s: float = STOP_TIMEOUT_S) -> None:
        """End the server and every process it started, after `patience_s` by force."""
        family = _family(self.process.pid)
        _signal_group(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            _signal_group(self.process.pid, signal.SIGKILL)
            self.process.wait()
        _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
        for process in alive:
            process.kill()
        self._lifeline.close()
        self.socket.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, while_waiting: Callable[[], None]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise EngineError(
                    f"vllm serve ended with exit code {self.process.returncode} before it was ready. "
                    f"Last lines of {self.log}:\n{_tail(self.log)}"
                )
            if self.socket.exists() and self.healthy():
                return
            while_waiting()
            time.sleep(0.2)
        raise EngineError(f"vllm serve was not ready after {START_TIMEOUT_S:.0f} s; see {self.log}")


def _is_cpu_build() -> bool:
    return version().endswith("+cpu")


def _command(
    model: str, settings: EngineSettings, socket: Path, weight_transfer: WeightTransfer
) -> list[str]:
    executable = shutil.which("vllm", path=str(Path(sys.executable).parent)) or "vllm"
    command = [executable, "serve", model, "--uds", str(socket), "--served-model-name", SERVED_NAME]
    command += [
        "--enable-scale-out",
        "--dtype",
        settings.dtype,
        "--max-model-len",
        str(settings.max_model_len),
    ]
    command += ["--logprobs-mode", "processed_logprobs", "--disable-uvicorn-access-log"]
    command += ["--worker-extension-cls", WORKER_EXTENSION]
    if weight_transfer != "file":
        command += ["--weight-transfer-config", json.dumps({"backend": weight_transfer})]
    if _is_cpu_build():
        # A seeded request whose prefill is split ends vLLM's CPU worker ("CPU Generator does not
        # use offset"), so prompts are never split here.
        budget = max(8192, settings.max_model_len)
        command += ["--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(budget)]
    else:
        command += ["--gpu-memory-utilization", str(settings.memory_utilization)]
    return command


def _environment(
    settings: EngineSettings,
    socket: Path,
    weight_transfer: WeightTransfer,
    cores: tuple[int, ...],
    device: str | None,
) -> dict[str, str]:
    environment = dict(os.environ)
    environment |= {
        "VLLM_SERVER_DEV_MODE": "1",  # the routes that load weights
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_RPC_BASE_PATH": str(socket.parent),
        "VLLM_CPU_KVCACHE_SPACE": environment.get("VLLM_CPU_KVCACHE_SPACE", "1"),
    }
    if weight_transfer == "ipc":
        # CUDA IPC handles come pickled. Who can write to the socket, this user alone, could run code anyway.
        environment["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    if settings.deterministic:
        environment["VLLM_BATCH_INVARIANT"] = "1"
    if cores:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    return environment


def _on_cores(cores: tuple[int, ...]) -> Callable[[], None] | None:
    if not cores or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, cores)


def _family(pid: int) -> list[psutil.Process]:
    """What a process started, and who else is in its group: the latter also when itself is gone."""
    family: set[psutil.Process] = set()
    with suppress(psutil.NoSuchProcess):
        family.update(psutil.Process(pid).children(recursive=True))
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == pid and process.pid != pid:
                family.add(process)
    return list(family)


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # the whole group has ended already
        os.killpg(pid, number)


def _tail(path: Path, lines: int = 15) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
