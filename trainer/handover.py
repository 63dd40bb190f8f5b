"""Where the learner's weights lie while the engine takes them, and until the next ones do."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from trainer.engine.protocol import Weights
from trainer.errors import StorageError
from trainer.policy import dtype_in

_PREFIX = "sweepctl-weights-"
_ALIGNMENT = 256
"""Bytes; what copies between devices like best, and a multiple of every data type's size."""


class Handover(Protocol):
    """A place that holds the weights that were given to the engine last."""

    def put(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Hold these from now on, floating-point ones in `dtype`; returns what is held."""
        ...

    @property
    def held(self) -> Weights:
        """What it holds, in the form that the engine takes."""
        ...

    def file(self) -> Path:
        """What it holds, as a file; until the next `put` or `close`."""
        ...

    def close(self) -> None:
        """Hold nothing any more."""
        ...


class SharedMemoryFile:
    """A safetensors file in shared memory, which any engine on this machine can read."""

    def __init__(self) -> None:
        self._directory = _shared_directory()

    def put(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Write the file.

        Raises:
            StorageError: shared memory does not hold them.
        """
        tensors = {
            name: tensor.to("cpu", dtype_in(dtype, tensor)).contiguous() for name, tensor in weights.items()
        }
        file = self.file()
        with _room_explained(self._directory):
            file.unlink(missing_ok=True)  # an engine may still have the last one mapped
            save_file(tensors, file)
        return tensors

    @property
    def held(self) -> Path:
        """The file."""
        return self.file()

    def file(self) -> Path:
        """The file."""
        return self._directory / "weights.safetensors"

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self._directory, ignore_errors=True)


class DeviceBuffer:
    """One block of the learner's GPU memory, allocated once, which an engine opens as a whole.

    CUDA IPC hands over allocations: of one for each tensor there would be hundreds to open at every sync.

    Args:
        device: the learner's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._block: Tensor | None = None
        self._tensors: dict[str, Tensor] = {}
        self._directory: Path | None = None

    def put(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Cast tensors into the buffer, whose parts are returned; they are there when this returns."""
        dtypes = [dtype_in(dtype, tensor) for tensor in weights.values()]
        starts, size = _places(weights.values(), dtypes)
        if self._block is None or len(self._block) != size:
            self._tensors = {}  # the old block goes before the new one comes
            self._block = torch.empty(size, dtype=torch.uint8, device=self._device)
        # A storage of its own each time: exporting a part by CUDA IPC leaves something on its storage, and a
        # storage that lived as long as the run would gather that of every sync.
        block = from_dlpack(self._block)
        self._tensors = {
            name: block[start : start + tensor.numel() * dtype.itemsize].view(dtype).view(tensor.shape)
            for start, dtype, (name, tensor) in zip(starts, dtypes, weights.items(), strict=True)
        }
        for name, tensor in weights.items():
            self._tensors[name].copy_(tensor)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._tensors

    @property
    def held(self) -> Mapping[str, Tensor]:
        """The buffer's parts."""
        return self._tensors

    def file(self) -> Path:
        """A copy of the buffer in shared memory.

        Raises:
            StorageError: there is no room for it.
        """
        self._directory = self._directory or _shared_directory()
        file = self._directory / "weights.safetensors"
        with _room_explained(self._directory):
            save_file({name: tensor.to("cpu", copy=True) for name, tensor in self._tensors.items()}, file)
        return file

    def close(self) -> None:
        """Let go of the memory."""
        self._tensors, self._block = {}, None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def _places(tensors: Iterable[Tensor], dtypes: Iterable[torch.dtype]) -> tuple[list[int], int]:
    """Where each tensor begins in a block that has them side by side, and the block's size, in bytes."""
    starts, size = [], 0
    for tensor, dtype in zip(tensors, dtypes, strict=True):
        starts.append(size)
        size += -(-tensor.numel() * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
    return starts, size


@contextmanager
def _room_explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        free = shutil.disk_usage(directory).free / 2**20
        raise StorageError(
            f"{directory} cannot take the weights for the engine ({error}; {free:.0f} MB free). It must "
            "hold all of them; a container gets more with --shm-size"
        ) from error


def _shared_directory() -> Path:
    """A new folder in shared memory; those of processes that were killed are removed."""
    parent = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
