"""One `sweepctl run` of a sweep at a time, and whom to ask when it is not ours."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace

import psutil

from sweepctl.errors import SweepLockedError
from sweepctl.files import write_atomically
from sweepctl.holder import Holder, who_runs
from sweepctl.running.flock import LockFile
from trainer.errors import ConfigError
from trainer.paths import SweepPaths

_POLL_S = 0.2


@dataclass
class HeldLock:
    """The lock while it is ours, and what we say of ourselves beside it."""

    sweep: SweepPaths
    descriptor: int
    """For guards to hold on to."""
    holder: Holder
    _one_writer: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def tell(self, holder: Holder) -> None:
        """Say who holds the lock.

        Raises:
            OSError: the file cannot be written.
        """
        self.holder = holder
        write_atomically(self.sweep.lock_holder, json.dumps(asdict(holder)))

    @contextmanager
    def waiting_for_engine(self, run_name: str, devices: str) -> Iterator[None]:
        """Have others know that a run has its slot and waits for an engine; any thread may say so."""
        self._wait(run_name, devices)
        try:
            yield
        finally:
            self._wait(run_name, None)

    def _wait(self, run_name: str, devices: str | None) -> None:
        with self._one_writer, suppress(OSError):  # who watches may miss it: no reason to end a sweep
            others = {name: where for name, where in self.holder.waiting.items() if name != run_name}
            waiting = others if devices is None else others | {run_name: devices}
            self.tell(replace(self.holder, waiting=waiting))


@contextmanager
def sweep_lock(
    sweep: SweepPaths, say: Callable[[str], None], while_waiting: Callable[[], None], patience_s: float
) -> Iterator[HeldLock]:
    """Hold the sweep's lock.

    What a killed invocation has left running still holds it, and is waited for.

    Raises:
        SweepLockedError: another process holds it; the message says which and since when.
        ConfigError: the sweep's folder cannot be made or written to.
    """
    try:
        sweep.root.mkdir(parents=True, exist_ok=True)
        lock = _take(sweep, say, while_waiting, patience_s)
    except OSError as error:
        raise ConfigError(
            f"{sweep.root}: cannot be written to: {error.strerror}; "
            "name a folder that you may write to with --runs-dir"
        ) from None
    try:
        me = psutil.Process()
        holder = Holder(me.pid, me.create_time(), socket.gethostname(), time.time())
        held = HeldLock(sweep, lock.descriptor, holder)
        held.tell(holder)
        yield held
    finally:
        sweep.lock_holder.unlink(missing_ok=True)
        lock.release()


def _take(
    sweep: SweepPaths, say: Callable[[str], None], while_waiting: Callable[[], None], patience_s: float
) -> LockFile:
    deadline, said = time.monotonic() + patience_s, False
    while (lock := LockFile.take(sweep.lock)) is None:
        holder = who_runs(sweep)
        if holder is not None or time.monotonic() > deadline:
            by = f" by {holder}" if holder else " by what an earlier invocation has left"
            raise SweepLockedError(
                f"{sweep.root}: this sweep is being run{by}; watch it with `sweepctl status {sweep.name} "
                f"--watch`, or end it with `sweepctl stop {sweep.name}`"
            )
        if not said:
            say("waiting for what an invocation that was killed has left running; it is being ended")
            said = True
        while_waiting()
        time.sleep(_POLL_S)
    return lock
