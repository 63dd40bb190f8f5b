"""Tables on stdout, and how a table is made to fit."""

import os
from collections.abc import Collection, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

STATE_STYLES = {
    "running": "cyan",
    "succeeded": "green",
    "failed": "bold red",
    "interrupted": "magenta",
    "unreadable": "bold red",
}
"""Colours that show on light and on dark ground; the state always stands there as a word, too."""
GAP = 2
"""Spaces between columns."""
_NAME_MIN = 12


def new_table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table without lines: columns of words to the left, of numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for word in words:
        table.add_column(word, overflow="fold")
    for each in numbers:
        table.add_column(each, justify="right")
    return table


def fitted_table(widths: Mapping[str, int], titles: Mapping[str, str], numbers: Collection[str]) -> Table:
    """An empty table with columns of these widths, in which nothing wraps.

    Columns are titled as they are called or as `titles` says; those of numbers stand to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for key, width in widths.items():
        table.add_column(
            titles.get(key, key),
            justify="right" if key in numbers else "left",
            width=width,
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def fit_widths(
    cells: Mapping[str, Sequence[str]],
    titles: Mapping[str, str],
    width: int,
    *,
    dropped_first: Sequence[str],
) -> dict[str, int]:
    """The columns that fit side by side into `width`, and how wide each is.

    Empty ones are left out. Where the rest is too wide, `dropped_first` go in that order, then the column
    `run` is cut short.
    """
    widths = {
        key: max(map(cell_len, (titles.get(key, key), *texts))) for key, texts in cells.items() if any(texts)
    }
    for key in dropped_first:
        if total_width(widths) > width:
            widths.pop(key, None)
    over = total_width(widths) - width
    if over > 0 and "run" in widths:
        widths["run"] = max(_NAME_MIN, widths["run"] - over)
    return widths


def total_width(widths: Mapping[str, int]) -> int:
    """Of columns side by side."""
    return sum(widths.values()) + GAP * (len(widths) - 1)


def stdout_console() -> Console:
    """Writes to stdout; into a file or a pipe as wide as a table needs, unless COLUMNS says otherwise."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 10_000
    return console


def print_table(title: str, table: Table, notes: Sequence[str]) -> None:
    """A table between its title and what else is to be said."""
    console = stdout_console()
    console.print(title, markup=False, soft_wrap=True)
    console.print(table)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)


def number(value: float | None) -> str:
    """Two digits after the point, or nothing."""
    return "" if value is None else f"{value:.2f}"
