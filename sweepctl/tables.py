"""Tables on stdout."""

from rich.console import Console
from rich.table import Table


def new_table(words: list[str], numbers: list[str]) -> Table:
    """A table without lines: columns of words to the left, of numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for word in words:
        table.add_column(word, overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right")
    return table


def print_table(title: str, table: Table, notes: list[str]) -> None:
    """A table between its title and what else is to be said."""
    console = Console(highlight=False)
    console.print(title, markup=False, soft_wrap=True)
    console.print(table)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
