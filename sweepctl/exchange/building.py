"""Folders that appear whole or not at all: built beside their place, and renamed."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweepctl.exchange.layout import Item
from trainer.errors import ConfigError, StorageError

_SPARE_BYTES = 64 * 2**20


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A temporary sibling of `target` to write into; it takes its name when all went well.

    Raises:
        ConfigError: `target` is there already.
        StorageError: the disk refuses.
    """
    refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _refused(error, target) from error
    try:
        folder.chmod(0o755)  # mkdtemp's are private, and others may read what is published
        yield folder
        refuse_existing(target)
        folder.rename(target)
    except OSError as error:
        raise _refused(error, target) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(target: Path) -> None:
    """Nothing is ever written over.

    Raises:
        ConfigError: something of that name is there.
    """
    if os.path.lexists(target):
        raise ConfigError(f"{target}: is there already; name a folder that is not there yet")


def require_space(items: Iterable[Item], target: Path) -> int:
    """What the files take, in bytes; one that is gone since it was found takes none.

    Raises:
        StorageError: so much is not free where `target` will be.
    """
    needed = sum(_size_of(item.source) for item in items)
    parent = next(folder for folder in target.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < needed + _SPARE_BYTES:
        raise StorageError(
            f"{target}: needs {size(needed)}, and {size(free)} are free there; "
            "make room, or name another place"
        )
    return needed


def copy(item: Item, folder: Path) -> Path:
    """Copy one file, and say where it is now. The copy is ours to change, whatever the file's own mode."""
    target = folder / item.target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(item.source, target)
    return target


def size(count: int) -> str:
    """A number of bytes for a reader: `3.2 GB`."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _refused(error: OSError, target: Path) -> StorageError:
    return StorageError(
        f"{error.filename or target}: {error.strerror or error}; nothing was written; check the path, its "
        "permissions and the space left, and run the command again"
    )
