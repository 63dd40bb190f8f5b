"""The reader: never blocked by a writer, never seeing half of anything."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest
from results.store import Store, StoreError

ROOT = Path(__file__).parents[2]

WRITER = """
import sys, time
from pathlib import Path
from results.ingest import ingest
trace, source, runs = map(Path, sys.argv[1:])
lines = source.read_bytes().splitlines(keepends=True)
end = time.monotonic() + 3.0
while time.monotonic() < end and lines:
    with trace.open("ab") as file:
        file.writelines(lines[:40])
    lines = lines[40:]
    ingest(runs)
"""


def test_no_store_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(StoreError, match="sweepctl run"):
        Store(tmp_path).query("SELECT 1")
    with pytest.raises(StoreError, match="sweepctl run"):
        _ = Store(tmp_path).mtime


def test_a_wrong_query_is_a_store_error(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=10)
    ingest(tmp_path)
    with pytest.raises(StoreError, match="no_such_table"):
        Store(tmp_path).query("SELECT * FROM no_such_table")


def test_the_snapshot_cannot_be_written(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=10)
    ingest(tmp_path)
    with pytest.raises(StoreError, match="read-only"):
        Store(tmp_path).query("DELETE FROM runs")


def test_sweeps_are_listed_most_recent_first(tmp_path):
    write_synthetic_sweep(tmp_path, name="older", steps=4, questions=10)
    newer = write_synthetic_sweep(tmp_path, name="newer", steps=4, questions=10)
    manifest = newer / "sweep.json"
    manifest.write_text(
        manifest.read_text().replace('"created_unix": 1768000000.0', '"created_unix": 1768000001.0')
    )
    ingest(tmp_path)
    assert list(Store(tmp_path).sweeps()["sweep"]) == ["newer", "older"]


def test_a_reader_sees_only_whole_and_growing_snapshots(tmp_path):
    runs = tmp_path / "runs"
    folder = write_synthetic_sweep(runs, steps=30, questions=10)
    trace = next(folder.glob("s1_opt16*/trace.jsonl"))
    lines = tmp_path / "lines"
    trace.replace(lines)
    ingest(runs)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, trace, lines, runs], cwd=ROOT)
    store, seen = Store(runs), []
    while writer.poll() is None:
        counts = store.query(
            "SELECT (SELECT count(*) FROM groups) AS groups, (SELECT count(*) FROM steps) AS steps"
        )
        seen.append((int(counts["groups"].iloc[0]), int(counts["steps"].iloc[0])))
        time.sleep(0.005)
    assert writer.returncode == 0
    assert len(set(seen)) > 3, "the writer published while the reader read"
    assert seen == sorted(seen)
