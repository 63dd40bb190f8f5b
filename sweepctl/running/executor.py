"""Where work is done: a task is handed to an executor, which answers with a job to wait for.

`LocalExecutor` starts a guarded process for each; `InlineExecutor` does it at once in this process, for
a debugger. A cluster's would submit it there.
"""

import os
import runpy
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from sweepctl.running.process import GuardedProcess


@dataclass(frozen=True)
class Task:
    """A module to be run as `python -m`, and where."""

    module: str
    arguments: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set for it beside what this process has."""
    hold: tuple[int, ...] = ()
    """Descriptors of locks, held as long as any of it lives."""


class Job(Protocol):
    """Work that was submitted. Leaving its context ends whatever of it still runs."""

    def __enter__(self) -> Self:
        """Begin to answer for it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs."""

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, 128 + n for signal n; None when it still runs after `timeout_s`."""

    def interrupt(self) -> None:
        """Ask it to end soon, in a state to go on from."""

    def kill(self) -> None:
        """End it now, with everything it started."""


class Executor(Protocol):
    """Starts tasks."""

    @property
    def blocking(self) -> bool:
        """Whether `submit` returns only when the work is done. It is then called from the main thread."""

    def submit(self, task: Task) -> Job:
        """Start a task."""


@dataclass(frozen=True)
class LocalExecutor:
    """Each task in a process group of its own on this machine, which ends with sweepctl."""

    launcher: tuple[str, ...] = (sys.executable, "-m")
    blocking: ClassVar[bool] = False

    def submit(self, task: Task) -> Job:
        """Start a process."""
        command = [*self.launcher, task.module, *task.arguments]
        return GuardedProcess(command, task.log, task.environment, task.hold)


class InlineExecutor:
    """Each task at once, in this process and on this terminal: breakpoints work."""

    blocking: ClassVar[bool] = True

    def submit(self, task: Task) -> Job:
        """Run the task to its end. Signals and the choice of cores are as before afterwards."""
        os.environ.update(task.environment)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in handlers:  # ours only count; a trainer sets its own
            signal.signal(number, signal.default_int_handler)
        arguments, cores = sys.argv, _cores()
        sys.argv = [task.module, *task.arguments]
        try:
            runpy.run_module(task.module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except Exception:
            traceback.print_exc()
            code = 1
        finally:
            sys.argv = arguments
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if cores:
                os.sched_setaffinity(0, cores)
        return _Done(code)


@dataclass(frozen=True)
class _Done:
    """A job that ended before it was returned."""

    code: int

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def wait(self, timeout_s: float) -> int | None:
        return self.code

    def interrupt(self) -> None:
        return None

    def kill(self) -> None:
        return None


def _cores() -> set[int]:
    with suppress(AttributeError):  # not everywhere
        return set(os.sched_getaffinity(0))
    return set()
