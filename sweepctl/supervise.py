"""Waiting for a child process: until it ends, its time is up, or sweepctl is asked to stop."""

import time
from collections.abc import Callable
from enum import StrEnum

from sweepctl.process import GuardedProcess
from sweepctl.stopping import StopSignals

DRAIN_S = 30.0
"""How long a process may take to end once asked to stop."""
_POLL_S = 0.1
_TICK_S = 1.0


class Cause(StrEnum):
    """Why a process ended."""

    ITSELF = "itself"
    STOPPED = "stopped"
    TIMEOUT = "timeout"


def supervise(
    process: GuardedProcess,
    stop: StopSignals,
    tick: Callable[[], None],
    say: Callable[[str], None],
    timeout_s: float | None = None,
) -> tuple[int, Cause]:
    """Wait for the end of `process`, calling `tick` every second; its exit code and why it ended."""
    began = time.monotonic()
    next_tick = began
    while (code := process.wait(_POLL_S)) is None:
        now = time.monotonic()
        if stop.count:
            say(f"stopping: up to {DRAIN_S:.0f} s for the run to end; again to kill")
            return _drain(process, stop), Cause.STOPPED
        if timeout_s is not None and now - began > timeout_s:
            return _drain(process, stop), Cause.TIMEOUT
        if now >= next_tick:
            tick()
            next_tick = now + _TICK_S
    return code, Cause.ITSELF


def _drain(process: GuardedProcess, stop: StopSignals) -> int:
    """Ask once, wait, and kill when that takes too long or another request comes."""
    requests = stop.count
    process.interrupt()
    deadline = time.monotonic() + DRAIN_S
    while (code := process.wait(_POLL_S)) is None:
        if stop.count > requests or time.monotonic() > deadline:
            process.kill()
    return code
