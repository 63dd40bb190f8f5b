"""Records of traces -> rows of the store, in the order in which a run wrote them.

Rows of many runs are gathered and go into the tables together. A `resumed` line makes earlier rows void,
so what is gathered is written first.
"""

from collections import defaultdict
from collections.abc import Sequence
from types import UnionType
from typing import Any, get_args

import duckdb
import msgspec
import pyarrow as pa

from results.files.rows import insert_arrow
from results.files.trace_decoder import struct_of
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

Run = tuple[str, str]
"""Sweep and run name."""

_RESUMED, _GROUP = struct_of(Resumed), struct_of(Group)
_NOT_COLUMNS = frozenset({"v", "kind", "sweep", "run_name"})
_ARROW = {int: pa.int64(), float: pa.float64()}
_FLUSHED_BYTES = 8 * 2**20
"""Of columns."""
_IS_RUN = "sweep = $sweep AND run_name = $run_name"


class TraceRows:
    """Gathers rows of traces within one transaction; nothing is in the tables before `flush`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._gathered: defaultdict[type[msgspec.Struct], list[pa.Table]] = defaultdict(list)
        self._bytes = 0
        self._groups: defaultdict[Run, set[int]] = defaultdict(set)
        """Those whose lines have been gathered, of every run of which anything has."""
        self._with_rows: set[Run] = set()
        """Runs that may have rows in the tables already."""

    def add(self, run: Run, records: Sequence[msgspec.Struct], *, from_start: bool) -> None:
        """The next records of a run; each `resumed` among them voids what came before it."""
        if not from_start:
            self._with_rows.add(run)
        first = 0
        for index, record in enumerate(records):
            if type(record) is _RESUMED:
                self._gather(run, records[first:index])
                self.flush()
                self._supersede(run, record)
                first = index
        self._gather(run, records[first:])
        if self._bytes >= _FLUSHED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        for model, table in TABLES.items():
            if parts := self._gathered[struct_of(model)]:
                rows = pa.concat_tables(parts)
                if model is Group:
                    self._drop_earlier_lines(rows)
                insert_arrow(self._connection, table, rows)
        mark_stale(self._connection, sorted(self._groups))
        self._with_rows |= self._groups.keys()
        self._bytes = 0
        self._gathered.clear()
        self._groups.clear()

    def _gather(self, run: Run, records: Sequence[msgspec.Struct]) -> None:
        by_kind: defaultdict[type[msgspec.Struct], list[Any]] = defaultdict(list)
        for record in records:
            by_kind[type(record)].append(record)
        if _GROUP in by_kind:
            last = _last_lines(by_kind[_GROUP])
            if not self._groups[run].isdisjoint(last):
                self.flush()
            self._groups[run] |= last.keys()
            by_kind[_GROUP] = list(last.values())
        self._groups[run]  # marks the run, whatever kinds its lines are of
        for kind, same in by_kind.items():
            rows = _arrow_table(run, kind, same)
            self._gathered[kind].append(rows)
            self._bytes += rows.nbytes

    def _drop_earlier_lines(self, groups: pa.Table) -> None:
        """Of the groups of runs that have rows already."""
        self._connection.register("new_groups", groups)
        for sweep, run_name in self._groups.keys() & self._with_rows:
            self._connection.execute(
                f"DELETE FROM groups WHERE {_IS_RUN} AND group_id IN "
                f"(SELECT group_id FROM new_groups WHERE {_IS_RUN})",
                {"sweep": sweep, "run_name": run_name},
            )
        self._connection.unregister("new_groups")

    def _supersede(self, run: Run, resumed: Any) -> None:  # noqa: ANN401 - a struct made from `Resumed`
        """Drops what earlier attempts wrote of steps that are done again.

        A span without a step belongs to those after its start. What became of the groups of those steps
        follows in lines of their own.
        """
        where = f"WHERE {_IS_RUN} AND attempt < $attempt"
        values = {
            **{"sweep": run[0], "run_name": run[1]},
            **{"attempt": resumed.attempt, "step": resumed.from_step},
        }
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
            self._connection.execute(statement, values)


def forget_runs(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
    """Drops every row that came from these runs' traces."""
    for sweep, run_name in runs:
        for table in TABLES.values():
            connection.execute(f"DELETE FROM {table} WHERE {_IS_RUN}", {"sweep": sweep, "run_name": run_name})
    mark_stale(connection, runs)


def mark_stale(connection: duckdb.DuckDBPyConnection, runs: Sequence[Run]) -> None:
    """Have these runs' derived rows computed again."""
    if runs:
        columns = [list(column) for column in zip(*runs, strict=True)]
        connection.execute("INSERT INTO stale_runs SELECT unnest(?), unnest(?)", columns)


def _last_lines(lines: Sequence[Any]) -> dict[int, Any]:
    """The line that counts of each group, in the order of these lines, as if each had been read alone."""
    last: dict[int, Any] = {}
    for line in lines:
        last.pop(line.group, None)
        last[line.group] = line
    return last


def _arrow_table(run: Run, kind: type[msgspec.Struct], records: Sequence[msgspec.Struct]) -> pa.Table:
    """Rows of one run and kind. About a thousand at a time are quickest: they stay in the cache."""
    values = list(zip(*map(msgspec.structs.astuple, records), strict=True))
    columns = {name: pa.array(values[place], type_) for name, place, type_ in _COLUMNS[kind]}
    sweep, run_name = (pa.repeat(value, len(records)) for value in run)
    return pa.table({"sweep": sweep, "run_name": run_name, **columns})


def _columns(model: type[Record]) -> list[tuple[str, int, pa.DataType]]:
    """Name of each column that comes from the lines of a kind, its place in their structs, and its type."""
    places = {name: place for place, name in enumerate(struct_of(model).__struct_fields__)}
    return [
        ("group_id" if name == "group" else name, places[name], _arrow_type(field.annotation))
        for name, field in model.model_fields.items()
        if name not in _NOT_COLUMNS
    ]


def _arrow_type(annotation: Any) -> pa.DataType:  # noqa: ANN401 - any annotation of a record's field
    """Of `int`, `float`, or either with None; everything else is text."""
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((_ARROW[kind] for kind in kinds if kind in _ARROW), pa.string())


_COLUMNS = {struct_of(model): _columns(model) for model in TABLES}
