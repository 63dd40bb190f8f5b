"""Which code and which environment a run comes from: whether a finished one would come out the same today."""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

from sweepctl.hardware import cpu_limit, cpu_model, gpus, memory_bytes
from sweepctl.machine import package_version, usable_cores, visible_gpus

PACKAGES = ("torch", "vllm", "transformers", "lm-eval")
_IN_ID = ("python", "system", "cpu", "cores", "cpu_limit", "gpus", "gpu_names", "driver", "packages")
"""What results or speed may depend on. Kernel, host name and size of memory change with a reboot or the next
container, and nothing that is computed with them."""


def code_id() -> str:
    """Fingerprint of the trainer's sources and shipped data files: what computes a run."""
    root = Path(__file__).parent.parent / "trainer"
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".yaml", ".json", ".safetensors"} and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def environment_id(found: dict[str, Any] | None = None) -> str:
    """Fingerprint of versions and hardware, of `environment()` by default."""
    known = environment() if found is None else found
    canonical = json.dumps({key: known.get(key) for key in _IN_ID}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def environment() -> dict[str, Any]:
    """What a reader of the results needs to know about where they were made.

    `cpu_limit` is how many cores' worth of time a container may use, None without a limit; `gpus` how many
    of `gpu_names` processes see; the part of torch's and vLLM's version after `+` is their build.
    """
    found = gpus()
    return {
        "python": platform.python_version(),
        "system": " ".join([platform.system(), platform.machine(), *platform.libc_ver()]).strip(),
        "kernel": platform.release(),
        "host": platform.node(),
        "cpu": cpu_model(),
        "cores": len(usable_cores()),
        "cpu_limit": cpu_limit(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "gpus": visible_gpus(),
        "gpu_names": [gpu.name for gpu in found],
        "driver": found[0].driver if found else None,
        "packages": {name: package_version(name) or None for name in PACKAGES},
    }
