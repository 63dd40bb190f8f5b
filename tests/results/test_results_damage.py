"""Damaged files of every kind: a clear message, nothing lost, and the next ingest or `--rebuild` heals."""

import json
import os
import shutil

import duckdb
import numpy as np
import pytest
from asking import ask, counted
from factories.sweep_factory import REFERENCE_ARMS, synthetic_trace

from results import ingest as ingest_module
from results.ingest import IngestError, ingest
from results.store import Store, StoreError
from trainer.config import RunConfig, RunFile
from trainer.paths import samples_path
from trainer.records import Warned


@pytest.fixture
def trace(tmp_path):
    """A run of its own, with the path of its trace, and the lines to be."""
    config = RunConfig.model_validate(REFERENCE_ARMS[0].config(3, 0))
    file = RunFile(sweep="s", run_name="r", run_id=config.run_id(), config=config)
    folder = tmp_path / "s" / "r"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(file.model_dump_json())
    records = synthetic_trace(np.random.default_rng(0), file, 3, finish=True)
    lines = [record.model_dump_json().encode() + b"\n" for record in records]
    return folder / "trace.jsonl", lines


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", ["half", "empty", "garbage", "header"])
def test_a_damaged_working_store_is_made_again(ingested, damage):
    work, before = ingested / ".results-work.duckdb", counted(ingested)
    content = bytearray(work.read_bytes())
    content[100:200] = b"\xff" * 100
    {
        "half": lambda: cut_in_half(work),
        "empty": lambda: work.write_bytes(b""),
        "garbage": lambda: work.write_bytes(b"no database" * 5000),
        "header": lambda: work.write_bytes(content),
    }[damage]()
    report = ingest(ingested)
    assert report.rebuilt and ("damaged" in report.rebuilt_because or "cut off" in report.rebuilt_because)
    assert counted(ingested) == before


@pytest.mark.parametrize("damage", ["half", "garbage", "empty"])
def test_a_damaged_snapshot_says_so_and_the_next_ingest_replaces_it(ingested, damage):
    snapshot, before = Store(ingested).path, counted(ingested)
    {
        "half": lambda: cut_in_half(snapshot),
        "empty": lambda: snapshot.write_bytes(b""),
        "garbage": lambda: snapshot.write_bytes(b"no database" * 5000),
    }[damage]()
    with pytest.raises(StoreError, match=r"(?s)results.duckdb.*damaged.*sweepctl ingest"):
        for table in ("sweeps", "runs", "steps", "groups", "eval_samples", "quarantine", "run_rates"):
            Store(ingested).query(f"SELECT * FROM {table}")
    report = ingest(ingested)
    assert (report.published, report.rebuilt, report.lines) == (True, False, 0)
    assert counted(ingested) == before


def test_a_full_disk_is_an_error_with_the_next_step_and_keeps_the_old_snapshot(ingested, monkeypatch):
    before = counted(ingested)
    shutil.rmtree(next(ingested.glob("staleness/s0_opt16*")))

    def full(*_):
        raise OSError(28, "No space left on device", str(ingested / ".results-publish.duckdb"))

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module.shutil, "copyfile", full)
        with pytest.raises(IngestError, match=r"No space left on device.*free space"):
            ingest(ingested)
    assert counted(ingested) == before
    assert ingest(ingested).published and counted(ingested) != before


def test_nul_bytes_and_huge_lines_lose_no_other_line(trace):
    path, lines = trace
    runs = path.parents[2]
    large = Warned(attempt=1, t=1.0, message="x" * 10_000_000).model_dump_json().encode() + b"\n"
    path.write_bytes(
        b"".join(
            [
                *lines[:5],
                b"\0" * 4096 + b"\n",  # what a file system leaves after a crash
                large,
                *lines[5:9],
                b'{"v":1,' + b"y" * 10_000_000 + b"\n",
                lines[9][:30] + b"\0" * 10 + lines[9][40:],
                *lines[10:],
            ]
        )
    )
    report = ingest(runs)
    assert report.quarantined == 3 and report.lines == len(lines) + 3
    kept = Store(runs).query("SELECT * FROM quarantine ORDER BY byte_offset")
    content = path.read_bytes()
    assert all(kept["reason"]) and kept["excerpt"].str.len().max() <= 200
    for offset, excerpt in zip(kept["byte_offset"], kept["excerpt"], strict=True):
        assert content[offset:].startswith(excerpt[:5].encode())
    assert ask(runs, "SELECT length(message) FROM warnings") == 10_000_000
    rows = " + ".join(
        f"(SELECT count(*) FROM {table})"
        for table in (
            "attempts",
            "dispatches",
            "groups",
            "steps",
            "spans",
            "syncs",
            "checkpoints",
            "finishes",
        )
    )
    assert ask(runs, f"SELECT {rows}") == len(lines) - 1


def test_a_large_torn_line_waits_and_is_read_when_it_is_whole(trace):
    path, lines = trace
    runs = path.parents[2]
    large = Warned(attempt=1, t=1.0, message="x" * 3_000_000).model_dump_json().encode() + b"\n"
    path.write_bytes(b"".join(lines) + large[:-2])
    assert ingest(runs).quarantined == 0
    assert ask(runs, "SELECT count(*) FROM warnings") == 0
    with path.open("ab") as file:
        file.write(large[-2:])
    assert ingest(runs).lines == 1
    assert ask(runs, "SELECT count(*) FROM warnings") == 1


def test_a_number_that_no_column_holds_is_quarantined(trace):
    path, lines = trace
    runs = path.parents[2]
    (step,) = [n for n, line in enumerate(lines) if b'"kind":"step"' in line][:1]
    lines[step] = lines[step].replace(b'"completion_tokens":', b'"completion_tokens":99999999999999999999')
    path.write_bytes(b"".join(lines))
    assert ingest(runs).quarantined == 1
    assert "64 bits" in ask(runs, "SELECT reason FROM quarantine")
    assert ask(runs, "SELECT count(*) FROM steps") == 2


def test_a_clock_that_jumps_hides_no_change(trace):
    path, lines = trace
    runs = path.parents[2]
    path.write_bytes(b"".join(lines))
    ingest(runs)
    first = path.stat()
    other = b"".join(lines).replace(b'"engine":"synthetic 0"', b'"engine":"synthetic 1"')
    path.write_bytes(other)  # the same size
    os.utime(path, ns=(first.st_atime_ns, first.st_mtime_ns))  # and the same time
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (first.st_size, first.st_mtime_ns)
    assert ingest(runs).lines == len(lines)
    assert ask(runs, "SELECT engine FROM attempts") == "synthetic 1"
    with path.open("ab") as file:
        file.write(Warned(attempt=1, t=1.0, message="later").model_dump_json().encode() + b"\n")
    os.utime(path, (1.0, 1.0))  # long ago
    assert ingest(runs).lines == 1
    assert ask(runs, "SELECT message FROM warnings") == "later"


def test_a_replaced_file_that_is_longer_is_read_from_the_start(trace):
    path, lines = trace
    runs = path.parents[2]
    path.write_bytes(b"".join(lines[:10]))
    ingest(runs)
    path.write_bytes(b"".join(lines).replace(b'"engine":"synthetic 0"', b'"engine":"another, longer"'))
    assert ingest(runs).lines == len(lines)
    assert ask(runs, "SELECT string_agg(engine) FROM attempts") == "another, longer"


def test_an_evaluation_with_na_values_keeps_the_others(ingested):
    result = next(ingested.glob("staleness/s0_opt16*/eval/*/*_0shot.json"))
    content = json.loads(result.read_text())
    metrics = content["results"]["arithmetic_cot"]
    metrics |= {
        "exact_match,strict-match": "N/A",
        "exact_match_stderr,flexible-extract": "N/A",
        "alias": "N/A",
    }
    result.write_text(json.dumps(content))
    ingest(ingested)
    key = result.relative_to(ingested).as_posix()
    rows = Store(ingested).query("SELECT filter, value, stderr FROM evals WHERE path = ?", [key])
    assert list(rows["filter"]) == ["flexible-extract"]
    assert rows["value"].notna().all() and rows["stderr"].isna().all()


def test_an_evaluation_with_numbers_that_fit_nowhere_is_on_record(ingested):
    result = next(ingested.glob("staleness/s0_opt16*/eval/*/*_0shot.json"))
    content = json.loads(result.read_text())
    content["n-samples"]["arithmetic_cot"]["effective"] = 10**30
    result.write_text(json.dumps(content))
    assert ingest(ingested).quarantined == 2
    assert "questions" in ask(ingested, "SELECT reason FROM quarantine")


def test_garbage_among_samples_loses_no_other_sample(ingested):
    samples = samples_path(next(ingested.glob("staleness/s0_opt16*/eval/*/*_0shot.json")))
    before = counted(ingested)["eval_samples"]
    lines = samples.read_bytes().splitlines(keepends=True)
    samples.write_bytes(b"".join([*lines[:3], b"\xff\xfe\n", b'{"doc_id": "N/A"}\n', b"\0\0\n", *lines[3:]]))
    assert ingest(ingested).quarantined == 3
    assert counted(ingested)["eval_samples"] == before


def test_a_plan_with_values_of_the_wrong_kind_stops_nothing(ingested):
    manifest = ingested / "staleness" / "sweep.json"
    content = json.loads(manifest.read_text())
    content["runs"][-1]["config"]["max_steps"] = "many"
    manifest.write_text(json.dumps(content))
    assert ingest(ingested).quarantined == 1
    assert "max_steps: 'many'" in ask(ingested, "SELECT reason FROM quarantine")
    assert counted(ingested)["runs"] == 3


def test_a_trace_that_is_a_folder_is_on_record_and_stops_nothing(ingested):
    path = next(ingested.glob("staleness/s0_opt16*/trace.jsonl"))
    steps = ask(ingested, "SELECT count(*) FROM steps")
    path.unlink()
    path.mkdir()
    ingest(ingested)
    assert "cannot be read" in ask(ingested, "SELECT reason FROM quarantine")
    path.rmdir()
    ingest(ingested)
    assert ask(ingested, "SELECT count(*) FROM steps") == steps - 4
    assert ask(ingested, "SELECT count(*) FROM quarantine") == 0


def test_a_heartbeat_touches_one_row(ingested):
    status = next(ingested.glob("staleness/s0_opt16*/status.json"))
    content = json.loads(status.read_text())
    status.write_text(json.dumps(content | {"heartbeat": 5.0, "state": "failed", "reason": "it stopped"}))
    with duckdb.connect(str(ingested / ".results-work.duckdb")) as connection:
        # What a full reading would undo.
        connection.execute("UPDATE runs SET label = label || '!'")
        connection.execute("UPDATE step_modes SET sentence = 'kept'")
    assert ingest(ingested).published
    rows = Store(ingested).query("SELECT label, state, reason, heartbeat_unix FROM runs ORDER BY position")
    assert all(rows["label"].str.endswith("!"))
    assert list(rows["state"]) == ["failed", "succeeded", "infeasible"]
    assert (rows["reason"].iloc[0], rows["heartbeat_unix"].iloc[0]) == ("it stopped", 5.0)
    assert ask(ingested, "SELECT count(*) FROM step_modes WHERE sentence = 'kept'") == 2
