"""One `sweepctl run` of a sweep at a time."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sweepctl.errors import SweepLockedError
from sweepctl.files import write_atomically
from trainer.paths import SweepPaths


@contextmanager
def sweep_lock(sweep: SweepPaths) -> Iterator[None]:
    """Hold the sweep's lock.

    Raises:
        SweepLockedError: another process holds it; the message says which and since when.
    """
    sweep.root.mkdir(parents=True, exist_ok=True)
    # Beside the lock and not in it: whoever only tries the lock empties that file.
    holder = sweep.lock.with_name(sweep.lock.name + ".holder.json")
    lock = FileLock(sweep.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SweepLockedError(f"{sweep.root}: this sweep is being run{_held_by(holder)}") from None
    try:
        write_atomically(holder, json.dumps({"pid": os.getpid(), "since_unix": time.time()}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _held_by(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since_unix"]))
        return f" by process {found['pid']} since {since}; wait for it, or end it with `kill {found['pid']}`"
    except (OSError, ValueError, KeyError):
        return "; wait for it to end"
