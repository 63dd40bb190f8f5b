"""What this machine is made of, and how much of it a container may use. For the record and for `doctor`."""

import csv
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT_BYTES = 1 << 60
"""The first version of control groups says a number near 2^63 where there is no limit."""


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver tells of it."""

    name: str
    driver: str
    memory_total_mib: int
    memory_free_mib: int


@cache
def gpus() -> tuple[Gpu, ...]:
    """All GPUs of this machine, by nvidia-smi; none where there is no such command or it fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    query = ["--query-gpu=name,driver_version,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run([command, *query], capture_output=True, text=True, timeout=20, check=True)
        rows = [[cell.strip() for cell in row] for row in csv.reader(done.stdout.splitlines())]
        return tuple(Gpu(name, driver, int(total), int(free)) for name, driver, total, free in rows)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def cpu_limit(cgroups: Path = _CGROUPS) -> float | None:
    """How many cores' worth of time the container may use; None: no limit is set.

    A container sees its own control group as the root, of either version.
    """
    if quota := _words(cgroups / "cpu.max"):
        return None if quota[0] == "max" else int(quota[0]) / int(quota[1])
    quota, period = _words(cgroups / "cpu/cpu.cfs_quota_us"), _words(cgroups / "cpu/cpu.cfs_period_us")
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def memory_limit(cgroups: Path = _CGROUPS) -> int | None:
    """Bytes of memory the container may use; None: no limit is set."""
    limit = _words(cgroups / "memory.max") or _words(cgroups / "memory/memory.limit_in_bytes")
    if not limit or limit[0] == "max" or int(limit[0]) >= _NO_LIMIT_BYTES:
        return None
    return int(limit[0])


def memory_bytes() -> int:
    """The machine's memory, or what its container may use of it."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(machine, memory_limit() or machine)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
