"""What a report consists of, whatever it is shown as: sections of tables, sentences and commands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, overload

SHOWN_ROWS = 40
"""So many rows of a table are shown on a terminal and a page; Markdown, CSV and JSON have all."""


_T = TypeVar("_T")
Cells = tuple[str, ...]


@dataclass(frozen=True)
class Rows(Sequence[Cells], Generic[_T]):
    """Rows of a table, each formatted when it is read: of a thousand, forty are."""

    items: Sequence[_T]
    form: Callable[[_T], Cells]

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> Cells: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Cells]: ...
    def __getitem__(self, place: int | slice) -> Cells | Sequence[Cells]:
        if isinstance(place, slice):
            return Rows(self.items[place], self.form)
        return self.form(self.items[place])


@dataclass(frozen=True)
class Sheet:
    """A table ready to print."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Cells]
    text_columns: int = 1
    """So many columns from the left hold text; the rest are numbers, set right."""
    notes: tuple[str, ...] = ()
    ranks: tuple[float, ...] = ()
    """Of each row, the more the sooner it is shown where not all are; without it the first are."""


@dataclass(frozen=True)
class Sentences:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Lines to type, or to read as they stand."""

    lines: tuple[str, ...]
    language: str = "bash"


Block = Sheet | Sentences | Commands


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


def one_line(head: str) -> str:
    """The head of a narrow column without its breaks: `Staleness`, `Mean age`."""
    return head.replace("-\n", "").replace("/\n", "/").replace("\n", " ")


def shortened(sections: Sequence[Section], rows: int, advice: str) -> tuple[Section, ...]:
    """The sections with at most so many rows and sentences in each table and list.

    Args:
        sections: to be shown.
        rows: how many to keep: of a table with ranks the best, in their order, else the first.
        advice: how to get all, for the line that says some are left out.
    """
    return tuple(
        replace(section, blocks=tuple(_short(block, rows, advice) for block in section.blocks))
        for section in sections
    )


def _short(block: Block, rows: int, advice: str) -> Block:
    if isinstance(block, Sentences) and len(block.items) > rows:
        left = f"{rows} of {len(block.items):,} are shown; {advice}."
        return Sentences((*block.items[:rows], left))
    if isinstance(block, Sheet) and len(block.rows) > rows:
        chosen: Sequence[int] = range(rows)
        if block.ranks:
            best = sorted(range(len(block.rows)), key=lambda place: -block.ranks[place])
            chosen = sorted(best[:rows])
        which = "best" if block.ranks else "first"
        note = f"The {which} {rows} of {len(block.rows):,} rows; {advice}."
        return replace(
            block, rows=tuple(block.rows[place] for place in chosen), ranks=(), notes=(note, *block.notes)
        )
    return block
