"""Waiting for a child process: until it ends, its time is up, or sweepctl is asked to stop.

Ctrl-C and SIGTERM: once asks the process to end, twice kills it.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType, TracebackType
from typing import Self

from sweepctl.running.process import GuardedProcess

DRAIN_S = 600.0
"""How long a process may take to end once asked to stop: a run finishes its step and writes a checkpoint,
which takes minutes for a large model. Who does not want to wait asks twice."""
_POLL_S = 0.1
_TICK_S = 1.0


class StopRequestedError(Exception):
    """The user or the system asked sweepctl to end."""


class StopSignals:
    """Counts the requests to end instead of dying of them."""

    def __init__(self) -> None:
        self.count = 0
        self._raise = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def breaking_in(self) -> Iterator[None]:
        """Raise StopRequestedError at once while in here: for calls that block and cannot be asked."""
        self.check()
        self._raise = True
        try:
            yield
        finally:
            self._raise = False

    def check(self) -> None:
        """Raise StopRequestedError if a request has come."""
        if self.count:
            raise StopRequestedError

    def _received(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self._raise:
            self._raise = False  # cleaning up must not be broken into
            raise StopRequestedError


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
