"""What is new in the traces of many runs -> rows, many lines to a transaction."""

from collections.abc import Iterable, Iterator
from itertools import chain

from results.files.ledger import Ledger
from results.files.sources import Source
from results.files.tail import Chunk, read_new_lines
from results.files.trace_decoder import decode_trace
from results.files.trace_rows import TraceRows, forget_runs

_TRANSACTION_BYTES = 32 * 2**20
"""Of lines. A commit is dear where many small ones follow each other; a crash costs reading these again."""

_Piece = tuple[Source, Chunk | OSError]


def read_traces(ledger: Ledger, traces: Iterable[Source]) -> None:
    """Brings the rows of all traces up to date."""
    pieces = _pieces(ledger, traces)
    for first in pieces:
        with ledger.transaction():
            rows = TraceRows(ledger.connection)
            for source, chunk in _some(first, pieces):
                if isinstance(chunk, OSError):
                    ledger.refuse(source, chunk)
                else:
                    _add(ledger, rows, source, chunk)
            rows.flush()


def _add(ledger: Ledger, rows: TraceRows, source: Source, chunk: Chunk) -> None:
    run = (source.sweep, source.run_name)
    if chunk.from_start and ledger.position(source) is not None:
        rows.flush()
        forget_runs(ledger.connection, [run])
        ledger.release(source)
    records, bad = decode_trace(chunk)
    if records or chunk.from_start:
        rows.add(run, records, from_start=chunk.from_start)
    ledger.quarantine(source, bad)
    ledger.remember(source, chunk.position)
    ledger.count(source, len(chunk.lines))


def _pieces(ledger: Ledger, traces: Iterable[Source]) -> Iterator[_Piece]:
    """New chunks of every trace in turn; one that has vanished since is dropped by the next ingest."""
    for source in traces:
        try:
            for chunk in read_new_lines(ledger.path(source), ledger.position(source)):
                yield source, chunk
        except FileNotFoundError:
            continue
        except OSError as error:
            yield source, error


def _some(first: _Piece, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """The first piece and those that follow, as many as a transaction takes."""
    size = 0
    for piece in chain([first], pieces):
        yield piece
        chunk = piece[1]
        size += 0 if isinstance(chunk, OSError) else chunk.position.byte_offset - chunk.start
        if size >= _TRANSACTION_BYTES:
            return
