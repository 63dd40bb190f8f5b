"""The reader of the published store; `test_results_readers` has it read beside a writer."""

import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest
from results.store import Store, StoreError


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
