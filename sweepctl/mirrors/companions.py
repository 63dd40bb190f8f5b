"""The mirrors of one run as processes beside it. Whatever becomes of them, the run does not notice."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import psutil

from sweepctl.files import last_lines
from sweepctl.mirrors.follow import folder
from sweepctl.spec.model import MirrorName
from trainer.guard import start_guarded
from trainer.paths import RunPaths

PATIENCE_S = 20.0
"""How long the mirrors of a run may take, together, to send what is left."""
COMMAND = (sys.executable, "-m", "sweepctl.mirrors")
_NICE = 10
_POLL_S = 0.1


def check(names: Sequence[MirrorName]) -> list[str]:
    """What is missing for these mirrors, one message each; nothing is imported."""
    return [
        f'the mirror {name} needs a package that is not installed: pip install "sweepctl[{name}]"'
        for name in names
        if not _installed(name)
    ]


class Companions:
    """Starts the mirrors on entering, and ends them on leaving. Raises nothing.

    Args:
        names: the mirrors asked for; none is fine.
        run: the run they show.
        say: tells the user of a mirror that failed; called from other threads too.
        hurry: whether the mirrors are to be ended at once, asked while they finish.
        command: what is started, followed by a mirror's name, the run's folder and `--follow`.
        patience_s: how long they may take to finish.
    """

    def __init__(
        self,
        names: Sequence[MirrorName],
        run: RunPaths,
        say: Callable[[str], None],
        hurry: Callable[[], bool] = lambda: False,
        *,
        command: Sequence[str] = COMMAND,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._names, self._run, self._say, self._hurry = tuple(dict.fromkeys(names)), run, say, hurry
        self._command, self._patience_s = command, patience_s
        self._started: list[_Companion] = []

    def __enter__(self) -> Self:
        for name in self._names:
            log = folder(self._run) / f"{name}.log"
            command = [*self._command, name, str(self._run.root.resolve()), "--follow"]
            try:
                self._started.append(_Companion(name, command, log, self._say))
            except OSError as error:
                self._say(f"the mirror {name} did not start ({error}); the run goes on without it")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deadline = time.monotonic() + self._patience_s
        while any(companion.running for companion in self._started):
            if self._hurry() or time.monotonic() > deadline:
                break
            for companion in self._started:
                companion.ask_to_end()
            time.sleep(_POLL_S)
        for companion in self._started:
            companion.end()


class _Companion:
    """One mirror's process, with a thread that waits for its end."""

    def __init__(self, name: str, command: Sequence[str], log: Path, say: Callable[[str], None]) -> None:
        self._name, self._command, self._log, self._say = name, command, log, say
        self._process: subprocess.Popen[bytes]
        self._lifeline: BinaryIO
        self._process, self._lifeline = start_guarded(command, log, prepare=_step_back)
        self._asked = self._cut_off = False
        self._thread = threading.Thread(target=self._wait, name=f"mirror-{name}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether its end is still to come."""
        return self._thread.is_alive()

    def ask_to_end(self) -> None:
        """Have it send what is left and end: told once, as soon as the guard has started it."""
        if not self._asked and self._has_begun():
            self._asked = True
            self._signal(signal.SIGTERM)

    def end(self) -> None:
        """End it now if it still runs."""
        self._cut_off = self.running
        self._signal(signal.SIGKILL)
        self._thread.join()
        self._lifeline.close()

    def _wait(self) -> None:
        code = self._process.wait()
        if self._cut_off:
            again = " ".join(["python -m sweepctl.mirrors", *self._command[-3:-1]])
            self._say(f"the mirror {self._name} was ended before all was sent; to send it: {again}")
        elif code:
            last = last_lines(self._log, 1) or "it printed nothing"
            self._say(f"the mirror {self._name} failed (exit code {code}), the run does not need it: {last}")
            self._say(f"  log: {self._log}")

    def _has_begun(self) -> bool:
        try:
            return bool(psutil.Process(self._process.pid).children())
        except psutil.Error:
            return False  # it has ended already

    def _signal(self, number: int) -> None:
        if not self.running:
            return
        with suppress(ProcessLookupError, PermissionError):  # just gone; macOS says so of zombies
            os.killpg(self._process.pid, number)


def _installed(package: str) -> bool:
    found = importlib.util.find_spec(package)
    # Without an origin it is only a folder: W&B itself leaves one named `wandb` where it runs.
    return found is not None and found.origin is not None


def _step_back() -> None:
    """In the child: a mirror leaves the cores to the run, and hears of its end once it can act on that."""
    os.nice(_NICE)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
