"""What is computed before the first page is asked for, and never of two snapshots."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import data, main
from dashboard.data import SnapshotReplacedError, load_report, published_at
from dashboard.warm import warm_up
from results.report.build import build_report

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")


@pytest.fixture
def built(monkeypatch):
    """Names of the sweeps whose report is computed, from nothing cached."""
    load_report.clear()
    names = []

    def counted(store, sweep):
        names.append(sweep)
        return build_report(store, sweep)

    monkeypatch.setattr(data, "build_report", counted)
    return names


@pytest.fixture
def served_from(monkeypatch):
    return lambda runs_dir: monkeypatch.setenv("SWEEPCTL_RUNS_DIR", str(runs_dir))


def test_the_first_page_finds_the_report_that_the_server_has_computed(built, served_from, runs_dir):
    served_from(runs_dir)
    warm_up()
    assert built == ["fresh"]
    app = AppTest.from_file(APP, default_timeout=120).run()
    assert not app.exception
    assert app.selectbox(key="sweep").value == "fresh"
    assert built == ["fresh"]


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 500])
def test_without_a_whole_store_there_is_nothing_to_compute(built, served_from, tmp_path, content):
    served_from(tmp_path)
    if content is not None:
        (tmp_path / "results.duckdb").write_bytes(content)
    warm_up()
    assert built == []


def test_nothing_is_cached_for_a_snapshot_that_is_no_longer_there(runs_dir):
    now = published_at(runs_dir)
    for load in (data.sweeps, data.sweep_names):
        with pytest.raises(SnapshotReplacedError):
            load(runs_dir, now - 1)
    with pytest.raises(SnapshotReplacedError):
        load_report(runs_dir, now - 1, "staleness")
    assert load_report(runs_dir, now, "staleness").published_unix == now


def test_a_page_that_a_new_snapshot_interrupts_is_drawn_of_the_new_one(served_from, runs_dir, monkeypatch):
    served_from(runs_dir)
    found = [published_at(runs_dir) - 1]  # what was there when the page began

    monkeypatch.setattr(main, "published_at", lambda folder: found.pop() if found else published_at(folder))
    app = AppTest.from_file(APP, default_timeout=120).run()
    assert not app.exception
    assert not found
    assert app.title[0].value == "Overview"
    assert app.dataframe


def test_where_snapshots_come_faster_than_the_page_it_says_so(served_from, runs_dir, monkeypatch):
    served_from(runs_dir)
    begun = []

    def always_old(folder):
        begun.append(folder)
        return published_at(folder) - len(begun)

    monkeypatch.setattr(main, "published_at", always_old)
    app = AppTest.from_file(APP, default_timeout=120).run()
    assert not app.exception
    assert len(begun) == 4
    assert any("faster than this page can be drawn" in info.value for info in app.info)
