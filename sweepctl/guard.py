"""Stands between sweepctl and a process it starts, so that nothing outlives sweepctl.

    python guard.py PIPE COMMAND...

Leads a process group of its own, runs the command in it and ends with its exit code. The read end of
a pipe, PIPE, is open in here; sweepctl holds the only write end. When sweepctl ends, however it ends,
the pipe closes, and the whole group is told to stop, then killed. Needs the standard library only, and
is started by path, without `site`: a guard costs a few megabytes and milliseconds.
"""

import os
import signal
import subprocess
import sys
import threading
import time

PATIENCE_S = 10.0
"""How long an orphaned group may take to end."""


def main(pipe: int, command: list[str]) -> int:
    """Run `command` until it ends or sweepctl is gone; the command's exit code."""
    # Signals to the group are the command's to act on. Handlers that do nothing, and not SIG_IGN,
    # because an ignored signal would stay ignored in the command.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    process = subprocess.Popen(command)
    orphaned = threading.Event()
    threading.Thread(target=_end_with_sweepctl, args=(pipe, process, orphaned), daemon=True).start()
    code = process.wait()
    if orphaned.is_set():
        os.killpg(0, signal.SIGKILL)  # what the command itself has left behind
    return code if code >= 0 else 128 - code


def _end_with_sweepctl(pipe: int, process: "subprocess.Popen[bytes]", orphaned: threading.Event) -> None:
    os.read(pipe, 1)  # returns when the write end is closed
    orphaned.set()
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
