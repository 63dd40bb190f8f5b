"""`sweepctl query`: one statement of SQL over the results store, read-only."""

import csv
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from sweepctl.commands.up_to_date import bring_up_to_date
from sweepctl.errors import suggestion
from trainer.errors import ConfigError
from trainer.paths import store_path

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

MAX_TABLE_ROWS = 1000
"""A table on a terminal ends here; JSON and CSV have all rows."""
_BATCH = 1000
_READING = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "CALL", "RELATION"})
_TABLES = 'sweepctl query "show tables"'
_CLOSED = "file system operations are disabled by configuration"
_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")


@dataclass(frozen=True)
class Answer:
    """The rows of a query, as they come.

    Attributes:
        columns: their names; of equal ones the later carry a number.
        numeric: which of them hold numbers.
        rows: each a tuple of Python values.
    """

    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Iterator[tuple[Any, ...]]


def print_query(runs_dir: Path, sql: str, *, as_json: bool, csv: bool) -> None:
    """Bring the store up to date, ask it, and print the rows.

    Args:
        runs_dir: the runs directory.
        sql: one statement; `-` reads it from stdin.
        as_json: a list of objects instead of a table.
        csv: comma-separated values instead of a table.

    Raises:
        ConfigError: both formats are asked for, the statement would write, or DuckDB does not accept it.
    """
    if as_json and csv:
        raise ConfigError("--json and --csv: only one of them can be on stdout; leave the other out")
    if not runs_dir.is_dir():
        raise ConfigError(f"{runs_dir}: no such folder; name the runs directory with --runs-dir")
    text = sys.stdin.read() if sql == "-" else sql
    import duckdb  # noqa: PLC0415 - slow to import

    bring_up_to_date(runs_dir)
    with _open(store_path(runs_dir)) as connection:
        try:
            answer = _ask(connection, text)
            count = _print_json(answer) if as_json else _print_csv(answer) if csv else _print_table(answer)
        except duckdb.Error as error:
            _explain(connection, str(error))
    if not count:
        print("no rows", file=sys.stderr)


@contextmanager
def _open(store: Path) -> Iterator["duckdb.DuckDBPyConnection"]:
    """The store, from where no other file can be reached, whatever the statement is."""
    import duckdb  # noqa: PLC0415 - slow to import

    # In memory, with the snapshot attached: nobody is kept from replacing it.
    scratch = tempfile.TemporaryDirectory(prefix=f"sweepctl-query-{os.getpid()}-")
    with scratch as spilled, duckdb.connect() as connection:
        connection.execute(f"SET temp_directory = {_quoted(spilled)}")  # may be written to all the same
        connection.execute(f"ATTACH {_quoted(str(store))} AS results (READ_ONLY)")
        connection.execute("USE results")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _ask(connection: "duckdb.DuckDBPyConnection", sql: str) -> Answer:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise ConfigError(f"query: {len(statements)} statements; give one, such as: {_TABLES}")
    kind = statements[0].type.name
    if kind not in _READING:
        raise ConfigError(
            f"query: {kind} is refused: the store is derived from the runs' files and only read here; "
            "ask with SELECT, and write files with --json or --csv"
        )
    cursor = connection.execute(statements[0])
    names = [str(column[0]) for column in cursor.description]
    numeric = [_is_numeric(str(column[1])) for column in cursor.description]
    return Answer(_unique(names), numeric, _rows(cursor))


def _rows(cursor: "duckdb.DuckDBPyConnection") -> Iterator[tuple[Any, ...]]:
    while batch := cursor.fetchmany(_BATCH):
        yield from batch


def _is_numeric(kind: str) -> bool:
    return kind.startswith(("DECIMAL", "DOUBLE", "FLOAT")) or kind.endswith(("INT", "INTEGER"))


def _unique(names: Iterable[str]) -> list[str]:
    """Names that can be keys of one object: `a, a` becomes `a, a_1`, as DuckDB itself names them."""
    chosen: list[str] = []
    for name in names:
        number, candidate = 0, name
        while candidate in chosen:
            number += 1
            candidate = f"{name}_{number}"
        chosen.append(candidate)
    return chosen


def _explain(connection: "duckdb.DuckDBPyConnection", message: str) -> NoReturn:
    """DuckDB's words without their padding, and where a table is missing, which there are."""
    if missing := _NO_TABLE.search(message):
        found = connection.execute("SELECT name FROM (SHOW TABLES) ORDER BY name").fetchall()
        advice = suggestion(missing[1], [name for (name,) in found])
        raise ConfigError(f"query: no table or view '{missing[1]}'; {advice} All of them: {_TABLES}")
    message = message.replace(_CLOSED, f"{_CLOSED}: only the store is read; --json and --csv write to stdout")
    said, _, place = message.partition("\n\n")
    lines = [" ".join(said.split()), *place.splitlines()]
    raise ConfigError("query: " + "\n".join(lines))


def _print_json(answer: Answer) -> int:
    """A list with one object a row; written as rows come, so that millions need no memory."""
    count = 0
    for count, row in enumerate(answer.rows, start=1):
        values = {name: _plain(value) for name, value in zip(answer.columns, row, strict=True)}
        before = "[\n  " if count == 1 else ",\n  "
        sys.stdout.write(before + json.dumps(values, ensure_ascii=False, allow_nan=False))
    sys.stdout.write("\n]\n" if count else "[]\n")
    return count


def _print_csv(answer: Answer) -> int:
    """A header and one line a row; NULL is empty, lists and structs are JSON."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.columns)
    count = 0
    for row in answer.rows:
        writer.writerow(_csv_cell(_plain(value)) for value in row)
        count += 1
    return count


def _csv_cell(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever DuckDB gives, as JSON
    """A value as JSON: dates as ISO text, intervals in seconds; NULL and what is no number as None."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    return value if isinstance(value, int | str | None) else _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:  # noqa: ANN401 - whatever DuckDB gives
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case date() | time():  # a datetime is a date
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case _:
            return value.hex() if isinstance(value, bytes) else str(value)


def _print_table(answer: Answer) -> int:
    """A table where it is as narrow as the terminal, else the columns of each row below each other."""
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False, markup=False, emoji=False)
    rows = [[_cell(value) for value in row] for row in islice(answer.rows, MAX_TABLE_ROWS)]
    widths = [max(map(len, column)) for column in zip(answer.columns, *rows, strict=True)]
    if not rows or sum(widths) + 2 * (len(widths) - 1) <= console.width:
        _print_side_by_side(console, answer, rows)
    else:
        _print_one_by_one(console, answer, rows)
    if next(answer.rows, None) is not None:
        print(f"only the first {MAX_TABLE_ROWS} rows; --csv and --json print all", file=sys.stderr)
    return len(rows)


def _print_side_by_side(console: "Console", answer: Answer, rows: list[list[str]]) -> None:
    from rich.text import Text  # noqa: PLC0415

    from sweepctl.tables import new_table  # noqa: PLC0415

    table = new_table([], [])
    for name, numeric in zip(answer.columns, answer.numeric, strict=True):
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style="dim" if cell == "NULL" else "") for cell in row))
    console.print(table)


def _print_one_by_one(console: "Console", answer: Answer, rows: list[list[str]]) -> None:
    from rich.text import Text  # noqa: PLC0415

    from sweepctl.tables import new_table  # noqa: PLC0415

    for number, row in enumerate(rows, start=1):
        console.print(Text(f"row {number}", style="bold"))
        table = new_table(["", ""], [])
        table.show_header = False
        for name, cell in zip(answer.columns, row, strict=True):
            table.add_row(Text(name), Text(cell, style="dim" if cell == "NULL" else ""))
        console.print(table)


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever DuckDB gives
    """A value as text of one line; numbers to four decimals, small ones to four digits."""
    match _plain(value):
        case None:
            return "NULL" if value is None else str(value)
        case bool(plain):
            return str(plain).lower()
        case float(plain):
            fixed = plain == 0 or 1e-3 <= abs(plain) < 1e15
            return f"{plain:.4f}".rstrip("0").rstrip(".") if fixed else f"{plain:.4g}"
        case list(plain) | dict(plain):
            return json.dumps(plain, ensure_ascii=False)
        case plain:
            return " ".join(str(plain).split("\n"))
