"""Weights as files, and their checksums: the same on both sides of a sync."""

import json
from pathlib import Path

import torch
import xxhash

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def tensor_checksum(tensor: torch.Tensor) -> str:
    """xxh3-64 over dtype, shape and bytes of a tensor, wherever it lies."""
    flat = tensor.detach().cpu().contiguous()
    digest = xxhash.xxh3_64(f"{flat.dtype} {tuple(flat.shape)}".encode())
    digest.update(flat.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weight_files(path: Path) -> list[Path]:
    """The safetensors files behind a path: itself, or those that transformers takes from a folder.

    A folder may hold other forms of the same weights beside them, such as `consolidated.safetensors`.

    Raises:
        FileNotFoundError: there are none, or one that the folder's index names is not there.
        ValueError: the index is no JSON, or lists no files.
    """
    if not path.is_dir():
        return [path]
    if (path / _WEIGHTS).is_file():
        return [path / _WEIGHTS]
    if not (path / _INDEX).is_file():
        raise FileNotFoundError(f"no {_WEIGHTS} and no {_INDEX} in {path}")
    found = [path / name for name in _indexed(path / _INDEX)]
    if lacking := [file.name for file in found if not file.is_file()]:
        raise FileNotFoundError(f"{path / _INDEX} names files that are not there: {', '.join(lacking)}")
    return found


def _indexed(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights: {type(error).__name__}: {error}") from error
