"""Waiting for a job: until it ends, its time is up, it stands still, or sweepctl is asked to stop.

Ctrl-C, SIGTERM, SIGHUP: asks all jobs to end; Ctrl-C once more kills them.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import FrameType, TracebackType
from typing import Self

from sweepctl.running.executor import Job

DRAIN_S = 600.0
"""How long a job may take to end once asked to stop: a run finishes its step and writes a checkpoint,
which takes minutes for a large model. Who does not want to wait asks twice."""
IDLE_DRAIN_S = 30.0
"""And one that stands still, which will hardly listen."""
_POLL_S = 0.1


class StopRequestedError(Exception):
    """The user or the system asked sweepctl to end."""


class StopSignals:
    """Counts the requests to end instead of dying of them.

    SIGINT counts each time it comes; SIGTERM and SIGHUP ask once, however often they come; `END_NOW` is a
    signal of its own, because two that are pending may arrive as one, and in any order.
    """

    END_NOW = signal.SIGUSR1

    def __init__(self) -> None:
        self.count = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, self.END_NOW):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                self._previous[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def check(self) -> None:
        """Raise StopRequestedError if a request has come."""
        if self.count:
            raise StopRequestedError

    def request(self, *, now: bool = False) -> None:
        """Ask from within; `now` kills."""
        self.count += 2 if now else 1

    def _received(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self.request()
        elif number == self.END_NOW:
            self.count = max(self.count, 2)
        else:  # a service manager, a closed terminal: they ask, and may ask again
            self.count = max(self.count, 1)


class Cause(StrEnum):
    """Why a job ended."""

    ITSELF = "itself"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    IDLE = "idle"


@dataclass(frozen=True)
class Limits:
    """How long a job may take, and how long it may show no sign of life; None: for ever."""

    run_s: float | None = None
    idle_s: float | None = None


def supervise(
    job: Job, stop: StopSignals, limits: Limits, sign_of_life: Callable[[], object]
) -> tuple[int, Cause]:
    """Wait for the end of `job`; its exit code and why it ended.

    `sign_of_life` is anything that differs as long as it goes on, such as the size of a file.
    """
    began = changed = time.monotonic()
    seen = sign_of_life()
    while (code := job.wait(_POLL_S)) is None:
        now = time.monotonic()
        if stop.count:
            return _drain(job, stop), Cause.STOPPED
        if (sign := sign_of_life()) != seen:
            seen, changed = sign, now
        if limits.run_s is not None and now - began > limits.run_s:
            return _drain(job, stop), Cause.TIMEOUT
        if limits.idle_s is not None and now - changed > limits.idle_s:
            return _drain(job, stop, IDLE_DRAIN_S), Cause.IDLE
    return code, Cause.ITSELF


def _drain(job: Job, stop: StopSignals, patience_s: float = DRAIN_S) -> int:
    """Ask once, wait, and kill when that takes too long or a second request has come."""
    job.interrupt()
    deadline = time.monotonic() + patience_s
    while (code := job.wait(_POLL_S)) is None:
        if stop.count > 1 or time.monotonic() > deadline:
            job.kill()
    return code
