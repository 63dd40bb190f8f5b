"""Weights as files, and their checksums: the same on both sides of a sync."""

import json
from collections.abc import Mapping
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
_HASHED_ON = {"cpu"}
"""Types of devices whose bytes xxh3 can read."""


class Checksums:
    """64 bits over dtype, shape and bytes of each of many tensors; the same on all devices of one type.

    On CPU xxh3. A GPU would have to send all bytes there for that, which takes longer than a sync may, so it
    sums up by itself (see `word_sum`), and is waited for once, when all are read.
    """

    def __init__(self) -> None:
        self._digests: dict[str, xxhash.xxh3_64] = {}
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take a tensor in; on a GPU it must stay as it is until what runs there now has ended."""
        flat = tensor.detach().contiguous()
        digest = xxhash.xxh3_64(f"{flat.dtype} {tuple(flat.shape)}".encode())
        values = flat.reshape(-1).view(torch.uint8)
        self._sums.pop(name, None)
        if values.device.type in _HASHED_ON:
            digest.update(values.numpy().data)
        else:
            self._sums[name] = word_sum(values)
        self._digests[name] = digest

    def __contains__(self, name: str) -> bool:
        return name in self._digests

    def read(self) -> dict[str, str]:
        """Of all that were added, by name."""
        if self._sums:
            totals = list(self._sums.values())
            if totals[0].device.type == "cuda":  # they may have been begun on another stream than this
                torch.cuda.synchronize(totals[0].device)
            for name, total in zip(self._sums, torch.stack(totals).tolist(), strict=True):
                self._digests[name].update(str(total).encode())
            self._sums = {}
        return {name: digest.hexdigest() for name, digest in self._digests.items()}


def checksums(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """By name: see `Checksums`."""
    result = Checksums()
    for name, tensor in tensors.items():
        result.add(name, tensor)
    return result.read()


def word_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum modulo 2**64 of a tensor's 64-bit words, each times an odd random number of its place.

    An odd factor is invertible, so that no change of a single word can go unnoticed; of several words a
    change does with probability 2**-64 or so. Integer sums do not depend on their order.

    Args:
        values: bytes, shape [n], on any device.

    Returns:
        An int64 on that device, shape []: a GPU is not waited for.
    """
    if values.storage_offset() % _WORD:  # words must begin at a word
        values = values.clone()
    whole = len(values) // _WORD * _WORD
    blocks = list(values[:whole].view(torch.int64).split(_BLOCK_WORDS))
    if whole < len(values):
        tail = torch.nn.functional.pad(values[whole:], (0, _WORD - len(values) % _WORD))
        blocks.append(tail.view(torch.int64))
    factors = _factors(values.device)
    total: torch.Tensor = (blocks[0] * factors[: len(blocks[0])]).sum()
    for words in blocks[1:]:
        total = total * _BLOCK_STEP + (words * factors[: len(words)]).sum()
    return total


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
