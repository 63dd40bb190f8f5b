"""What cannot be taken in goes to quarantine, and stops neither the ingest nor the report."""

import json
import os

import duckdb
import pytest
from asking import ask, counted

from results.files import sources
from results.ingest import ingest
from results.store import Store
from results.tables.answers import read_answers
from trainer.paths import metadata_path, samples_path


@pytest.fixture
def result(ingested):
    return next(ingested.glob("staleness/s0_opt16*/eval/*/*_0shot.json"))


@pytest.mark.parametrize(
    "change",
    [
        *({"exact_match": value} for value in (float("nan"), float("inf"), 1e300, -1.0)),
        *({"doc_id": value} for value in (2**61, 2**64, -1)),
    ],
)
def test_a_sample_with_an_impossible_number_is_quarantined(ingested, result, change):
    samples, before = samples_path(result), ask(ingested, "SELECT count(*) FROM eval_samples")
    first, *others = samples.read_text().splitlines(keepends=True)
    samples.write_text(json.dumps(json.loads(first) | change) + "\n" + "".join(others))
    assert ingest(ingested).quarantined == 1
    assert next(iter(change)) in ask(ingested, "SELECT reason FROM quarantine")
    assert ask(ingested, "SELECT count(*) FROM eval_samples") == before - 1
    assert read_answers(Store(ingested), "staleness").questions.max() == 10


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400], ids=["nan", "inf", "huge"])
def test_a_metric_that_is_no_finite_number_is_quarantined(ingested, result, number):
    content = json.loads(result.read_text())
    content["results"]["arithmetic_cot"]["exact_match,strict-match"] = number
    content["config"]["limit"] = number
    result.write_text(json.dumps(content))
    assert ingest(ingested).quarantined == 1
    assert "finite" in ask(ingested, "SELECT reason FROM quarantine")
    key = result.relative_to(ingested).as_posix()
    assert ask(ingested, "SELECT string_agg(filter) FROM evals WHERE path = ?", key) == "flexible-extract"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_margin_that_is_no_finite_number_is_quarantined(ingested, number):
    manifest = ingested / "staleness" / "sweep.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"margin": number}))
    assert ingest(ingested).quarantined == 1
    assert "margin" in ask(ingested, "SELECT reason FROM quarantine")
    assert ask(ingested, "SELECT margin FROM sweeps") == 2.0


def test_torn_metadata_is_quarantined_and_a_result_of_our_own_waits_for_it(ingested, result):
    meta, before = metadata_path(result), counted(ingested)
    content = json.loads(result.read_text())
    result.write_text(json.dumps(content | {"config": content["config"] | {"model": "EngineModel"}}))
    whole = '{"evaluation_id": "e", "wall_s": 2.5}'
    meta.write_text(whole[: len(whole) // 2])
    assert ingest(ingested).quarantined == 1
    assert ask(ingested, "SELECT path FROM quarantine") == meta.relative_to(ingested).as_posix()
    key = result.relative_to(ingested).as_posix()
    assert ask(ingested, "SELECT count(*) FROM evals WHERE path = ?", key) == 0
    meta.write_text(whole)
    ingest(ingested)
    assert ask(ingested, "SELECT count(*) FROM quarantine") == 0
    assert counted(ingested) == before
    result.write_text(json.dumps(content | {"config": {"model": "hf"}}))  # made by hand: it counts without
    meta.write_text("{")
    assert ingest(ingested).quarantined == 1
    assert counted(ingested) == before


@pytest.mark.parametrize("level", ["sweep", "run", "eval", "base_models"])
def test_of_a_folder_that_cannot_be_read_nothing_is_forgotten(ingested, level, monkeypatch):
    run = next(ingested.glob("staleness/s0_opt16*"))
    folder = {
        "sweep": ingested / "staleness",
        "run": run,
        "eval": run / "eval",
        "base_models": ingested / "staleness" / "base_models",
    }[level]
    before, scandir = counted(ingested), os.scandir

    def refuse(path):
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(sources.os, "scandir", refuse)
        (ingested / "staleness" / "sweep.json").touch()  # the sweep is to be read again
        assert ingest(ingested).quarantined == 1
        assert counted(ingested) == before
        assert ask(ingested, "SELECT path FROM quarantine") == folder.relative_to(ingested).as_posix()
        assert "Permission denied" in ask(ingested, "SELECT reason FROM quarantine")
        assert not ingest(ingested).published, "said once"
    ingest(ingested)
    assert counted(ingested) == before
    assert ask(ingested, "SELECT count(*) FROM quarantine") == 0


@pytest.mark.parametrize("place", ["", "staleness", "staleness/base_models", "by_hand"])
def test_a_folder_whose_name_is_not_utf8_is_passed_over(ingested, place):
    (ingested / place).mkdir(exist_ok=True)
    before = counted(ingested)
    folder = ingested / place / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "trace.jsonl").touch()
    assert ingest(ingested).quarantined == 1
    assert ask(ingested, "SELECT path FROM quarantine") == f"{place}/caf\\xe9".lstrip("/")
    assert counted(ingested) == before
    folder.rename(folder.with_name("cafe"))
    ingest(ingested)
    assert ask(ingested, "SELECT count(*) FROM quarantine") == 0


def test_an_ingest_killed_before_it_forgets_finds_the_same_files_gone_again(ingested, monkeypatch):
    run = next(ingested.glob("staleness/s0_opt16*"))
    (run / "status.json").unlink()

    def killed(*_):
        raise duckdb.ProgrammingError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("results.files.reading.read_sweep", killed)
        with pytest.raises(duckdb.ProgrammingError):
            ingest(ingested)
    ingest(ingested)
    assert ask(ingested, "SELECT state FROM runs WHERE run_name = ?", run.name) == "pending"
