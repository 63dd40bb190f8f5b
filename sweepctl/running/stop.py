"""`sweepctl stop`: ask the process that runs a sweep to end, and wait until it has."""

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sweepctl.holder import Holder, read_holder, who_runs
from sweepctl.running.supervise import StopSignals
from sweepctl.watching.status import find_sweep
from trainer.errors import SweepctlError
from trainer.paths import SweepPaths

_POLL_S = 0.2


@dataclass(frozen=True)
class Stopped:
    """What became of it."""

    sweep: str
    pid: int | None
    """None: nothing ran."""

    def line(self) -> str:
        """In words."""
        if self.pid is None:
            return f"{self.sweep} is not being run"
        return f"{self.sweep} has stopped; the same `sweepctl run` goes on with it"

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {"sweep": self.sweep, "stopped": self.pid is not None, "pid": self.pid}


def stop_sweep(runs_dir: Path, name: str, *, now: bool) -> Stopped:
    """Have a sweep's runs write a checkpoint and end, or end at once with `now`; returns when all has ended.

    Raises:
        ConfigError: there is no such sweep.
        SweepctlError: it is run by a process that cannot be reached from here.
    """
    sweep = find_sweep(runs_dir, name)
    holder = who_runs(sweep)
    if holder is None:
        return Stopped(sweep.name, None)
    process = holder.process()
    if process is None:
        raise SweepctlError(f"{sweep.root}: {holder} is out of reach from here; stop it there with Ctrl-C")
    try:
        if now:
            process.send_signal(StopSignals.END_NOW)
            process.send_signal(signal.SIGINT)  # for a trainer in that same process, which knows two kinds
        process.send_signal(signal.SIGTERM)
    except psutil.NoSuchProcess:
        return Stopped(sweep.name, holder.pid)
    except psutil.AccessDenied:
        owner = process.username()
        raise SweepctlError(f"{sweep.root}: {holder} is {owner}'s, who alone can stop it") from None
    _wait(sweep, holder, now=now)
    return Stopped(sweep.name, holder.pid)


def _wait(sweep: SweepPaths, holder: Holder, *, now: bool) -> None:
    if not now:
        hint = f"`sweepctl stop {sweep.name} --now` does not wait"
        print(f"waiting for {holder} to write its checkpoints; {hint}", file=sys.stderr)
    while holder.process() is not None and read_holder(sweep) == holder:
        time.sleep(_POLL_S)
