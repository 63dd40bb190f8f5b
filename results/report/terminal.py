"""A `Report` on a terminal. Formatting only."""

import re
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod, OverflowMethod
from rich.containers import Lines
from rich.table import Table
from rich.text import Text

from results.report.build import Report
from results.report.document import SHOWN_ROWS, Commands, Sentences, Sheet, shortened
from results.report.sections import sections
from results.report.title import title

_BREAKS = r"(?<=[_,/])|(?<=-)(?<!\de-)"
"""After these a long name may be broken; not in the middle of `5e-07`."""
_GAP, _LEAST = 2, 8
"""Between columns, and of a column whose text may be broken; characters."""
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
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    whole = _kept_whole(sheet, console.width)
    for place, column in enumerate(sheet.columns):
        justify: JustifyMethod = "left" if place < sheet.text_columns else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=place in whole)
    for row in sheet.rows:
        table.add_row(*map(_Cell, row))
    console.print(table, end="")
    for note in sheet.notes:
        console.print(Text(note, style="dim"))


def _kept_whole(sheet: Sheet, width: int) -> set[int]:
    """Columns that are given all the width they need, for breaking them would break words or numbers.

    None where that would leave too little for the others.
    """
    columns = list(zip(sheet.columns, *sheet.rows, strict=True))
    whole = {
        place
        for place, (_, *cells) in enumerate(columns)
        if place >= sheet.text_columns or not any(re.search(rf"\s|{_BREAKS}", cell) for cell in cells)
    }
    needed = sum(max(len(line) for cell in columns[place] for line in cell.split("\n")) for place in whole)
    left = width - needed - _GAP * len(columns)
    return whole if left >= _LEAST * (len(columns) - len(whole)) else set()


class _Cell(Text):
    """Text whose words are broken where their parts meet, if they must be: `s1_opt8_` and not `s1_op`."""

    def wrap(
        self,
        console: Console,
        width: int,
        *,
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        tab_size: int = 8,
        no_wrap: bool | None = None,
    ) -> Lines:
        """Its lines; nothing of it is ever cut off, so `no_wrap` is for the width of its column only."""
        broken = "".join(_broken(word, width) for word in re.split(r"(\s)", self.plain))
        return Text(broken).wrap(console, width, justify=justify, overflow=overflow, tab_size=tab_size)


def _broken(word: str, width: int) -> str:
    """A word in lines of at most so many characters, each as long as can be."""
    if len(word) <= width:
        return word
    return "\n".join(re.findall(rf".{{1,{width}}}(?:$|{_BREAKS})|.{{{width}}}", word))
