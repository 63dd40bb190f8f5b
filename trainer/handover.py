"""Where the learner's weights lie while the engine takes them, and until the next ones do."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psutil
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from trainer.engine.protocol import Weights
from trainer.errors import StorageError

_PREFIX = "sweepctl-weights-"
_ALIGNMENT = 256
"""Bytes; what copies between devices like best, and a multiple of every data type's size."""


class Handover(Protocol):
    """A place that holds the weights that were given to the engine last."""

    device: torch.device
    """Where it wants tensors from."""

    def put(self, weights: Mapping[str, Tensor]) -> Weights:
        """Hold these from now on, in the form that the engine takes."""
        ...

    def file(self) -> Path:
        """What it holds, as a file; until the next `put` or `close`."""
        ...

    def close(self) -> None:
        """Hold nothing any more."""
        ...


class SharedMemoryFile:
    """A safetensors file in shared memory, which any engine on this machine can read."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self._directory = _shared_directory()

    def put(self, weights: Mapping[str, Tensor]) -> Path:
        """Write the file.

        Raises:
            StorageError: shared memory does not hold them.
        """
        file = self.file()
        with _room_explained(self._directory):
            file.unlink(missing_ok=True)  # an engine may still have the last one mapped
            save_file(dict(weights), file)
        return file

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
        self.device = device
        self._tensors: dict[str, Tensor] = {}
        self._directory: Path | None = None

    def put(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Copy tensors into the buffer, whose parts are returned; they are there when this returns."""
        if {name: _kind(tensor) for name, tensor in weights.items()} != {
            name: _kind(tensor) for name, tensor in self._tensors.items()
        }:
            self._tensors = _parts_of_one_block(weights, self.device)
        for name, tensor in weights.items():
            self._tensors[name].copy_(tensor)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
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
        self._tensors = {}
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _parts_of_one_block(like: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors of these shapes and types, side by side in one allocation."""
    starts, size = [], 0
    for tensor in like.values():
        starts.append(size)
        size += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    block = torch.empty(size, dtype=torch.uint8, device=device)
    return {
        name: block[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for start, (name, tensor) in zip(starts, like.items(), strict=True)
    }


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
