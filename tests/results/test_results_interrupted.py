"""An ingest that ends half-way: the next one reads the rest, and what stopped it deletes nothing."""

import resource
import signal
import subprocess
import sys

import duckdb
import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.files import tail, trace_reader
from results.files.ledger import Ledger
from results.ingest import IngestError, ingest
from results.store import Store

_TABLES = ("runs", "dispatches", "groups", "steps", "spans", "evals", "eval_samples", "quarantine")


class _KilledError(Exception):
    pass


@pytest.fixture
def runs(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=10)
    return tmp_path


def counted(runs_dir):
    return {t: Store(runs_dir).query(f"SELECT count(*) FROM {t}").iloc[0, 0] for t in _TABLES}


def small_chunks(patch):
    """A few lines to a chunk, and a chunk to a transaction."""
    patch.setattr(tail.read_new_lines, "__defaults__", (2000,))
    patch.setattr(trace_reader, "_TRANSACTION_BYTES", 1)


@pytest.mark.parametrize("kind", ["trace", "samples"])
def test_killed_in_any_transaction_the_next_ingest_reads_the_rest(runs, tmp_path_factory, kind, monkeypatch):
    whole = tmp_path_factory.mktemp("whole")
    write_synthetic_sweep(whole, steps=4, questions=10)
    ingest(whole)
    remember, seen = Ledger.remember, []

    def killed(self, source, position=None):
        if source.kind == kind:
            seen.append(source.key)
            if seen.count(source.key) == 2:
                raise _KilledError
        remember(self, source, position)

    for _ in range(2):  # the second time it goes on from where the first one ended
        seen.clear()
        with monkeypatch.context() as patch:
            small_chunks(patch)
            patch.setattr(Ledger, "remember", killed)
            with pytest.raises(_KilledError):
                ingest(runs)
    ingest(runs)
    assert counted(runs) == counted(whole)
    assert ingest(runs).lines == 0


def test_a_store_that_another_program_has_open_is_left_alone(runs):
    ingest(runs)
    work = runs / ".results-work.duckdb"
    before = work.read_bytes()
    next(runs.glob("*/*/status.json")).touch()
    hold = (
        f"import duckdb, sys; c = duckdb.connect({str(work)!r}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(IngestError, match="another program has it open"):
            ingest(runs)
        other.communicate(b"\n")
    assert work.read_bytes() == before
    assert not ingest(runs).rebuilt


def test_a_disk_that_is_full_deletes_nothing(runs):
    ingest(runs)
    work, before = runs / ".results-work.duckdb", counted(runs)
    with next(runs.glob("*/*/trace.jsonl")).open("ab") as file:
        file.write(b'{"v":1,"kind":"warning","attempt":1,"t":1.0,"message":"%s"}\n' % (b"x" * 2_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(IngestError, match="free space"):
            ingest(runs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    with duckdb.connect(str(work)) as connection:
        assert connection.execute("SELECT count(*) FROM steps").fetchone()[0] == before["steps"]
    assert not ingest(runs).rebuilt
    assert counted(runs) == before
