"""Folders for what only a living process needs, removed also when it was killed. Torch-free."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil


def scratch_folder(prefix: str, parent: Path) -> Path:
    """A new folder that carries this process's id; those of processes that are gone are removed.

    Args:
        prefix: what the folder's name begins with, the same each time.
        parent: where it is made.
    """
    for left in parent.glob(f"{prefix}*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
