"""What cannot be taken in goes to quarantine, and stops neither the ingest nor the report."""

import json
import os

import duckdb
import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.files import sources
from results.ingest import ingest
from results.store import Store
from results.tables.answers import read_answers
from trainer.paths import metadata_path, samples_path


@pytest.fixture
def runs(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=10)
    ingest(tmp_path)
    return tmp_path


@pytest.fixture
def result(runs):
    return next(runs.glob("staleness/s0_opt16*/eval/*/*_0shot.json"))


def ask(runs_dir, sql, *params):
    return Store(runs_dir).query(sql, list(params)).iloc[0, 0]


def counted(runs_dir):
    tables = ("runs", "groups", "steps", "evals", "eval_samples", "published_runs", "comparisons")
    return [ask(runs_dir, f"SELECT count(*) FROM {table}") for table in tables]


@pytest.mark.parametrize(
    "change",
    [
        *({"exact_match": value} for value in (float("nan"), float("inf"), 1e300, -1.0)),
        *({"doc_id": value} for value in (2**61, 2**64, -1)),
    ],
)
def test_a_sample_with_an_impossible_number_is_quarantined(runs, result, change):
    samples, before = samples_path(result), ask(runs, "SELECT count(*) FROM eval_samples")
    first, *others = samples.read_text().splitlines(keepends=True)
    samples.write_text(json.dumps(json.loads(first) | change) + "\n" + "".join(others))
    assert ingest(runs).quarantined == 1
    assert next(iter(change)) in ask(runs, "SELECT reason FROM quarantine")
    assert ask(runs, "SELECT count(*) FROM eval_samples") == before - 1
    assert read_answers(Store(runs), "staleness").questions.max() == 10


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400], ids=["nan", "inf", "huge"])
def test_a_metric_that_is_no_finite_number_is_quarantined(runs, result, number):
    content = json.loads(result.read_text())
    content["results"]["arithmetic_cot"]["exact_match,strict-match"] = number
    content["config"]["limit"] = number
    result.write_text(json.dumps(content))
    assert ingest(runs).quarantined == 1
    assert "finite" in ask(runs, "SELECT reason FROM quarantine")
    key = result.relative_to(runs).as_posix()
    assert ask(runs, "SELECT string_agg(filter) FROM evals WHERE path = ?", key) == "flexible-extract"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_margin_that_is_no_finite_number_is_quarantined(runs, number):
    manifest = runs / "staleness" / "sweep.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"margin": number}))
    assert ingest(runs).quarantined == 1
    assert "margin" in ask(runs, "SELECT reason FROM quarantine")
    assert ask(runs, "SELECT margin FROM sweeps") == 2.0


def test_torn_metadata_is_quarantined_and_a_result_of_our_own_waits_for_it(runs, result):
    meta, before = metadata_path(result), counted(runs)
    content = json.loads(result.read_text())
    result.write_text(json.dumps(content | {"config": content["config"] | {"model": "EngineModel"}}))
    whole = '{"evaluation_id": "e", "wall_s": 2.5}'
    meta.write_text(whole[: len(whole) // 2])
    assert ingest(runs).quarantined == 1
    assert ask(runs, "SELECT path FROM quarantine") == meta.relative_to(runs).as_posix()
    key = result.relative_to(runs).as_posix()
    assert ask(runs, "SELECT count(*) FROM evals WHERE path = ?", key) == 0
    meta.write_text(whole)
    ingest(runs)
    assert ask(runs, "SELECT count(*) FROM quarantine") == 0
    assert counted(runs) == before
    result.write_text(json.dumps(content | {"config": {"model": "hf"}}))  # made by hand: it counts without
    meta.write_text("{")
    assert ingest(runs).quarantined == 1
    assert counted(runs) == before


@pytest.mark.parametrize("level", ["sweep", "run", "eval", "base_models"])
def test_of_a_folder_that_cannot_be_read_nothing_is_forgotten(runs, level, monkeypatch):
    run = next(runs.glob("staleness/s0_opt16*"))
    folder = {
        "sweep": runs / "staleness",
        "run": run,
        "eval": run / "eval",
        "base_models": runs / "staleness" / "base_models",
    }[level]
    before, scandir = counted(runs), os.scandir

    def refuse(path):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(sources.os, "scandir", refuse)
        (runs / "staleness" / "sweep.json").touch()  # the sweep is to be read again
        assert ingest(runs).quarantined == 1
        assert counted(runs) == before
        assert ask(runs, "SELECT path FROM quarantine") == folder.relative_to(runs).as_posix()
        assert "Permission denied" in ask(runs, "SELECT reason FROM quarantine")
        assert not ingest(runs).published, "said once"
    ingest(runs)
    assert counted(runs) == before
    assert ask(runs, "SELECT count(*) FROM quarantine") == 0


@pytest.mark.parametrize("place", ["", "staleness", "staleness/base_models", "by_hand"])
def test_a_folder_whose_name_is_not_utf8_is_passed_over(runs, place):
    (runs / place).mkdir(exist_ok=True)
    before = counted(runs)
    folder = runs / place / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "trace.jsonl").touch()
    assert ingest(runs).quarantined == 1
    assert ask(runs, "SELECT path FROM quarantine") == f"{place}/caf\\xe9".lstrip("/")
    assert counted(runs) == before
    folder.rename(folder.with_name("cafe"))
    ingest(runs)
    assert ask(runs, "SELECT count(*) FROM quarantine") == 0


def test_an_ingest_killed_before_it_forgets_finds_the_same_files_gone_again(runs, monkeypatch):
    run = next(runs.glob("staleness/s0_opt16*"))
    (run / "status.json").unlink()

    def killed(*_):
        raise duckdb.ProgrammingError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("results.files.reading.read_sweep", killed)
        with pytest.raises(duckdb.ProgrammingError):
            ingest(runs)
    ingest(runs)
    assert ask(runs, "SELECT state FROM runs WHERE run_name = ?", run.name) == "pending"
