"""Which engine a run gets."""

import importlib.metadata
import shutil
import tempfile
from pathlib import Path

from trainer import server
from trainer.engine.protocol import Engine
from trainer.errors import ConfigError
from trainer.scratch import scratch_folder
from trainer.settings import EngineSettings, WeightTransfer


def start_engine(
    model: str,
    settings: EngineSettings,
    socket: Path | None,
    directory: Path,
    cores: tuple[int, ...],
    *,
    weight_transfer: WeightTransfer = "file",
) -> Engine:
    """Connect to the engine behind `socket`, or start one that ends with this process.

    Args:
        model: as in a run's configuration.
        settings: which engine, and how it computes.
        socket: of a running `vllm serve`; None to start an engine.
        directory: where a started engine keeps its log.
        cores: CPU cores a started engine may use; none: all.
        weight_transfer: how it will be given weights; the transformers engine takes files only.

    Raises:
        ConfigError: vLLM is asked for and not installed, or cannot do what the settings ask.
        EngineError: it does not start.
    """
    if not _uses_vllm(settings):
        # Imports torch and transformers, which the vLLM client does not need.
        from trainer.engine.transformers_engine import TransformersEngine  # noqa: PLC0415

        return TransformersEngine(model, settings, cores)
    if not server.available():
        raise ConfigError("engine.name is vllm, but vLLM is not installed here; use engine.name: auto")
    server.require_supported(settings)
    from trainer.engine.vllm_client import VllmEngine  # noqa: PLC0415

    if socket is None and weight_transfer == "nccl":
        raise ConfigError(
            "resources.weight_transfer: nccl needs an engine on another GPU, started by others and given "
            "with --engine; one that a run starts for itself shares its GPU: ipc"
        )
    if socket is not None:
        return VllmEngine(socket, settings, weight_transfer)
    # A unix socket's path must be short.
    folder = scratch_folder("sweepctl-engine-", Path(tempfile.gettempdir()))
    try:
        started = server.VllmServer.start(
            model,
            settings=settings,
            socket=folder / "engine.sock",
            log=directory / "engine.log",
            weight_transfer=weight_transfer,
            cores=cores,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return VllmEngine(started.socket, settings, weight_transfer, owned=started)


def engine_description(settings: EngineSettings) -> str:
    """Name and version of the engine that `start_engine` gives, without starting it."""
    if _uses_vllm(settings):
        return f"vllm {server.version()}"
    return f"transformers {importlib.metadata.version('transformers')}"


def _uses_vllm(settings: EngineSettings) -> bool:
    return settings.name == "vllm" or (settings.name == "auto" and server.available())
