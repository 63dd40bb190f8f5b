"""What this machine has to run on: GPUs and cores. Found without importing torch."""

import importlib.metadata
import os
import shutil
import subprocess
from functools import cache


@cache
def visible_gpus() -> int:
    """How many NVIDIA GPUs processes started from here would see."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    try:
        listed = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return count
    return min(count, len([entry for entry in allowed.split(",") if entry.strip() not in {"", "-1"}]))


def usable_cores() -> tuple[int, ...]:
    """The CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def package_version(name: str) -> str:
    """The installed version of a package, or an empty text."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
