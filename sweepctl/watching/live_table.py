"""The table that is drawn again and again while a sweep runs: as wide and as high as the terminal allows."""

from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweepctl.tables import GAP, STATE_STYLES, fit_widths, fitted_table, number, total_width
from sweepctl.watching.progress import (
    RunProgress,
    SweepProgress,
    count_hidden,
    count_states,
    duration,
    speed_unit,
)

_BAR_STYLES = {"running": "cyan", "succeeded": "green", "failed": "red", "interrupted": "magenta"}
_MOST_URGENT_FIRST = ("running", "failed", "unreadable", "interrupted", "pending", "succeeded", "skipped")
_BAR, _BAR_MIN, _BAR_MAX = "bar", 8, 24
_OTHER_LINES = 6
"""The header, the line of what is not shown, an empty one, two about the sweep, and the cursor's."""
_ROWS_MIN = 3


def _time_left(run: RunProgress) -> str:
    left = run.seconds_left if run.state == "running" else None
    return "" if left is None else duration(left)


_COLUMNS: dict[str, Callable[[RunProgress], str]] = {
    "label": lambda run: run.label,
    "run": lambda run: run.name,
    "state": lambda run: run.note or run.state,
    _BAR: lambda _: " " * _BAR_MIN,
    "step": lambda run: f"{run.step}/{run.max_steps}",
    "speed": lambda _: "",  # in the unit that suits the runs shown
    "reward": lambda run: number(run.reward),
    "age": lambda run: number(run.age),
    "left": _time_left,
    "device": lambda run: run.device or "",
}
_TITLES = {"label": "", _BAR: ""}
_NUMBERS = {"step", "speed", "reward", "age", "left"}
_DROPPED_FIRST = ("device", "age", "speed", "reward", _BAR, "label", "left", "step")
"""What a narrow terminal does without, the least important first."""


class LiveTable:
    """A sweep's progress as rich draws it: the runs, and below them the sweep."""

    def __init__(self, progress: SweepProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What fits into the console as it is now."""
        shown, hidden = choose_rows(self._progress.runs, console.size.height - _OTHER_LINES)
        yield _runs_table(shown, options.max_width)
        if hidden:
            yield _one_line(f"… and {len(hidden)} more: {count_hidden(hidden)}", "dim")
        yield Text()
        yield _sweep_bar(self._progress, options.max_width)
        states = count_states(self._progress.runs)
        yield _one_line("; ".join(filter(None, (states, self._progress.activity))))


def choose_rows(runs: Sequence[RunProgress], room: int) -> tuple[list[RunProgress], list[RunProgress]]:
    """What is shown and what is not: all in order, or where they are too many the most urgent first."""
    room = max(room, _ROWS_MIN)
    if len(runs) <= room:
        return list(runs), []
    urgency = {state: index for index, state in enumerate(_MOST_URGENT_FIRST)}
    ordered = sorted(runs, key=lambda run: urgency.get(run.state, len(urgency)))
    return ordered[:room], ordered[room:]


def _runs_table(runs: Sequence[RunProgress], width: int) -> Table:
    """One run a row, in the columns that fit; the bar takes what is left."""
    unit = speed_unit(runs)
    titles = _TITLES | {"speed": f"steps/{unit.name}"}
    texts = _COLUMNS | {"speed": lambda run: unit.number(run.seconds_per_step)}
    cells = {key: [text(run) for run in runs] for key, text in texts.items()}
    widths = fit_widths(cells, titles, width, dropped_first=_DROPPED_FIRST)
    if _BAR in widths:
        widths[_BAR] = min(_BAR_MAX, _BAR_MIN + max(0, width - total_width(widths)))
    table = fitted_table(widths, titles, _NUMBERS)
    for index, run in enumerate(runs):
        table.add_row(*(_cell(key, cells[key][index], run, widths[key]) for key in widths))
    return table


def _cell(key: str, text: str, run: RunProgress, width: int) -> RenderableType:
    if key == _BAR:
        style = _BAR_STYLES.get(run.state, "")
        return _bar(run.step, run.max_steps, width, style)
    return Text(text, style=STATE_STYLES.get(run.state, "dim") if key == "state" else "")


def _bar(completed: float, total: float, width: int, style: str) -> ProgressBar:
    return ProgressBar(
        total=max(total, 1),
        completed=completed,
        width=width,
        style="bright_black",
        complete_style=style,
        finished_style=style,
    )


def _sweep_bar(progress: SweepProgress, width: int) -> RenderableType:
    """The sweep's name, its bar as far as there is room for one, and its times."""
    title, times = Text(progress.title, style="bold"), Text(progress.times())
    room = min(_BAR_MAX, width - title.cell_len - times.cell_len - 2 * GAP)
    if room < _BAR_MIN:
        return _one_line(f"{title}{' ' * GAP}{times}", "bold")
    grid = Table.grid(padding=(0, GAP, 0, 0))
    for column_width in (None, room, None):
        grid.add_column(width=column_width, no_wrap=True)
    style = "bold cyan" if progress.fraction < 1 else "bold green"
    grid.add_row(title, _bar(progress.fraction, 1.0, room, style), times)
    return grid


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
