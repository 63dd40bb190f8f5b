"""Ctrl-C and SIGTERM: once asks to drain, twice kills."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


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
