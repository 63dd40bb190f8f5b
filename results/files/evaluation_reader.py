"""lm-eval's results and samples -> rows of `evals` and `eval_samples`, whole files at a time."""

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import duckdb
import pyarrow as pa

from results.files.evaluations import SAMPLES, Meta, evaluation_rows, read_metadata, sample_columns
from results.files.ledger import Ledger
from results.files.rows import Row, column_types, insert_arrow, insert_rows, storable
from results.files.sources import Source
from results.files.sweeps import BadFileError
from results.files.tail import Chunk, read_new_lines
from results.files.trace_decoder import BadLine, decode_lines
from trainer.paths import metadata_path

_FILES_AT_ONCE = 256
"""In a transaction."""


def read_evaluations(ledger: Ledger, sources: Mapping[str, Source], gone: Set[str]) -> None:
    """Reads the results that are new or have changed, or whose metadata has.

    Args:
        ledger: of the working store.
        sources: all files that are there, by key.
        gone: keys of files that are there no longer.
    """
    touched = [
        (source, meta)
        for source in sources.values()
        if source.kind == "evaluation"
        for key in [metadata_path(Path(source.key)).as_posix()]
        for meta in [sources.get(key)]
        if ledger.is_touched(source) or key in gone or (meta is not None and ledger.is_touched(meta))
    ]
    for first in range(0, len(touched), _FILES_AT_ONCE):
        with ledger.transaction():
            _read_results(ledger, touched[first : first + _FILES_AT_ONCE])


def read_samples(ledger: Ledger, samples: Iterable[Source]) -> None:
    """Reads sample files that are new or have changed, each from its start: they are replaced whole."""
    for source in samples:
        if not ledger.is_touched(source):
            continue
        try:
            for chunk in read_new_lines(ledger.path(source), None):
                with ledger.transaction():
                    _add_samples(ledger, source, chunk)
        except FileNotFoundError:
            continue  # the next ingest drops its rows
        except OSError as error:
            with ledger.transaction():
                ledger.refuse(source, error)


def forget_results(connection: duckdb.DuckDBPyConnection, keys: Sequence[str]) -> None:
    """Drops the rows of result files."""
    connection.execute("DELETE FROM evals WHERE path IN (SELECT unnest(?))", [list(keys)])


def forget_samples(connection: duckdb.DuckDBPyConnection, key: str) -> None:
    """Drops the rows of a sample file."""
    connection.execute("DELETE FROM eval_samples WHERE path = ?", [_result_key(key)])


def _read_results(ledger: Ledger, touched: Sequence[tuple[Source, Source | None]]) -> None:
    forget_results(ledger.connection, [source.key for source, _ in touched])
    types = column_types(ledger.connection, "evals")
    rows: list[Row] = []
    for source, meta in touched:
        ledger.release(source)
        ledger.remember(source)
        if meta is not None:
            ledger.release(meta)
            ledger.remember(meta)
        ledger.count(source)
        try:
            beside = _metadata(ledger, source, meta)
            found, complaints = storable(types, evaluation_rows(ledger.path(source), beside, ledger.runs_dir))
        except BadFileError as error:
            found, complaints = [], [str(error)]
        except OSError as error:
            ledger.refuse(source, error)
            continue
        rows += found
        ledger.quarantine(source, [BadLine(0, complaint, "") for complaint in complaints])
    insert_rows(ledger.connection, "evals", rows)


def _metadata(ledger: Ledger, source: Source, meta: Source | None) -> Meta | None:
    """What lies beside a result, or None where it is missing or unreadable; the latter is put on record."""
    try:
        return read_metadata(ledger.path(source))
    except BadFileError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    ledger.quarantine(meta or source, [BadLine(0, reason, "")])
    return None


def _add_samples(ledger: Ledger, source: Source, chunk: Chunk) -> None:
    lines, bad = decode_lines(chunk, SAMPLES)
    if chunk.from_start:
        forget_samples(ledger.connection, source.key)
        ledger.release(source)
    if lines:
        columns = sample_columns(lines, ledger.runs_dir / _result_key(source.key), ledger.runs_dir)
        insert_arrow(ledger.connection, "eval_samples", pa.table(columns))
    ledger.quarantine(source, bad)
    ledger.remember(source, chunk.position)
    ledger.count(source, len(chunk.lines))


def _result_key(samples_key: str) -> str:
    """The result that a sample file belongs to."""
    return samples_key.removesuffix(".samples.jsonl") + ".json"
