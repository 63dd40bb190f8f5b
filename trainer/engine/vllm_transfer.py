"""vLLM's own weight transfer, from the learner's side: tensors go from device to device and touch no file.

    ipc     engine and learner share a GPU: the engine opens the learner's memory
    nccl    they have GPUs of their own: the learner broadcasts

The data plane is vLLM's (`vllm.distributed.weight_transfer`), and so is the order of calls; they go to the
server's routes over its unix socket. Importing vLLM sets TORCHINDUCTOR_COMPILE_THREADS to 1, so that what the
learner compiles, such as flex attention, compiles in its own process.
"""

import socket as sockets
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from torch import Tensor
from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.base import ParamMeta, TrainerInitInfo, WeightSource
from vllm.distributed.weight_transfer.clients import HTTPVLLMWeightSyncClient
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from trainer.device_memory import NCCL_BUFFER_BYTES
from trainer.errors import EngineError
from trainer.settings import WeightTransfer

_LOOPBACK = "127.0.0.1"
# vLLM warns of a tensor larger than NCCL's buffer, which is made larger for it and counted so.
warnings.filterwarnings("ignore", "Tensor .* exceeds buffer_size_bytes")


class DeviceTransfer:
    """Sends weights to the engine behind a socket. Blocks: call it from a thread of its own.

    Args:
        socket: of the server, started with the same `WeightTransfer`.
        timeout_s: of each call.
    """

    def __init__(self, socket: Path, timeout_s: float) -> None:
        self._client = _Client(socket, timeout_s)
        self._source = _Weights()
        self._sender: Any = None

    def connect(self, init_info: TrainerInitInfo) -> None:
        """Agree with the server on a way; whatever an earlier learner left there is let go.

        Raises:
            EngineError: it refuses: it was started for another way, or left amid a sync by a learner that was
                killed. The latter can be neither ended nor gone on with.
        """
        self._client.shutdown_weight_transfer_engine()
        self._sender = WeightTransferTrainerFactory.trainer_init(
            init_info, client=self._client, source=self._source
        )

    def send(self, weights: Mapping[str, Tensor]) -> None:
        """Load tensors into the engine, by their names in a checkpoint. They must not change meanwhile.

        Raises:
            EngineError: the engine did not take them.
        """
        self._source.weights = weights
        try:
            self._sender.send_weights()
        finally:
            self._source.weights = {}

    @property
    def workers(self) -> int:
        """Processes of the engine, each with a device of its own."""
        return int(self._client.get("get_world_size")["world_size"])

    def close(self) -> None:
        """Release what the transfer holds here; the engine lets go of it when the next learner connects."""
        if self._sender is not None:
            self._sender.shutdown()
        self._client.close()


def init_info_for(way: WeightTransfer, workers: int) -> TrainerInitInfo:
    """What vLLM wants to know of a way.

    Args:
        way: `ipc` or `nccl`.
        workers: processes of the engine.
    """
    if way == "ipc":
        return IPCTrainerInitInfo(rank=0)
    return NCCLTrainerInitInfo(
        rank=0,
        master_address=_LOOPBACK,
        master_port=_free_port(),
        world_size=1 + workers,
        packed_buffer_size_bytes=NCCL_BUFFER_BYTES,
        packed_num_buffers=2,
    )


def _free_port() -> int:
    with sockets.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


class _Weights(WeightSource):
    """The tensors of one sync after another."""

    def __init__(self) -> None:
        self.weights: Mapping[str, Tensor] = {}

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.weights.items()]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self.weights.items())


class _Client(HTTPVLLMWeightSyncClient):
    """vLLM's client, over a unix socket."""

    def __init__(self, socket: Path, timeout_s: float) -> None:
        super().__init__("http://engine", timeout_s)
        self._http = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), timeout=timeout_s)

    def get(self, path: str) -> dict[str, Any]:
        """The answer of a route that is asked something."""
        return dict(self._call("GET", path).json())

    def close(self) -> None:
        """Disconnect."""
        self._http.close()

    def _post(self, path: str, json: dict[str, Any] | None = None) -> None:
        self._call("POST", path, json)

    def _call(self, method: str, path: str, json: dict[str, Any] | None = None) -> httpx.Response:
        try:
            answer = self._http.request(method, f"{self.base_url}/{path}", json=json)
        except httpx.HTTPError as error:
            raise EngineError(
                f"the engine did not answer /{path}: {type(error).__name__}: {error}"
            ) from error
        if not answer.is_success:
            raise EngineError(f"the engine answered /{path} with {answer.status_code}: {answer.text[:500]}")
        return answer
