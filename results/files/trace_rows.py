"""Trace lines -> rows of the store, in the order in which a run wrote them.

A `resumed` line makes earlier rows void, so a chunk of lines is applied in segments between them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
from pydantic import TypeAdapter, ValidationError

from trainer.records import (
    Checkpoint,
    Dispatch,
    Fate,
    Group,
    HeldOut,
    Record,
    Resumed,
    RunFinished,
    RunStarted,
    Span,
    Step,
    Sync,
    TraceRecord,
    Warned,
)

TABLES: dict[type[Record], str] = {
    RunStarted: "attempts",
    Resumed: "resumes",
    Dispatch: "dispatches",
    Group: "groups",
    Step: "steps",
    Span: "spans",
    Sync: "syncs",
    Checkpoint: "checkpoints",
    HeldOut: "held_out_evals",
    Warned: "warnings",
    RunFinished: "finishes",
}
"""Where each kind of line goes. `group` is a word of SQL, so the column is `group_id`."""

_T = TypeVar("_T")
_ADAPTER: TypeAdapter[TraceRecord] = TypeAdapter(TraceRecord)
_EXCERPT_BYTES = 200


@dataclass(frozen=True)
class BadLine:
    """A line that is no record, and why."""

    byte_offset: int
    reason: str
    excerpt: str


def parse_trace(lines: Iterable[tuple[int, bytes]]) -> tuple[Sequence[Record], list[BadLine]]:
    """Records in order, and the lines that are none: torn by a crash, or of another version."""
    return parse_lines(lines, _ADAPTER)


def parse_lines(
    lines: Iterable[tuple[int, bytes]], adapter: TypeAdapter[_T]
) -> tuple[list[_T], list[BadLine]]:
    """Every line that `adapter` accepts, and a `BadLine` for every other."""
    good: list[_T] = []
    bad: list[BadLine] = []
    for offset, line in lines:
        try:
            good.append(adapter.validate_json(line))
        except ValidationError as error:
            bad.append(bad_line(offset, line, error))
    return good, bad


def bad_line(offset: int, line: bytes, error: ValidationError) -> BadLine:
    """The first complaint about a line, with where in the line it is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = f"{where}: {first['msg']}" if where else first["msg"]
    return BadLine(offset, reason, line[:_EXCERPT_BYTES].decode(errors="replace"))


def apply_records(
    connection: duckdb.DuckDBPyConnection, sweep: str, run_name: str, records: Sequence[Record]
) -> None:
    """Inserts a run's next records, letting each `resumed` void what came before it."""
    if records:
        mark_stale(connection, sweep, run_name)
    segment: list[Record] = []
    for record in records:
        if isinstance(record, Resumed):
            _insert(connection, sweep, run_name, segment)
            segment = []
            _supersede(connection, sweep, run_name, record)
        segment.append(record)
    _insert(connection, sweep, run_name, segment)


def forget_run(connection: duckdb.DuckDBPyConnection, sweep: str, run_name: str) -> None:
    """Drops every row that came from a run's trace."""
    for table in TABLES.values():
        connection.execute(f"DELETE FROM {table} WHERE sweep = ? AND run_name = ?", [sweep, run_name])
    mark_stale(connection, sweep, run_name)


def mark_stale(connection: duckdb.DuckDBPyConnection, sweep: str, run_name: str) -> None:
    """Have the run's derived rows computed again."""
    connection.execute("INSERT INTO stale_runs VALUES (?, ?)", [sweep, run_name])


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, columns: dict[str, list[Any]]) -> None:
    """Appends columns of equal length to a table, by name; other columns become NULL."""
    names, lists = ", ".join(columns), ", ".join("unnest(?)" for _ in columns)
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {lists}", list(columns.values()))


def _insert(
    connection: duckdb.DuckDBPyConnection, sweep: str, run_name: str, records: Iterable[Record]
) -> None:
    by_kind: defaultdict[type[Record], list[Record]] = defaultdict(list)
    for record in records:
        by_kind[type(record)].append(record)
    for kind, same in by_kind.items():
        table = TABLES[kind]
        kept = [name for name in kind.model_fields if name not in {"v", "kind", "sweep", "run_name"}]
        columns: dict[str, list[Any]] = {"sweep": [sweep] * len(same), "run_name": [run_name] * len(same)}
        for name in kept:
            columns["group_id" if name == "group" else name] = [getattr(record, name) for record in same]
        if kind is Group:  # the last line of a group counts
            connection.execute(
                "DELETE FROM groups WHERE sweep = ? AND run_name = ? AND list_contains(?, group_id)",
                [sweep, run_name, columns["group_id"]],
            )
        insert_rows(connection, table, columns)


def _supersede(connection: duckdb.DuckDBPyConnection, sweep: str, run_name: str, resumed: Resumed) -> None:
    """Drops what earlier attempts wrote of steps that are done again.

    A span without a step belongs to those after its start. What became of the groups of those steps
    follows in lines of their own.
    """
    where = "WHERE sweep = $sweep AND run_name = $run AND attempt < $attempt"
    run = {"sweep": sweep, "run": run_name, "attempt": resumed.attempt, "step": resumed.from_step}
    statements = (
        f"""
        DELETE FROM spans {where} AND CASE WHEN step IS NOT NULL THEN step >= $step ELSE start_s >= (
            SELECT coalesce(max(start_s + wall_s), 0) FROM steps {where} AND step < $step
        ) END
        """,
        f"DELETE FROM steps {where} AND step >= $step",
        # Step n produces version n + 1, so the versions up to from_step stand.
        f"DELETE FROM syncs {where} AND version > $step",
        f"DELETE FROM checkpoints {where} AND step > $step",
        f"DELETE FROM held_out_evals {where} AND version >= $step",  # it is evaluated again
        f"""
        UPDATE groups SET fate = '{Fate.DISCARDED}', step = NULL, consumed_s = NULL
        {where} AND step >= $step
        """,
    )
    for statement in statements:
        connection.execute(statement, run)
