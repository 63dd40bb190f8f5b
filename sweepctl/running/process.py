"""A child process with its children: started guarded, interrupted, killed, and never left behind."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from trainer.guard import start_guarded


class GuardedProcess:
    """A command in a process group of its own that ends when sweepctl ends.

    Use as a context manager: leaving it kills what is still running.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        hold: Sequence[int] = (),
    ) -> None:
        """Start `command`, its output appended to `log`, with `environment` set beside this process's.

        Its guard keeps the descriptors `hold` open as long as it lives.
        """
        self._process, self._lifeline = start_guarded(
            command, log, environment={**os.environ, **(environment or {})}, hold=hold
        )
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The guard's pid, which is also the process group's."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, 128 + n for signal n; None while it runs."""
        return _shell_code(self._process.poll())

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, 128 + n for signal n; None when it still runs after `timeout_s`."""
        try:
            return _shell_code(self._process.wait(timeout_s))
        except subprocess.TimeoutExpired:
            return None

    def interrupt(self) -> None:
        """Ask the group to end soon: a run finishes its step and leaves a checkpoint to go on from."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End the whole group now, whatever of it is left."""
        if self._ended:
            return
        self._ended = True
        deadline = time.monotonic() + 5
        while self._signal(signal.SIGKILL) and time.monotonic() < deadline:
            self._process.poll()  # a zombie guard would keep the group alive
            if not _some_live(self._process.pid):
                break
            time.sleep(0.02)
        self._process.wait()
        self._lifeline.close()

    def _signal(self, number: int) -> bool:
        """Signal the group; False when nothing of it is left."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False  # macOS says EPERM for a group of zombies
        return True


def _shell_code(code: int | None) -> int | None:
    """The guard passes on its command's code so; killed itself, it has a negative one."""
    return 128 - code if code is not None and code < 0 else code


def _some_live(group: int) -> bool:
    """Whether a group has processes that are no zombies, which whoever is process 1 may leave for long."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
