"""Ingest: incremental, idempotent, and never stopped by a damaged line."""

import json
import shutil

import duckdb
import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, synthetic_trace, write_synthetic_sweep, write_trace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results import ingest as ingest_module
from results.files.tail import read_new_lines
from results.ingest import IngestError, ingest
from results.store import Store
from trainer.config import RunConfig, RunFile
from trainer.paths import metadata_path
from trainer.records import Fate

TRACE_TABLES = [
    "attempts",
    "resumes",
    "dispatches",
    "groups",
    "steps",
    "spans",
    "syncs",
    "checkpoints",
    "finishes",
]


def run_file(steps=4):
    config = RunConfig.model_validate(REFERENCE_ARMS[4].config(steps, 0))
    return RunFile(sweep="s", run_name="r", run_id=config.run_id(), config=config)


def two_attempts():
    """A trace whose first attempt died after three steps and whose second did all four."""
    rng, file = np.random.default_rng(1), run_file()
    first = list(synthetic_trace(rng, file, 3, finish=False))
    end = max(record.t for record in first)
    second = list(synthetic_trace(rng, file, 4, finish=True, attempt=2, first_group=1000, start_s=end))
    lost = [record for record in first if record.kind == "group"]
    second += [
        record.model_copy(
            update={"attempt": 2, "t": end, "fate": Fate.DISCARDED, "step": None, "consumed_s": None}
        )
        for record in lost
    ]
    second.sort(key=lambda record: (record.kind not in {"run_started", "resumed"}, record.t))
    return [*sorted(first, key=lambda record: record.t), *second]


def trace_bytes():
    return "".join(record.model_dump_json() + "\n" for record in two_attempts()).encode()


def empty_run(tmp_path):
    folder = tmp_path / "s" / "r"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(run_file().model_dump_json())
    return folder / "trace.jsonl"


def tables(runs_dir):
    """Everything that came from traces, in an order of its own."""
    store = Store(runs_dir)
    return {name: store.query(f"SELECT * FROM {name} ORDER BY ALL").to_json() for name in TRACE_TABLES}


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The tables of one ingest of the whole trace."""
    runs = tmp_path_factory.mktemp("once")
    empty_run(runs).write_bytes(trace_bytes())
    ingest(runs)
    return tables(runs)


def count(runs_dir, table):
    return int(Store(runs_dir).query(f"SELECT count(*) AS n FROM {table}")["n"].iloc[0])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=12),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    chunk=st.integers(1, 50),
)
def test_any_appends_give_the_lines_once(tmp_path, content, cuts, chunk):
    data = b"".join(line + b"\n" for line in content) + b"torn"
    path = tmp_path / "lines"
    path.unlink(missing_ok=True)
    position, read = None, []
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        with path.open("ab") as file:
            file.write(data[file.tell() : end])
        for piece in read_new_lines(path, position, chunk):
            assert piece.from_start == (position is None)
            assert all(data[at:].startswith(line + b"\n") for at, line in piece.numbered())
            read += piece.lines
            position = piece.position
    assert read == content


@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_any_chunking_gives_the_same_tables(tmp_path_factory, once, cuts):
    runs, data = tmp_path_factory.mktemp("chunks"), trace_bytes()
    trace, at = empty_run(runs), 0
    for end in [*sorted(int(cut * len(data)) for cut in cuts), len(data)]:
        with trace.open("ab") as file:
            file.write(data[at:end])
        at = end
        ingest(runs)
    assert tables(runs) == once


def test_everything_of_a_sweep_is_read(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=6, questions=20)
    report = ingest(tmp_path)
    lines = [json.loads(line) for path in folder.glob("*/trace.jsonl") for line in path.open()]
    assert report.published and report.quarantined == 0
    assert report.lines == len(lines) + 6 * 3 * 2 * 20  # five runs and base, three shots, two filters
    for kind, table in {
        "dispatch": "dispatches",
        "group": "groups",
        "step": "steps",
        "span": "spans",
    }.items():
        assert count(tmp_path, table) == sum(line["kind"] == kind for line in lines)
    assert count(tmp_path, "evals") == 6 * 3 * 2
    assert count(tmp_path, "runs") == 6  # the infeasible one too


def test_again_without_news_changes_nothing(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=10)
    first = ingest(tmp_path)
    before = first.store.stat().st_mtime_ns
    again = ingest(tmp_path)
    assert (again.files, again.lines, again.published) == (0, 0, False)
    assert first.store.stat().st_mtime_ns == before


def test_a_torn_last_line_waits(tmp_path):
    trace, data = empty_run(tmp_path), trace_bytes()
    first = data.index(b"\n") + 1
    trace.write_bytes(data[: first + 20])
    ingest(tmp_path)
    assert (count(tmp_path, "attempts"), count(tmp_path, "quarantine")) == (1, 0)
    trace.write_bytes(data)
    ingest(tmp_path)
    assert count(tmp_path, "quarantine") == 0
    assert count(tmp_path, "attempts") == 2


def test_a_damaged_line_is_kept_on_record_and_stops_nothing(tmp_path, once):
    trace, lines = empty_run(tmp_path), trace_bytes().splitlines(keepends=True)
    damaged = [*lines[:5], b'{"v":1,"kind":"ste\n', b"\xff\xfe\n", b'{"v":2,"kind":"step"}\n', *lines[5:]]
    trace.write_bytes(b"".join(damaged))
    report = ingest(tmp_path)
    assert report.quarantined == 3
    assert tables(tmp_path) == once
    kept = Store(tmp_path).query("SELECT * FROM quarantine ORDER BY byte_offset")
    assert list(kept["path"]) == ["s/r/trace.jsonl"] * 3
    assert kept["byte_offset"].iloc[0] == sum(map(len, lines[:5]))
    assert all(kept["reason"])


def test_a_replaced_trace_is_read_again(tmp_path, once):
    trace, data = empty_run(tmp_path), trace_bytes()
    other = data.replace(b'"engine":"synthetic 0"', b'"engine":"synthetic 1"')
    assert len(other) == len(data)
    trace.write_bytes(other + other[:0])
    ingest(tmp_path)
    trace.write_bytes(data)
    ingest(tmp_path)
    assert tables(tmp_path) == once


def test_a_truncated_trace_is_read_again(tmp_path):
    trace, data = empty_run(tmp_path), trace_bytes()
    trace.write_bytes(data)
    ingest(tmp_path)
    trace.write_bytes(data[: data.index(b"\n") + 1])
    ingest(tmp_path)
    assert (count(tmp_path, "attempts"), count(tmp_path, "steps")) == (1, 0)


def test_resume_discards_what_is_done_again(tmp_path):
    empty_run(tmp_path).write_bytes(trace_bytes())
    ingest(tmp_path)
    store = Store(tmp_path)
    steps = store.query("SELECT step, attempt FROM steps ORDER BY step")
    assert list(steps["step"]) == [0, 1, 2, 3]
    assert set(steps["attempt"]) == {2}
    early = store.query("SELECT DISTINCT fate FROM group_fates WHERE attempt = 1")["fate"]
    assert set(early) == {"discarded"}
    raw = [record for record in two_attempts() if record.kind == "dispatch"]
    assert count(tmp_path, "group_fates") == len(raw)  # every dispatch has one fate


def test_a_cut_off_attempt_does_not_lower_the_trained_token_share(tmp_path):
    empty_run(tmp_path).write_bytes(trace_bytes())
    ingest(tmp_path)
    kept = [r for r in two_attempts() if r.kind == "group" and r.attempt == 2 and r.fate != "discarded"]
    trained = sum(r.completion_tokens for r in kept if r.fate == "trained")
    share = Store(tmp_path).query("SELECT trained_token_share FROM run_summary")["trained_token_share"]
    assert share.iloc[0] == pytest.approx(trained / sum(r.completion_tokens for r in kept))


def test_resume_in_the_middle_keeps_earlier_steps(tmp_path):
    rng, file = np.random.default_rng(3), run_file(steps=6)
    first = list(synthetic_trace(rng, file, 4, finish=False))
    second = [
        record
        for record in synthetic_trace(rng, file, 6, finish=True, attempt=2, first_group=500, start_s=500.0)
        if record.kind != "step" or record.step >= 2
    ]
    second = [r.model_copy(update={"from_step": 2}) if r.kind == "resumed" else r for r in second]
    write_trace(empty_run(tmp_path), [*first, *second])
    ingest(tmp_path)
    steps = Store(tmp_path).query("SELECT step, attempt FROM steps ORDER BY step")
    assert list(zip(steps["step"], steps["attempt"], strict=True)) == [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 2),
        (5, 2),
    ]
    trained = Store(tmp_path).query(
        "SELECT max(step) AS last FROM groups WHERE attempt = 1 AND fate = 'trained'"
    )
    assert trained["last"].iloc[0] == 1


def test_a_dispatch_without_a_fate_is_unresolved(tmp_path):
    records = [r for r in two_attempts() if not (r.kind == "group" and r.group in {0, 1000})]
    write_trace(empty_run(tmp_path), records)
    ingest(tmp_path)
    fates = Store(tmp_path).query(
        "SELECT group_id, fate FROM group_fates WHERE group_id IN (0, 1000) ORDER BY 1"
    )
    assert list(fates["fate"]) == ["unresolved", "unresolved"]


def test_a_group_that_waited_in_a_checkpoint_has_the_fate_of_its_last_line(tmp_path):
    records = two_attempts()
    (line,) = [r for r in records if r.kind == "group" and r.group == 4 and r.attempt == 1]
    records = [r for r in records if not (r.kind == "group" and r.group == 4 and r.attempt == 2)]
    again = line.model_copy(update={"attempt": 2, "t": records[-1].t, "fate": Fate.TRAINED, "step": 0})
    write_trace(empty_run(tmp_path), [*records, again])
    ingest(tmp_path)
    rows = Store(tmp_path).query("SELECT attempt, fate, step FROM groups WHERE group_id = 4")
    assert list(rows.itertuples(index=False, name=None)) == [(2, "trained", 0)]
    # The same in two pieces.
    trace = tmp_path / "s" / "r" / "trace.jsonl"
    whole = trace.read_bytes()
    trace.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    ingest(tmp_path)
    trace.write_bytes(whole)
    ingest(tmp_path)
    rows = Store(tmp_path).query("SELECT attempt, fate, step FROM groups WHERE group_id = 4")
    assert list(rows.itertuples(index=False, name=None)) == [(2, "trained", 0)]


def test_of_two_lines_of_a_group_read_at_once_the_last_counts(tmp_path):
    """As when the attempt between them began anew: nothing parts what is read."""
    records = two_attempts()
    (line,) = [r for r in records if r.kind == "group" and r.group == 4 and r.attempt == 1]
    before = [r for r in records if r.attempt == 1]
    lost = line.model_copy(update={"fate": Fate.DISCARDED, "step": None, "consumed_s": None})
    write_trace(empty_run(tmp_path), [*before, lost])
    ingest(tmp_path)
    rows = Store(tmp_path).query("SELECT fate, step FROM groups WHERE group_id = 4")
    assert rows["fate"].tolist() == ["discarded"]


def test_what_is_gone_is_dropped(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=10)
    write_synthetic_sweep(tmp_path, name="other", steps=4, questions=10)
    ingest(tmp_path)
    shutil.rmtree(folder)
    ingest(tmp_path)
    store = Store(tmp_path)
    for table in ("sweeps", "runs", "steps", "groups", "evals"):
        assert set(store.query(f"SELECT DISTINCT sweep FROM {table}")["sweep"]) == {"other"}
    left = store.query("SELECT count(*) AS n FROM eval_samples WHERE starts_with(path, 'staleness/')")
    assert left["n"].iloc[0] == 0


def test_a_run_that_was_set_aside_is_not_read(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=10)
    run = next(folder.glob("s0_opt16*"))
    shutil.copytree(run, run.with_name(run.name + ".set-aside-20260101-000000"))
    ingest(tmp_path)
    assert count(tmp_path, "runs") == 6


def test_a_changed_evaluation_replaces_its_rows(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=10)
    ingest(tmp_path)
    result = next(folder.glob("s0_opt16*/eval/*/*_0shot.json"))
    content = json.loads(result.read_text())
    content["results"]["arithmetic_cot"]["exact_match,strict-match"] = 0.125
    result.write_text(json.dumps(content))
    ingest(tmp_path)
    key = result.relative_to(tmp_path).as_posix()
    values = Store(tmp_path).query(
        "SELECT value FROM evals WHERE path = ? AND filter = 'strict-match'", [key]
    )
    assert list(values["value"]) == [0.125]


def test_samples_that_differ_in_the_middle_only_replace_their_rows(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=200)
    ingest(tmp_path)
    samples = next(folder.glob("s0_opt16*/eval/*/*_0shot.samples.jsonl"))
    lines = samples.read_text().splitlines(keepends=True)
    middle = json.loads(lines[100])
    flipped = 1.0 - middle["exact_match"]
    lines[100] = json.dumps(middle | {"exact_match": flipped}) + "\n"
    before = samples.stat().st_size
    samples.write_text("".join(lines))
    assert samples.stat().st_size == before
    ingest(tmp_path)
    key = samples.relative_to(tmp_path).as_posix().replace(".samples.jsonl", ".json")
    found = Store(tmp_path).query(
        "SELECT exact_match FROM eval_samples WHERE path = ? AND doc_id = ? AND filter = ?",
        [key, middle["doc_id"], middle["filter"]],
    )
    assert list(found["exact_match"]) == [flipped]


def test_a_result_of_our_own_waits_for_its_metadata_and_one_made_by_hand_does_not(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=10)
    result = next(folder.glob("s0_opt16*/eval/*/*_0shot.json"))
    content = json.loads(result.read_text())
    content["config"]["model"] = "EngineModel"
    result.write_text(json.dumps(content))

    def rows():
        assert ingest(tmp_path).quarantined == 0
        return Store(tmp_path).query(
            "SELECT evaluation_id FROM evals WHERE path = ?", [result.relative_to(tmp_path).as_posix()]
        )

    assert rows().empty
    assert count(tmp_path, "evals") == (6 * 3 - 1) * 2
    metadata_path(result).write_text(json.dumps({"evaluation_id": "first", "engine": "vllm"}))
    assert list(rows()["evaluation_id"]) == ["first"] * 2
    metadata_path(result).write_text(json.dumps({"evaluation_id": "again", "engine": "vllm"}))
    assert list(rows()["evaluation_id"]) == ["again"] * 2


@pytest.mark.parametrize("name", ["sweep.json", "*/status.json", "*/eval/*/*_0shot.json"])
def test_an_unreadable_small_file_stops_nothing(tmp_path, name):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=10)
    victim = next(folder.glob(name))
    victim.write_text("{ torn")
    assert ingest(tmp_path).quarantined == 1
    kept = Store(tmp_path).query("SELECT path FROM quarantine")
    assert list(kept["path"]) == [victim.relative_to(tmp_path).as_posix()]
    assert count(tmp_path, "steps") == 5 * 4


def test_a_broken_working_store_is_built_again(tmp_path, once):
    empty_run(tmp_path).write_bytes(trace_bytes())
    ingest(tmp_path)
    (tmp_path / ".results-work.duckdb").write_bytes(b"not a database" * 1000)
    assert ingest(tmp_path).rebuilt
    assert tables(tmp_path) == once


def test_a_working_store_of_another_schema_is_built_again(tmp_path, once):
    empty_run(tmp_path).write_bytes(trace_bytes())
    ingest(tmp_path)
    with duckdb.connect(str(tmp_path / ".results-work.duckdb")) as connection:
        connection.execute("UPDATE store_state SET tables_sha256 = 'other'")
    assert "of another schema" in ingest(tmp_path).rebuilt_because
    assert tables(tmp_path) == once


def test_rebuild_reads_everything_again(tmp_path, once):
    empty_run(tmp_path).write_bytes(trace_bytes())
    ingest(tmp_path)
    report = ingest(tmp_path, rebuild=True)
    assert report.rebuilt and report.lines == trace_bytes().count(b"\n")
    assert tables(tmp_path) == once


def test_what_was_read_but_not_published_is_published_next_time(tmp_path, once, monkeypatch):
    empty_run(tmp_path).write_bytes(trace_bytes())

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "_publish", die)
        with pytest.raises(KeyboardInterrupt):
            ingest(tmp_path)
    report = ingest(tmp_path)
    assert (report.lines, report.published) == (0, True)
    assert tables(tmp_path) == once


def test_a_deleted_snapshot_comes_back(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=10)
    report = ingest(tmp_path)
    report.store.unlink()
    assert ingest(tmp_path).published
    assert count(tmp_path, "runs") == 6


def test_no_runs_directory_is_an_error_with_the_next_step(tmp_path):
    with pytest.raises(IngestError, match="sweepctl run"):
        ingest(tmp_path / "nowhere")


def test_another_schedule_explains_the_same_steps_anew(tmp_path):
    """What the sentence on modes says rests on the configuration, not only on the trace."""
    sweep = write_synthetic_sweep(tmp_path, questions=10)
    ingest(tmp_path)

    def sentence():
        found = Store(tmp_path).query(
            "SELECT sentence FROM step_modes JOIN runs USING (sweep, run_name) WHERE label = 'Exp5'"
        )
        return found["sentence"].iloc[0]

    assert "could not be dispatched before the sync" in sentence()
    for path in (sweep / "sweep.json", *sweep.glob("s1_opt8_sync16*/config.json")):
        path.write_text(
            path.read_text()
            .replace('"max_staleness":1', '"max_staleness":5')
            .replace('"max_staleness": 1', '"max_staleness": 5')
        )
    ingest(tmp_path)
    changed = sentence()
    assert "could not be dispatched before the sync" not in changed
    ingest(tmp_path, rebuild=True)
    assert sentence() == changed
