"""A `Report` on a terminal. Formatting only."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from results.report.build import Report
from results.report.document import SHOWN_ROWS, Commands, Sentences, Sheet, shortened
from results.report.sections import sections
from results.report.title import title

_ADVICE = "--all, --format md or csv has all"


def render_terminal(report: Report, console: Console, *, rows: int | None = SHOWN_ROWS) -> None:
    """Prints the report; tables fit 80 columns, and use more where there are more.

    Args:
        report: to be shown.
        console: where.
        rows: of a table at most; None shows all.
    """
    console.print(Text(title(report), style="bold"))
    for notice in report.notices:
        console.print(Text(f"! {notice}", style="yellow"))
    chosen = sections(report)
    for section in chosen if rows is None else shortened(chosen, rows, _ADVICE):
        console.print()
        console.print(Text(section.title, style="bold underline"))
        for block in section.blocks:
            match block:
                case Sheet():
                    _print_sheet(block, console)
                case Sentences(items):
                    _print_sentences(items, console)
                case Commands(lines):
                    for line in lines:
                        console.print(Text(f"    {line}"), soft_wrap=True)


def _print_sentences(items: Sequence[str], console: Console) -> None:
    grid = Table.grid(padding=(0, 1))
    for item in items:
        grid.add_row("-", Text(item))
    console.print(grid)


def _print_sheet(sheet: Sheet, console: Console) -> None:
    if sheet.title:
        console.print()
        console.print(Text(sheet.title, style="bold"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(sheet.columns):
        justify: JustifyMethod = "left" if place < sheet.text_columns else "right"
        table.add_column(column, justify=justify, overflow="fold")
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table, end="")
    for note in sheet.notes:
        console.print(Text(note, style="dim"))
