"""Whatever the order in which files grew and were ingested, the store says the same as one made at once."""

import json
import re

import duckdb
import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, synthetic_trace, write_synthetic_sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from results.ingest import ingest
from trainer.config import RunConfig, RunFile
from trainer.paths import SweepPaths
from trainer.records import Fate

BOOKKEEPING = {"files", "store_state"}
"""Times of files differ; the schema is compared by its use."""


def contents(runs_dir):
    """Every row of every table and view of the published store, floats as their bits."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"ATTACH '{runs_dir / 'results.duckdb'}' AS results (READ_ONLY)")
        connection.execute("USE results")
        found = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'results' UNION ALL "
            "SELECT view_name FROM duckdb_views() WHERE database_name = 'results' AND NOT internal"
        ).fetchall()
        names = sorted({name for (name,) in found} - BOOKKEEPING)
        # repr of a float is exact, and tells -0.0 from 0.0
        return {
            name: sorted(repr(row) for row in connection.execute(f"FROM {name}").fetchall()) for name in names
        }


def resumed_trace(file, steps, seed):
    """Two attempts: the first dies half-way, the second goes on from its last checkpoint."""
    rng = np.random.default_rng(seed)
    half = steps // 2
    first = list(synthetic_trace(rng, file, half, finish=False))
    end = max(record.t for record in first)
    later = synthetic_trace(rng, file, steps, finish=True, attempt=2, first_group=1000, start_s=end)
    second = [
        record.model_copy(update={"from_step": half - 2}) if record.kind == "resumed" else record
        for record in later
        if record.kind != "step" or record.step >= half - 2
    ]
    lost = {"attempt": 2, "t": end, "fate": Fate.DISCARDED, "step": None, "consumed_s": None}
    second += [
        record.model_copy(update=lost)
        for record in first
        if record.kind == "group" and record.step is not None and record.step >= half - 2
    ]
    second.sort(key=lambda record: (record.kind not in {"run_started", "resumed"}, record.t))
    return [*sorted(first, key=lambda record: record.t), *second]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A sweep's files as bytes, some traces with a resume, one with damaged lines; and its store."""
    runs = tmp_path_factory.mktemp("whole")
    sweep = SweepPaths(write_synthetic_sweep(runs, steps=16, questions=8))
    for seed, arm in enumerate(REFERENCE_ARMS[3:]):
        config = RunConfig.model_validate(arm.config(16, 0))
        paths = sweep.run(arm.run_name(0, several=False))
        file = RunFile(sweep=sweep.name, run_name=paths.root.name, run_id=config.run_id(), config=config)
        lines = [record.model_dump_json() + "\n" for record in resumed_trace(file, 16, seed)]
        lines.insert(40, '{"v":1,"kind":"ste\n')
        lines.insert(60, lines[50])  # a line that is there twice
        paths.trace.write_text("".join(lines))
    ingest(runs)
    files = {path.relative_to(runs): path.read_bytes() for path in sweep.root.rglob("*") if path.is_file()}
    return files, contents(runs)


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_interleaving_of_growth_and_ingests_gives_the_same_store(tmp_path_factory, written, data):
    files, whole = written
    runs = tmp_path_factory.mktemp("grown")
    growing = [path for path in files if path.name == "trace.jsonl"]
    others = data.draw(st.permutations([path for path in files if path.name != "trace.jsonl"]))
    rounds = data.draw(st.integers(1, 3))
    cuts = st.lists(st.sampled_from(range(0, 101, 7)), min_size=rounds, max_size=rounds)
    ends = {
        path: [len(files[path]) * percent // 100 for percent in sorted(data.draw(cuts))] for path in growing
    }
    for turn in range(rounds):
        for path in others[turn::rounds]:
            (runs / path).parent.mkdir(parents=True, exist_ok=True)
            (runs / path).write_bytes(files[path])
        for path in data.draw(st.permutations(growing)):
            (runs / path).parent.mkdir(parents=True, exist_ok=True)
            with (runs / path).open("ab") as trace:
                trace.write(files[path][trace.tell() : ends[path][turn]])
        ingest(runs)
    for path in growing:
        (runs / path).write_bytes(files[path])
    ingest(runs)
    grown = contents(runs)
    assert {name: rows for name, rows in grown.items() if rows != whole[name]} == {}


def test_runs_that_get_other_names_are_the_same_but_for_the_names(tmp_path, written):
    """As `sweepctl run` does it: directory, configuration and plan get the name, no trace does."""
    files, whole = written
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    ingest(tmp_path)
    (sweep,) = (SweepPaths(path) for path in tmp_path.iterdir() if path.is_dir())
    manifest = json.loads(sweep.manifest.read_bytes())
    names = [run["run_name"] for run in manifest["runs"]]
    for run in manifest["runs"]:
        run["run_name"] += "_seed0"
    for paths in (sweep.run(name) for name in names if sweep.run(name).root.exists()):
        config = json.loads(paths.config.read_bytes())
        paths.config.write_text(json.dumps(config | {"run_name": f"{paths.root.name}_seed0"}))
        paths.root.rename(sweep.run(f"{paths.root.name}_seed0").root)
    sweep.manifest.write_text(json.dumps(manifest))
    ingest(tmp_path)
    a_name = re.compile(rf"({'|'.join(map(re.escape, names))})(?=['/])")
    expected = {table: sorted(a_name.sub(r"\1_seed0", row) for row in rows) for table, rows in whole.items()}
    found = contents(tmp_path)
    assert {table: rows for table, rows in found.items() if rows != expected[table]} == {}
    assert any("_seed0" in row for row in expected["steps"])


def test_what_is_compared_is_not_empty(written):
    _, whole = written
    empty = {name for name, rows in whole.items() if not rows}
    assert not empty & {
        "runs",
        "comparisons",
        "attempts",
        "resumes",
        "dispatches",
        "groups",
        "steps",
        "spans",
    }
    assert not empty & {"syncs", "finishes", "evals", "eval_samples", "quarantine", "step_modes", "run_rates"}
    assert not empty & {"run_summary", "speedups", "accuracy", "accuracy_deltas", "staleness", "fates"}
    assert {"run_summary", "speedups", "accuracy_deltas", "staleness", "fates", "step_modes"} <= whole.keys()
