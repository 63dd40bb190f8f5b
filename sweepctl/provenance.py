"""Which code and which environment a run comes from: whether a finished one would come out the same today."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from sweepctl.machine import environment


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
    """Fingerprint of versions and hardware, `machine.environment()` by default."""
    canonical = json.dumps(found or environment(), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
