"""SIGINT and SIGTERM: the run stops where it waits next, and its records say so."""

import signal
import threading
from collections.abc import Callable
from types import FrameType


class Interrupted(BaseException):
    """The user or the system asked this run to end. No Exception: nothing may swallow it."""


class Interruptions:
    """Turns the first signal into `Interrupted`, raised in the main thread or handed over."""

    def __init__(self) -> None:
        self._receiver: Callable[[BaseException], None] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._received)

    def send_to(self, receiver: Callable[[BaseException], None]) -> None:
        """From now on hand the interruption to `receiver` instead of raising it anywhere."""
        self._receiver = receiver

    def _received(self, number: int, frame: FrameType | None) -> None:
        error = Interrupted(f"received {signal.Signals(number).name}")
        if self._receiver is None:
            raise error
        # A handler may run while its thread holds the receiver's lock; another thread waits for it.
        threading.Thread(target=self._receiver, args=(error,), daemon=True).start()
