"""What local files hold, in a few hex digits: whether two runs trained on the same. Torch-free."""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import xxhash

from trainer.config import RunConfig

_REMEMBERED_BYTES = 64 << 20
"""Larger files are read once, and their fingerprint remembered until size or time change."""
_BLOCK_BYTES = 1 << 20


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
    digest = xxhash.xxh3_128()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{file.name}\0{file_fingerprint(file)}\n".encode())
    return digest.hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """Over a file's content.

    Raises:
        OSError: it cannot be read.
    """
    found = path.stat()
    if found.st_size <= _REMEMBERED_BYTES:
        return _read(path)
    key = f"{path.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
    memory = _recall()
    if key not in memory:
        memory[key] = _read(path)
        _remember(memory)
    return memory[key]


def _read(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:16]


def _memory_file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sweepctl" / "fingerprints.json"


def _recall() -> dict[str, str]:
    try:
        found = json.loads(_memory_file().read_bytes())
    except (OSError, ValueError, RuntimeError):  # the last: nobody has a home here
        return {}
    return found if isinstance(found, dict) else {}


def _remember(memory: dict[str, str]) -> None:
    """Keep it for the next time; without a place to keep it, the file is read again then."""
    with suppress(OSError, RuntimeError):
        path = _memory_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(memory, file)
        Path(partial).replace(path)
