"""Which sweep has which devices of this machine, so that two at once do not slow each other.

One lock file a device, held while a sweep or anything it started lives. They lie in a folder of the user's,
or in SWEEPCTL_LEASE_DIR: one that several users share.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sweepctl.running.flock import LockFile, alone
from sweepctl.running.slots import Kind

_POLL_S = 0.5


@dataclass(frozen=True)
class Lease:
    """Devices that are ours."""

    devices: tuple[str, ...]
    descriptors: tuple[int, ...]
    """Of the locks, for guards to hold on to."""


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
) -> Iterator[Lease]:
    """Hold devices.

    Args:
        kind: of the devices.
        devices: those to choose from.
        at_least: wait until so many are free; then all that are free are taken.
        sweep: who takes them, for whoever waits for them.
        say: told once what is waited for, and when fewer than all are taken.
        while_waiting: called again and again; what it raises ends the waiting.
    """
    folder = lease_folder()
    folder.mkdir(parents=True, exist_ok=True)
    said = False
    with ExitStack() as held:
        while len(taken := _take_free(folder, kind, devices, at_least)) < at_least:
            if not said:
                said = True
                busy = [name for name in devices if name not in taken]
                say(f"waiting for {_named(kind, busy)}, in use by {_holder(folder / _file(kind, busy[0]))}")
            while_waiting()
            time.sleep(_POLL_S)
        held.callback(_release, folder, taken)
        for lock in taken.values():
            lock.write(json.dumps({"pid": os.getpid(), "sweep": sweep}))
        if len(taken) < len(devices):
            others = [name for name in devices if name not in taken]
            say(f"taking {_named(kind, list(taken))}; in use by others: {_named(kind, others)}")
        yield Lease(tuple(taken), tuple(lock.descriptor for lock in taken.values()))


def _take_free(folder: Path, kind: Kind, devices: Sequence[str], at_least: int) -> dict[str, LockFile]:
    """Lock what is free; all of it is let go of again where it is too little, and the names only returned."""
    with alone(folder / "taking.lock"):  # or two sweeps would each get some
        taken = {name: lock for name in devices if (lock := LockFile.take(folder / _file(kind, name)))}
        if len(taken) < at_least:
            for lock in taken.values():
                lock.release()
        return taken


def _release(folder: Path, taken: dict[str, LockFile]) -> None:
    with ExitStack() as others_wait:
        with suppress(OSError):  # the folder was cleared away meanwhile
            others_wait.enter_context(alone(folder / "taking.lock"))  # or who waits would get some of them
        for lock in taken.values():
            lock.release()


def _file(kind: Kind, name: str) -> str:
    return f"{kind}-{name}.lock"


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())
        return f"sweep {found['sweep']} (process {found['pid']}); --devices chooses others"
    except (OSError, ValueError, KeyError, TypeError):
        return "another sweep; --devices chooses others"


def _named(kind: Kind, names: Sequence[str]) -> str:
    return f"{kind} {names[0]}" if len(names) == 1 else f"{kind}s {', '.join(names)}"
