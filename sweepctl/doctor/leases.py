"""Which sweep has which devices of this machine now."""

import json
from pathlib import Path
from typing import Any

import psutil

from sweepctl.doctor.finding import Finding, ok, warning
from sweepctl.running.flock import LockFile, alone


def check_leases(folder: Path) -> Finding:
    """The devices whose lock is held, by whom; one that outlived its sweep keeps others waiting.

    Args:
        folder: where the locks lie; see `sweepctl.running.lease`.
    """
    try:
        held = _held(folder)
    except OSError as error:
        advice = "name a folder that you may write to in SWEEPCTL_LEASE_DIR"
        return warning("devices", f"{folder}: {error.strerror}; who has which cannot be seen", advice)
    if not held:
        return ok("devices", "none is in use by a sweep")
    by_holder: dict[str, list[str]] = {}
    for lock in held:
        by_holder.setdefault(_holder(lock), []).append(lock.stem.replace("-", " ", 1))
    found = "; ".join(f"{', '.join(names)}: {holder}" for holder, names in by_holder.items())
    if left := [str(lock) for lock in held if not _is_alive(lock)]:
        files = " ".join(left)
        return warning("devices", found, f"see what still has them, and end it: fuser -v {files}")
    return ok("devices", found)


def _held(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    held = []
    with alone(folder / "taking.lock"):  # or a sweep that starts now would find our look in its way
        for path in sorted(folder.glob("*-*.lock")):
            if lock := LockFile.take(path):
                lock.release()
            else:
                held.append(path)
    return held


def _holder(lock: Path) -> str:
    content = _content(lock)
    if content is None:
        return "in use, nothing says by whom"
    gone = "" if _is_alive(lock) else " that is gone; something it started still lives"
    return f"sweep {content['sweep']}, process {content['pid']}{gone}"


def _is_alive(lock: Path) -> bool:
    content = _content(lock)
    return content is None or psutil.pid_exists(content["pid"])


def _content(lock: Path) -> dict[str, Any] | None:
    """What the holder wrote into its lock; None where that is not to be read."""
    try:
        found = json.loads(lock.read_bytes())
        return {"sweep": str(found["sweep"]), "pid": int(found["pid"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
