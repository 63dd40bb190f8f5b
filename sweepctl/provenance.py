"""Which code and which environment a run comes from: whether a finished one would come out the same today."""

import hashlib
import json
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from sweepctl.machine import package_version, usable_cores, visible_gpus

PACKAGES = ("torch", "vllm", "transformers", "lm-eval")


@cache
def code_id() -> str:
    """Fingerprint of the trainer's sources and shipped data files: what computes a run."""
    root = Path(__file__).parent.parent / "trainer"
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".yaml", ".json", ".safetensors"} and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def environment_id(found: dict[str, Any] | None = None) -> str:
    """Fingerprint of versions and hardware, `environment()` by default."""
    canonical = json.dumps(found or environment(), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def environment() -> dict[str, Any]:
    """What a reader of the results needs to know about where they were made."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": len(usable_cores()),
        "gpus": visible_gpus(),
        "packages": {name: package_version(name) or None for name in PACKAGES},
    }


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the repository around `folder`, and whether files differ from it."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
