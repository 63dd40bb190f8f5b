"""Devices, cores, memory, and the places where runs write."""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from sweepctl.doctor.finding import Finding, ok, problem, warning
from sweepctl.hardware import cpu_limit, cpu_model, gpus, memory_bytes
from sweepctl.machine import usable_cores, visible_gpus

_GIB = 2**30
_LOW_MEMORY_BYTES, _LITTLE_MEMORY_BYTES = 2 * _GIB, 6 * _GIB
_LOW_DISK_BYTES, _LITTLE_DISK_BYTES = 2 * _GIB, 20 * _GIB
_LITTLE_SHARED_BYTES = 4 * _GIB
_FEW_FILES = 1024
MAX_SOCKET_PATH_BYTES = 107  # of a unix socket; trainer.server refuses longer ones
_LONGEST_SOCKET = "sweepctl-engine-4194304-abcdefgh/00000000-0000-0000-0000-000000000000"


def check_resources(runs_dir: Path) -> Iterator[Finding]:
    """Everything a run takes of the machine."""
    yield _gpus()
    yield _cores()
    yield _memory()
    yield _runs_dir(runs_dir)
    yield _shared_memory()
    yield check_temp(Path(tempfile.gettempdir()))
    yield _open_files()


def _gpus() -> Finding:
    there, seen = gpus(), visible_gpus()
    if not there and shutil.which("nvidia-smi") is None:
        return ok("gpu", "no nvidia-smi: runs compute on the CPU")
    if not there:
        return problem("gpu", "nvidia-smi lists none", "run `nvidia-smi` and see what it says of the driver")
    names = ", ".join(f"{gpu.name} ({gpu.memory_free_mib >> 10} GiB free)" for gpu in there)
    found = f"{names}; driver {there[0].driver}"
    if not seen:
        return warning("gpu", f"{found}; none is visible", "unset CUDA_VISIBLE_DEVICES to use them")
    return ok("gpu", found if seen == len(there) else f"{found}; {seen} visible")


def _cores() -> Finding:
    usable, there, limit = len(usable_cores()), os.cpu_count() or 1, cpu_limit()
    found = f"{usable} of {there} usable, {cpu_model()}"
    if limit is not None and limit < usable:
        return warning(
            "cores",
            f"{found}; the container may use {limit:g} cores' worth of time",
            f"start it with more, or run with --devices 0-{max(0, int(limit) - 1)}: threads that wait for "
            "their share slow each other",
        )
    if usable < 2:
        return warning("cores", found, "engine and learner will take turns on one core; give it two or more")
    return ok("cores", found)


def _memory() -> Finding:
    total = memory_bytes()
    free = min(total, psutil.virtual_memory().available)
    found = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f}"
    if free < _LOW_MEMORY_BYTES:
        return problem(
            "memory", found, "end what else is running: the tiny model needs about 2 GiB with vLLM"
        )
    if free < _LITTLE_MEMORY_BYTES:
        return warning("memory", found, "enough for the built-in model; larger ones will not fit")
    return ok("memory", found)


def _runs_dir(runs_dir: Path) -> Finding:
    parent = next(path for path in (runs_dir.resolve(), *runs_dir.resolve().parents) if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        return problem("runs", f"{runs_dir}: cannot be written", "name another folder with --runs-dir")
    free = shutil.disk_usage(parent).free
    found = f"{runs_dir}: {free / _GIB:.0f} GiB free"
    if free < _LOW_DISK_BYTES:
        return problem("runs", found, "make room, or name a folder elsewhere with --runs-dir")
    if free < _LITTLE_DISK_BYTES:
        return warning(
            "runs", found, "enough for the built-in model; a checkpoint of 1.7 B takes 24 GB to resume"
        )
    return ok("runs", found)


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return ok("weights", f"no {folder}: weights reach the engine through {tempfile.gettempdir()}")
    free = shutil.disk_usage(folder).free
    found = f"{folder}: {free / _GIB:.1f} GiB free for weights on their way to the engine"
    if not os.access(folder, os.W_OK):
        return problem("weights", f"{folder}: cannot be written", f"chmod 1777 {folder}")
    if free < _LITTLE_SHARED_BYTES:
        advice = "2 bytes a parameter are needed; for larger models start the container with --shm-size=16g"
        return warning("weights", found, advice)
    return ok("weights", found)


def check_temp(folder: Path) -> Finding:
    """The temporary folder: writable, and short enough for the engine's socket."""
    length = len(os.fsencode(folder / _LONGEST_SOCKET))
    if length > MAX_SOCKET_PATH_BYTES:
        return problem(
            "temp",
            f"{folder}: an engine's socket would have {length} bytes in its path, and "
            f"{MAX_SOCKET_PATH_BYTES} is the most",
            "set TMPDIR to a shorter path, such as /tmp",
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return problem("temp", f"{folder}: {error.strerror}", "set TMPDIR to a folder you may write to")
    return ok("temp", f"{folder}: writable")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} at most"
    if 0 <= soft < _FEW_FILES:
        most = "unlimited" if hard < 0 else str(hard)
        return warning(
            "open files", found, f"an engine has one for each request; run `ulimit -n {most}` first"
        )
    return ok("open files", found)
