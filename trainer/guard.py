"""Stands between a process and one it starts, so that nothing outlives the starter, however it ends.

    python guard.py PIPE COMMAND...

Leads a process group of its own, runs the command in it and ends with its exit code. The read end of
a pipe, PIPE, is open in here; the starter holds the only write end. When the starter ends, the pipe
closes, and the whole group is told to stop, then killed: a signal from the kernel at the parent's death
(`orphans`) reaches one process only. It is what kills the command when the guard itself is killed.
Needs the standard library only, and is started by path, without `site`: a guard costs a few megabytes
and milliseconds.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

PATIENCE_S = 10.0
"""How long an orphaned group may take to end."""


def start_guarded(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
    hold: Sequence[int] = (),
) -> tuple["subprocess.Popen[bytes]", BinaryIO]:
    """Start a command under a guard, its output appended to `log`.

    Args:
        command: the program and its arguments.
        log: a file; its folder is made.
        environment: of the command; None: this process's.
        prepare: called in the child before it starts.
        hold: descriptors that the guard keeps open as long as it lives, such as those of locks.

    Returns:
        The guard, which leads the process group, and the pipe that keeps it waiting: closing that ends the
        group.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    lifeline = os.fdopen(write_end, "wb")
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(read_end), *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(read_end, *hold),
                preexec_fn=prepare,  # noqa: PLW1509 - system calls, nothing that takes a lock
            )
    except BaseException:
        lifeline.close()
        raise
    finally:
        os.close(read_end)
    return process, lifeline


def main(pipe: int, command: list[str]) -> int:
    """Run `command` until it ends or the starter is gone; the command's exit code."""
    # Signals to the group are the command's to act on. Handlers that do nothing, and not SIG_IGN,
    # because an ignored signal would stay ignored in the command.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    end_with_parent = runpy.run_path(str(Path(__file__).with_name("orphans.py")))["end_with_parent"]
    guard = os.getpid()
    # No thread runs yet here.
    process = subprocess.Popen(command, preexec_fn=lambda: end_with_parent(guard, signal.SIGKILL))  # noqa: PLW1509
    orphaned = threading.Event()
    threading.Thread(target=_end_with_starter, args=(pipe, process, orphaned), daemon=True).start()
    code = process.wait()
    if orphaned.is_set():
        os.killpg(0, signal.SIGKILL)  # what the command itself has left behind
    return code if code >= 0 else 128 - code


def _end_with_starter(pipe: int, process: "subprocess.Popen[bytes]", orphaned: threading.Event) -> None:
    os.read(pipe, 1)  # returns when the write end is closed
    orphaned.set()
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
