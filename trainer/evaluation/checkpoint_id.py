"""The identity of a checkpoint: what its weights are, wherever they lie."""

from pathlib import Path

import xxhash

from trainer.engine.checksum import weight_files


def checkpoint_id(folder: Path) -> str:
    """xxh3-64 over the names and bytes of a folder's safetensors files."""
    digest = xxhash.xxh3_64()
    for path in weight_files(folder):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
