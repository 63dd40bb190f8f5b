"""Stores of other schemas: migrated, given new views, or left alone with a clear message."""

import duckdb
import pytest
from factories.sweep_factory import write_synthetic_sweep

from results import migration
from results.ingest import IngestError, ingest
from results.store import Store, StoreError
from trainer.paths import store_path


@pytest.fixture
def runs(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=10)
    ingest(tmp_path)
    return tmp_path


def work(runs):
    return runs / ".results-work.duckdb"


def change(runs, *statements):
    with duckdb.connect(str(work(runs))) as connection:
        for statement in statements:
            connection.execute(statement)


def steps(runs):
    return int(Store(runs).query("SELECT count(*) AS n FROM steps")["n"].iloc[0])


def test_a_store_without_a_version_is_migrated_and_says_so(runs):
    change(
        runs,
        "DROP TABLE store_state",
        "CREATE TABLE store_state (schema_sha256 VARCHAR, unpublished BOOLEAN)",
        "INSERT INTO store_state VALUES ('of the first release', false)",
        "ALTER TABLE files DROP COLUMN ctime_ns",
    )
    report = ingest(runs)
    assert report.rebuilt and "earlier release" in report.rebuilt_because
    assert report.lines > 0 and steps(runs) == 5 * 4
    assert ingest(runs).rebuilt_because is None


def test_other_tables_are_filled_again_from_the_files(runs):
    change(
        runs,
        "ALTER TABLE steps DROP COLUMN ess",
        "UPDATE store_state SET tables_sha256 = 'another', schema_version = 1",
    )
    report = ingest(runs)
    assert "(1; this release has" in report.rebuilt_because
    assert Store(runs).query("SELECT count(ess) AS n FROM steps")["n"].iloc[0] == 5 * 4


@pytest.mark.parametrize(
    "told", ["UPDATE store_state SET tables_sha256 = 'another'", "DROP TABLE store_state"]
)
def test_a_reader_refuses_what_an_earlier_release_published_and_says_what_makes_it_again(runs, told):
    """Its columns may be others than those that are asked for."""
    with duckdb.connect(store_path(runs)) as published:
        published.execute(told)
    with pytest.raises(StoreError, match="an earlier release; `sweepctl ingest` makes it again"):
        Store(runs).sweeps()


def test_other_views_are_made_again_without_reading_anything(runs):
    change(
        runs,
        "DROP VIEW fates",
        "CREATE OR REPLACE VIEW staleness AS SELECT 1 AS wrong",
        "CREATE VIEW of_an_earlier_release AS SELECT 1 AS one",
        "UPDATE store_state SET views_sha256 = 'another'",
    )
    report = ingest(runs)
    assert (report.rebuilt, report.lines, report.files, report.published) == (False, 0, 0, True)
    assert not Store(runs).query("SELECT * FROM fates").empty
    assert "share" in Store(runs).query("SELECT * FROM staleness")
    with pytest.raises(StoreError, match="of_an_earlier_release"):
        Store(runs).query("SELECT * FROM of_an_earlier_release")


def test_a_newer_store_is_left_alone_until_it_is_asked_for(runs, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(migration, "_STATE", (99, *migration._STATE[1:]))
        newer.setattr(migration, "SCHEMA_VERSION", 99)
        ingest(runs, rebuild=True)
    before = [path.read_bytes() for path in (work(runs), Store(runs).path)]
    with pytest.raises(IngestError, match=r"newer release.*schema 99.*--rebuild"):
        ingest(runs)
    with pytest.raises(StoreError, match=r"newer release.*schema 99.*--rebuild"):
        Store(runs).query("SELECT 1")
    assert [path.read_bytes() for path in (work(runs), Store(runs).path)] == before
    work(runs).unlink()  # the snapshot alone is enough
    with pytest.raises(IngestError, match=r"newer release.*schema 99"):
        ingest(runs)
    assert not work(runs).exists() and Store(runs).path.read_bytes() == before[1]
    ingest(runs, rebuild=True)
    assert steps(runs) == 5 * 4


@pytest.mark.parametrize("table", ["files", "quarantine", "store_state", "steps"])
def test_a_table_that_is_gone_is_made_again(runs, table):
    change(runs, f"DROP TABLE {table} CASCADE")
    report = ingest(runs)
    assert report.rebuilt and report.rebuilt_because
    assert steps(runs) == 5 * 4
    assert Store(runs).query("SELECT count(*) AS n FROM files")["n"].iloc[0] > 0
