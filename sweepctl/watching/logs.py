"""`sweepctl logs`: what a run printed, and what it prints."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from sweepctl.holder import who_runs
from sweepctl.imported import origin
from sweepctl.states import read_status
from sweepctl.watching.retries import is_tried_again, max_attempts
from sweepctl.watching.show import in_brief, log_of, resume_command, retry_command
from sweepctl.watching.status import FoundRun, locate_run
from trainer.errors import ConfigError
from trainer.records import RunState

LOOK_S = 0.2
_CHUNK_BYTES = 1 << 16
_TAIL_BYTES = 1 << 23
"""Of a log whose last lines are longer than that together, only so much of its end is printed."""


def print_log(runs_dir: Path, name: str, *, follow: bool, lines: int | None, as_json: bool) -> None:
    """Print a run's log, or its last `lines`; with `follow` also what is added until the run has ended.

    Raises:
        ConfigError: there is no such run, or it has printed nothing and will not.
    """
    found = locate_run(runs_dir, name)
    log = found.paths.log
    if not log.exists():
        _explain_missing(found, runs_dir, follow=follow)
    out = _Lines(found.sweep.name, found.paths.root.name) if as_json else _Bytes()
    reader = LogReader(log, lines)
    going_on = True
    while going_on:
        going_on = follow and _may_go_on(found)  # looked at first: its last words come before its end
        for chunk in reader.new():
            out.write(chunk)
        sys.stdout.flush()
        if going_on:
            time.sleep(LOOK_S)
    out.end()
    sys.stdout.flush()


class LogReader:
    """Reads what is new in a log, in pieces; begins again where another file took its place."""

    def __init__(self, path: Path, lines: int | None) -> None:
        self._path = path
        self._lines = lines
        self._offset: int | None = None
        self._file: tuple[int, int] | None = None

    def new(self) -> Iterator[bytes]:
        """What was added since the last call; of the first call, all or the last `lines`."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            found = os.fstat(file.fileno())
            if self._offset is None:
                self._offset = 0 if self._lines is None else _start_of_last(self._path, self._lines)
            elif (found.st_dev, found.st_ino) != self._file or found.st_size < self._offset:
                self._offset = 0
            self._file = (found.st_dev, found.st_ino)
            file.seek(self._offset)
            while chunk := file.read(_CHUNK_BYTES):
                self._offset += len(chunk)
                yield chunk


class _Out(Protocol):
    def write(self, chunk: bytes) -> None:
        """Take a piece of the log."""

    def end(self) -> None:
        """There is no more."""


class _Bytes:
    """The log as it is, whatever is in it."""

    def write(self, chunk: bytes) -> None:
        """Print it."""
        sys.stdout.buffer.write(chunk)

    def end(self) -> None:
        """Nothing is held back."""


class _Lines:
    """A JSON object for each line of the log."""

    def __init__(self, sweep: str, run: str) -> None:
        self._names = {"sweep": sweep, "run": run}
        self._rest: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        """Print the lines that are whole now."""
        first, newline, others = chunk.partition(b"\n")
        self._rest.append(first)
        if newline:
            whole = b"".join(self._rest)
            *lines, rest = others.split(b"\n")
            self._rest = [rest]
            for line in (whole, *lines):
                self._print(line)

    def end(self) -> None:
        """Print what has no end of line."""
        if rest := b"".join(self._rest):
            self._print(rest)

    def _print(self, line: bytes) -> None:
        text = line.removesuffix(b"\r").decode(errors="replace")
        print(json.dumps({**self._names, "line": text}))


def _start_of_last(path: Path, lines: int) -> int:
    """Where the last lines begin, found from the end: a log may be larger than memory."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if lines == 0 or end == 0:
            return end
        file.seek(end - 1)
        wanted = lines + (file.read(1) == b"\n")  # the newline that ends the last line separates none
        start = end
        while start > max(0, end - _TAIL_BYTES):
            length = min(_CHUNK_BYTES, start)
            start -= length
            file.seek(start)
            block = file.read(length)
            if block.count(b"\n") >= wanted:
                for _ in range(wanted - 1):
                    block = block[: block.rindex(b"\n")]
                return start + block.rindex(b"\n") + 1
            wanted -= block.count(b"\n")
        return start


def _may_go_on(found: FoundRun) -> bool:
    """Whether the run may print more: it runs, or waits for its turn or for another attempt."""
    holder, status = who_runs(found.sweep), read_status(found.paths)
    if status is None or status.state is RunState.PENDING:
        return found.planned.get("state") != "infeasible" and holder is not None
    return status.state is RunState.RUNNING or is_tried_again(
        found.paths, status.state, holder, max_attempts(found.manifest)
    )


def _explain_missing(found: FoundRun, runs_dir: Path, *, follow: bool) -> None:
    """Say why there is no log; return where it is worth waiting for one.

    Raises:
        ConfigError: the run will print nothing by itself.
    """
    name = f"{found.sweep.name}/{found.paths.root.name}"
    if found.planned.get("state") == "infeasible":
        raise ConfigError(f"{name} is infeasible and is not run: {found.planned.get('reason')}")
    if (source := origin(found.manifest)) is not None:
        raise ConfigError(
            f"{name} was imported from {source}, without a log; see its results with: "
            f"sweepctl report {found.sweep.name}"
        )
    status = read_status(found.paths)
    if _may_go_on(found):
        if follow:
            print(f"{name} has printed nothing yet; waiting for it", file=sys.stderr)
            return
        raise ConfigError(f"{name} has printed nothing yet; wait for it with: sweepctl logs {name} -f")
    command = resume_command(found.manifest, runs_dir)
    if status is None or status.state is RunState.PENDING:
        raise ConfigError(f"{name} has not begun; start it with: {command}")
    why = f": {in_brief(status.reason)}" if status.reason else ""
    see = log_of(found.sweep, found.paths, status.reason)
    see = f"; see {see}" if see != str(found.paths.log) else ""
    if status.state is RunState.FAILED:
        command = retry_command(command, found.sweep.name)
    raise ConfigError(f"{name} {status.state} and printed nothing{why}{see}; go on with: {command}")
