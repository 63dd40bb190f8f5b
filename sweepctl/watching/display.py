"""Showing a sweep. While it runs: a live table on a terminal, plain lines anywhere else, on stderr.

The tables of the commands that only look go to stdout.
"""

import time
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from sweepctl.tables import new_table
from sweepctl.watching.progress import RunProgress, SweepProgress, duration

PLAIN_INTERVAL_S = 10.0
_COLORS = {"running": "cyan", "succeeded": "green", "failed": "red", "interrupted": "yellow"}


class Display(Protocol):
    """Where progress goes."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *error: object) -> None:
        """Leave the screen as it should stay."""

    def say(self, message: str) -> None:
        """Print something that stays."""

    def show(self, progress: SweepProgress) -> None:
        """Show how far everything is."""


def make_display() -> Display:
    """The right one for where stderr goes."""
    console = Console(stderr=True, highlight=False)
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


class LiveDisplay:
    """A table that is redrawn in place; messages scroll by above it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def say(self, message: str) -> None:
        """Print something that stays."""
        self._live.console.print(escape(message))

    def show(self, progress: SweepProgress) -> None:
        """Draw the table again."""
        self._live.update(Group(_progress_table(progress), escape(progress.line())), refresh=True)


class PlainDisplay:
    """A line with the time for each message and each change of state, and one every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] = {}
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def say(self, message: str) -> None:
        """Print something that stays."""
        stamp = time.strftime("%H:%M:%S")
        self._console.print(f"{stamp} {message}", markup=False, soft_wrap=True)

    def show(self, progress: SweepProgress) -> None:
        """Print what is new, or a sign of life when its time has come."""
        for run in progress.runs:
            before = self._states.get(run.name)
            self._states[run.name] = run.state
            # The runner itself says what failed or was interrupted, and why.
            if before not in {None, run.state} and run.state not in {"failed", "interrupted"}:
                self.say(f"{run.label} {run.name}: {run.state}")
                self._last = time.monotonic()
        if time.monotonic() - self._last < PLAIN_INTERVAL_S:
            return
        self._last = time.monotonic()
        for run in progress.runs:
            if run.state == "running":
                self.say(f"{run.label} {run.name}: " + ", ".join(_facts(run)))
        self.say(progress.line())


def _progress_table(progress: SweepProgress) -> Table:
    """All runs, one a row."""
    result = new_table(["", "run", "state"], ["step", "steps/min", "reward", "age", "left"])
    for run in progress.runs:
        pace = run.seconds_per_step
        left = run.seconds_left if run.state == "running" else None
        color = _COLORS.get(run.state, "dim")
        result.add_row(
            run.label,
            escape(run.name),
            f"[{color}]{run.state}[/]",
            f"{run.step}/{run.max_steps}",
            f"{60 / pace:.1f}" if pace else "",
            _number(run.reward),
            _number(run.age),
            duration(left) if left is not None else "",
        )
    return result


def _facts(run: RunProgress) -> list[str]:
    facts = [f"step {run.step}/{run.max_steps}"]
    if pace := run.seconds_per_step:
        facts.append(f"{60 / pace:.1f} steps/min")
    if run.reward is not None:
        facts.append(f"reward {run.reward:.2f}")
    if run.age is not None:
        facts.append(f"age {run.age:.2f}")
    if run.seconds_left is not None:
        facts.append(f"about {duration(run.seconds_left)} left")
    return facts


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
