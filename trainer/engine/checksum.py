"""Weights as files, and their checksums: the same on both sides of a sync."""

import json
from functools import cache
from pathlib import Path

import torch
import xxhash

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_WORD = 8
"""Bytes."""
_BLOCK_WORDS = 2**21
_BLOCK_STEP = 0x9E3779B97F4A7C15 - 2**64
"""Odd, and below 0 as int64 has it: what a block counts for is a power of it."""


def tensor_checksum(tensor: torch.Tensor) -> str:
    """64 bits over dtype, shape and bytes of a tensor; the same on all devices of one type.

    On CPU xxh3. A GPU would have to send all bytes there for that, which takes longer than a sync may, so it
    sums up by itself; see `word_sum`.
    """
    flat = tensor.detach().contiguous()
    digest = xxhash.xxh3_64(f"{flat.dtype} {tuple(flat.shape)}".encode())
    values = flat.reshape(-1).view(torch.uint8)
    digest.update(values.numpy().data if values.device.type == "cpu" else str(word_sum(values)).encode())
    return digest.hexdigest()


def word_sum(values: torch.Tensor) -> int:
    """Sum modulo 2**64 of a tensor's 64-bit words, each times an odd random number of its place.

    An odd factor is invertible, so that no change of a single word can go unnoticed; of several words a
    change does with probability 2**-64 or so. Integer sums do not depend on their order.

    Args:
        values: bytes, shape [n], on any device.
    """
    if values.storage_offset() % _WORD:  # words must begin at a word
        values = values.clone()
    whole = len(values) // _WORD * _WORD
    tail = torch.nn.functional.pad(values[whole:], (0, -len(values) % _WORD))
    factors = _factors(values.device)
    total = torch.zeros((), dtype=torch.int64, device=values.device)
    for words in (*values[:whole].view(torch.int64).split(_BLOCK_WORDS), tail.view(torch.int64)):
        total = total * _BLOCK_STEP + (words * factors[: len(words)]).sum()
    return int(total)


@cache
def _factors(device: torch.device) -> torch.Tensor:
    """Odd numbers, the same everywhere, shape [_BLOCK_WORDS]."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(-(2**63), 2**63 - 1, (_BLOCK_WORDS,), generator=generator)
    return (numbers | 1).to(device)


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
