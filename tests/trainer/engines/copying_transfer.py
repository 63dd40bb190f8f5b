"""vLLM's transfer by CUDA IPC, but for the step that needs CUDA: tensors go through a file instead of memory
that both sides have mapped. Sender, receiver, routes and the order of calls are vLLM's own.

The worker imports this module by the name of its extension, which registers the receiver there; the tests
import it in their process, which registers the sender.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from safetensors.torch import load_file, save_file
from vllm.distributed.weight_transfer import WeightTransferEngineFactory, WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.base import (
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.ipc_engine import (
    IPCTrainerWeightTransferEngine,
    IPCWeightTransferEngine,
)

from trainer.engine.worker_extension import WeightLoading

BACKEND = "copying"


class CopyingWeightLoading(WeightLoading):
    """The worker extension, in a module that registers the receiver."""


@dataclass
class CopyingInitInfo(TrainerInitInfo):
    backend: ClassVar[str] = BACKEND
    packed: bool = False
    packed_buffer_size_bytes: int = 0


@dataclass
class CopyingUpdateInfo(WeightTransferUpdateInfo):
    path: str


class CopyingReceiver(IPCWeightTransferEngine):
    update_info_cls = CopyingUpdateInfo

    def receive_weights(self, update_info):
        self.model.load_weights(list(load_file(update_info.path).items()))


class CopyingSender(IPCTrainerWeightTransferEngine):
    init_info_cls = CopyingInitInfo

    def __init__(self, *, client, source, is_sender=True, packed=False, packed_buffer_size_bytes=0):
        TrainerWeightTransferEngine.__init__(self, client=client, source=source, is_sender=is_sender)
        self.packed = packed
        self.folder = tempfile.TemporaryDirectory()

    def _send(self, source):
        path = Path(self.folder.name) / "weights.safetensors"
        save_file({name: tensor.clone() for name, tensor in source}, path)
        self.client.update_weights({"path": str(path)})

    @staticmethod
    def _post_send_sync():
        pass

    def shutdown(self):
        self.folder.cleanup()


WeightTransferEngineFactory.register_engine(BACKEND, CopyingReceiver)
WeightTransferTrainerFactory.register_engine(BACKEND, CopyingSender)
