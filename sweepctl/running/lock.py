"""One `sweepctl run` of a sweep at a time, and whom to ask when it is not ours."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import psutil
from filelock import FileLock, Timeout

from sweepctl.errors import SweepLockedError
from sweepctl.files import write_atomically
from sweepctl.holder import Holder, read_holder
from trainer.errors import ConfigError
from trainer.paths import SweepPaths


@contextmanager
def sweep_lock(sweep: SweepPaths) -> Iterator[None]:
    """Hold the sweep's lock.

    Raises:
        SweepLockedError: another process holds it; the message says which and since when.
        ConfigError: the sweep's folder cannot be made or written to.
    """
    lock = FileLock(sweep.lock)
    try:
        sweep.root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        holder = read_holder(sweep)
        by = f" by {holder}" if holder else ""
        raise SweepLockedError(
            f"{sweep.root}: this sweep is being run{by}; watch it with `sweepctl status {sweep.name} "
            f"--watch`, or end it with `sweepctl stop {sweep.name}`"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{sweep.root}: cannot be written to: {error.strerror}; "
            "name a folder that you may write to with --runs-dir"
        ) from None
    try:
        me = psutil.Process()
        holder = Holder(me.pid, me.create_time(), socket.gethostname(), time.time())
        write_atomically(sweep.lock_holder, json.dumps(asdict(holder)))
        yield
    finally:
        sweep.lock_holder.unlink(missing_ok=True)
        lock.release()
