"""What local files hold, in a few hex digits: whether two runs trained on the same. Torch-free."""

import hashlib
from pathlib import Path

from trainer.config import RunConfig

_WHOLE_BYTES = 64 << 20
_SAMPLE_BYTES = 1 << 20
_SAMPLES = 16


def inputs(config: RunConfig) -> dict[str, str]:
    """Fingerprints of the local files that a configuration names, by dotted key; those that are there.

    Names on the hub and the built-in model have none: the name says what they are.
    """
    found: dict[str, str] = {}
    if not config.model.startswith("builtin:") and Path(config.model).is_dir():
        found["model"] = folder_fingerprint(Path(config.model))
    path = config.task.path
    if path is not None and Path(path).is_file():
        found["task.path"] = file_fingerprint(Path(path))
    return found


def folder_fingerprint(folder: Path) -> str:
    """Over the names and contents of a folder's files, not of its subfolders'."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{file.name}\0{file_fingerprint(file)}\n".encode())
    return digest.hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """Over a file's size and content. Of a large one, 16 samples of a MiB, the first and last among them:
    weights that were trained at all differ everywhere.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}\0".encode())
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            while block := file.read(_SAMPLE_BYTES):
                digest.update(block)
        else:
            for index in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]
