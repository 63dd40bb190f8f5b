"""Weights as files, and their checksums: the same on both sides of a sync."""

from pathlib import Path

import torch
import xxhash


def tensor_checksum(tensor: torch.Tensor) -> str:
    """xxh3-64 over dtype, shape and bytes of a tensor, wherever it lies."""
    flat = tensor.detach().cpu().contiguous()
    digest = xxhash.xxh3_64(f"{flat.dtype} {tuple(flat.shape)}".encode())
    digest.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weight_files(path: Path) -> list[Path]:
    """The safetensors files behind a path: itself, or those of a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not found:
        raise FileNotFoundError(f"no *.safetensors in {path}")
    return found
