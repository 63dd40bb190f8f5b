"""Which process runs a sweep now, as it said itself beside the sweep's lock."""

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

from trainer.paths import SweepPaths


@dataclass(frozen=True)
class Holder:
    """The process that runs a sweep."""

    pid: int
    pid_started: float
    """Seconds since the epoch: a pid may be given away again."""
    host: str
    since_unix: float
    waiting: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Runs whose engine is being made ready, and on which devices: their own files do not tell."""

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since_unix))
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where} since {since}"

    def process(self) -> psutil.Process | None:
        """The process, if it lives on this machine."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return process if abs(process.create_time() - self.pid_started) < 2 else None
        except psutil.NoSuchProcess:
            return None


def read_holder(sweep: SweepPaths) -> Holder | None:
    """Who said last to hold the sweep's lock; None when nothing tells."""
    try:
        return Holder(**json.loads(sweep.lock_holder.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def who_runs(sweep: SweepPaths) -> Holder | None:
    """The process that runs the sweep now. One on another machine is taken at its word.

    The lock itself is not tried: a `sweepctl run` that starts at that moment would be turned away.
    """
    holder = read_holder(sweep)
    if holder is None:
        return None
    return holder if holder.host != socket.gethostname() or holder.process() else None
