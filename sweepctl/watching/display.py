"""Showing a sweep while it runs, on stderr: a live table on a terminal, plain lines anywhere else.

Runs in several threads share one display: whatever they say or show comes out whole.
"""

import re
import sys
import threading
import time
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from sweepctl.watching.live_table import LiveTable
from sweepctl.watching.progress import RunProgress, SweepProgress, duration, speed_unit

PLAIN_INTERVAL_S = 10.0
"""Plain lines give a sign of life so often."""
RUNS_IN_PLAIN_LINES = 5
"""With more runs running than that, only the sweep gives it."""
DRAW_INTERVAL_S = 0.25
"""The live table is drawn at most so often."""
_SAID_BY_RUNNER = frozenset({"failed", "interrupted", "skipped"})
"""States that whoever runs the sweep announces itself, with the reason."""
_LOCK = threading.RLock()  # one for all displays: there is one stderr


class Display(Protocol):
    """Where progress goes. Any thread may call it."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *error: object) -> None:
        """Leave the screen as it should stay."""

    def say(self, message: str) -> None:
        """Print something that stays."""

    def show(self, progress: SweepProgress) -> None:
        """Show how far everything is."""


def make_display() -> Display:
    """The right one for where stderr goes; a terminal that cannot move its cursor gets plain lines."""
    console = Console(stderr=True, highlight=False)
    # FORCE_COLOR makes rich take a file for a terminal, which a table drawn again and again would fill.
    live = console.is_interactive and sys.stderr.isatty()
    return LiveDisplay(console) if live else PlainDisplay(console)


class LiveDisplay:
    """A table that is redrawn in place; messages scroll by above it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._drawn = float("-inf")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        with _LOCK:
            self._live.stop()  # draws what was shown last once more

    def say(self, message: str) -> None:
        """Print something that stays."""
        with _LOCK:
            self._live.console.print(escape(message), soft_wrap=True)

    def show(self, progress: SweepProgress) -> None:
        """Draw the table again, unless it was drawn just now."""
        with _LOCK:
            now = time.monotonic()
            due = now - self._drawn >= DRAW_INTERVAL_S
            self._drawn = now if due else self._drawn
            self._live.update(LiveTable(progress), refresh=due)


class PlainDisplay:
    """A line with the time for each message and each change of state, and a few every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, tuple[str, str]] = {}
        self._last = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def say(self, message: str) -> None:
        """Print something that stays."""
        with _LOCK:
            stamp = time.strftime("%H:%M:%S")
            self._console.print(f"{stamp} {message}", markup=False, soft_wrap=True)

    def show(self, progress: SweepProgress) -> None:
        """Print what is new, or a sign of life when its time has come."""
        with _LOCK:
            for run in progress.runs:
                self._say_change(run)
            if time.monotonic() - self._last >= PLAIN_INTERVAL_S:
                self._last = time.monotonic()
                self._say_summary(progress)

    def _say_change(self, run: RunProgress) -> None:
        # A note that counts down must not fill the log.
        now = (run.state, re.sub(r"\d+", "", run.note or ""))
        before = self._states.get(run.name, now)
        self._states[run.name] = now
        news = run.state != before[0] or (now[1] and now != before)
        if news and run.state not in _SAID_BY_RUNNER:
            note = f" ({run.note})" if run.note else ""
            where = f" on {run.device}" if run.device and run.state == "running" else ""
            # A short run may end before the first sign of life.
            how = f"; {', '.join(_facts(run))}" if run.state == "succeeded" else ""
            self.say(f"{run.label} {run.name}: {run.state}{note}{where}{how}".lstrip())

    def _say_summary(self, progress: SweepProgress) -> None:
        running = [run for run in progress.runs if run.state == "running"]
        if len(running) <= RUNS_IN_PLAIN_LINES:
            for run in running:
                facts = [*_facts(run), *([run.note] if run.note else [])]
                self.say(f"{run.label} {run.name}: {', '.join(facts)}".lstrip())
        self.say(progress.line())


def _facts(run: RunProgress) -> list[str]:
    facts = [f"step {run.step}/{run.max_steps}" if run.step else "no step yet"]
    if run.under_way and (pace := run.seconds_per_step):
        unit = speed_unit([run])
        facts.append(f"{unit.number(pace)} steps/{unit.name}")
    if run.reward is not None:
        facts.append(f"reward {run.reward:.2f}")
    if run.age is not None:
        facts.append(f"age {run.age:.2f}")
    if left := run.seconds_left:
        facts.append(f"about {duration(left)} left")
    return facts
