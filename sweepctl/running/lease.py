"""Which sweep has which devices of this machine, so that two at once do not slow each other.

One lock file a device, held while a sweep runs; the system lets go of it when the holder ends, however it
ends. They lie in a folder of the user's, or in SWEEPCTL_LEASE_DIR: one that several users share.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sweepctl.files import write_atomically
from sweepctl.running.slots import Kind

_POLL_S = 0.5


def lease_folder() -> Path:
    """Where the lock files lie."""
    if given := os.environ.get("SWEEPCTL_LEASE_DIR"):
        return Path(given)
    owner = os.getuid() if hasattr(os, "getuid") else "all"
    return Path(tempfile.gettempdir()) / f"sweepctl-devices-{owner}"


@contextmanager
def lease_devices(
    kind: Kind,
    devices: Sequence[str],
    *,
    at_least: int,
    sweep: str,
    say: Callable[[str], None],
    while_waiting: Callable[[], None],
) -> Iterator[tuple[str, ...]]:
    """Hold devices; yields those that are ours.

    Args:
        kind: of the devices.
        devices: those to choose from.
        at_least: wait until so many are free; then all that are free are taken.
        sweep: who takes them, for whoever waits for them.
        say: told once what is waited for.
        while_waiting: called again and again; what it raises ends the waiting.
    """
    folder = lease_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as held:
        said = False
        while True:
            free = [name for name in devices if _take(folder, f"{kind}-{name}", sweep, held)]
            if len(free) >= at_least:
                break
            held.close()
            if not said:
                busy = [name for name in devices if name not in free]
                say(f"waiting for {_named(kind, busy)}, in use by {_holder(folder, f'{kind}-{busy[0]}')}")
                said = True
            while_waiting()
            time.sleep(_POLL_S)
        yield tuple(free)


def _take(folder: Path, name: str, sweep: str, held: ExitStack) -> bool:
    """Try one device; when it is ours, `held` gives it back."""
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    held.callback(lock.release)
    write_atomically(folder / f"{name}.json", json.dumps({"pid": os.getpid(), "sweep": sweep}))
    return True


def _holder(folder: Path, name: str) -> str:
    try:
        found = json.loads((folder / f"{name}.json").read_bytes())
        return f"sweep {found['sweep']} (process {found['pid']}); --devices chooses others"
    except (OSError, ValueError, KeyError):
        return "another sweep; --devices chooses others"


def _named(kind: Kind, names: Sequence[str]) -> str:
    return f"{kind} {names[0]}" if len(names) == 1 else f"{kind}s {', '.join(names)}"
