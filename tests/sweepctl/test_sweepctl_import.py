"""Results made elsewhere become a sweep, or an error that names the file and the line."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_lm_eval, write_synthetic_sweep

from results.files.sweeps import Manifest
from results.ingest import ingest
from results.report.build import build_report
from results.store import Store
from results.tables.accuracy import default_filter_rows
from sweepctl.commands.export import export_sweep
from sweepctl.commands.import_ import import_folder
from sweepctl.exchange.imported import refuse_imported
from sweepctl.exchange.run_table import read_table
from sweepctl.watching.show import show_status
from trainer.errors import ConfigError
from trainer.paths import SweepPaths, samples_path

HERE = Path(__file__).parent
REFERENCE = HERE.parents[2] / "shared" / "reference"
PAGE = REFERENCE / "gsm8k-staleness-sweep.md"
TABLE = HERE / "reference_runs.yaml"
DATE = "2026-01-15T10-00-00.123456"
LATER = "2026-01-16T10-00-00.000001"


def take(folder, runs_dir, *, name="taken", runs=None, as_json=False):
    import_folder(runs_dir, folder, name=name, runs=runs, as_json=as_json)
    return SweepPaths(runs_dir / name)


def refusal(folder, runs_dir, **options):
    """The message of an import that is refused, after which nothing was written."""
    with pytest.raises(ConfigError) as caught:
        take(folder, runs_dir, **options)
    assert not runs_dir.exists() or list(runs_dir.iterdir()) == []
    return str(caught.value)


def report_of(sweep):
    ingest(sweep.root.parent)
    return build_report(Store(sweep.root.parent), sweep.name)


def answers(seed, chance=0.5, questions=40):
    right = np.random.default_rng(seed).random(questions) < chance
    return {"strict-match": right}


def write_results(folder, name, seed, *, task="gsm8k_cot", shots=0, **changes):
    """`<name>_<n>shot.json` with samples beside it."""
    path = folder / f"{name}_{shots}shot.json"
    (path.parent / "x").mkdir(parents=True, exist_ok=True)  # the factory takes a name from two folders up
    write_lm_eval(path, task, shots, answers(seed), **changes)
    (path.parent / "x").rmdir()
    return path


def write_lm_eval_folder(folder, model_name, seed, *, date=DATE, task="gsm8k_cot", shots=0, unix=1.0):
    """What lm-eval leaves under its --output_path."""
    place = folder / model_name.replace("/", "__")
    made = write_results(place, "made", seed, task=task, shots=shots, model_name=model_name, date=unix)
    samples_path(made).rename(place / f"samples_{task}_{date}.jsonl")
    return made.rename(place / f"results_{date}.json")


def published(heading):
    """A table of the reference's page: first words of each row -> its other cells."""
    section = re.split(r"\n##", PAGE.read_text().split(f"# {heading}\n")[1])[0]
    rows = {}
    for line in section.splitlines():
        if match := re.match(r"\| (Base|Exp\d)\b[^|]*\| (.+) \|", line):
            rows[match[1]] = match[2].replace("*", "").split(" | ")
    assert rows
    return rows


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("reference") / "runs"
    return take(REFERENCE / "eval_results", runs_dir, name="gsm8k", runs=TABLE)


def test_the_references_files_give_its_accuracies_with_and_without_a_table(reference, tmp_path):
    expected = published("Exact Match Accuracy (%)")
    for sweep in (reference, take(REFERENCE / "eval_results", tmp_path)):
        shown = {}
        for label, part in default_filter_rows(report_of(sweep).accuracy).groupby("label"):
            values = part.sort_values("num_fewshot")["value_percent"]
            shown[label.capitalize()] = [f"{value:.2f}" for value in values]
        labels = expected if sweep is reference else ("Base", "Exp1", "Exp2")
        assert shown == {label: expected[label] for label in labels}


def test_the_table_holds_the_references_speed_to_the_last_digit(reference):
    runs = Manifest.model_validate_json(reference.manifest.read_bytes()).runs
    first = runs[0].published.step_time_s.mean
    shown = {}
    for run in runs:
        mean = run.published.step_time_s.mean
        ratio = "1.0x (baseline)" if run is runs[0] else f"{first / mean:.1f}x"
        shown[run.label] = [f"{run.published.training_time_s / 60:.1f} min", f"{mean:.1f}s", ratio]
    assert shown == published("Training Speed Results")


def test_published_percentages_and_files_together_give_the_references_deltas(reference):
    report = report_of(reference)
    base = default_filter_rows(report.accuracy).query("label == 'base'")
    base = base.set_index("num_fewshot")["value_percent"]
    deltas = default_filter_rows(report.deltas[report.deltas["against"] == "base"])
    shown = {
        label: [f"{value:+.2f}" for value in part.sort_values("num_fewshot")["delta_points"]]
        for label, part in deltas.groupby("label")
    }
    for run in Manifest.model_validate_json(reference.manifest.read_bytes()).runs[2:]:
        shown[run.label] = [
            f"{found.exact_percent - base[found.num_fewshot]:+.2f}" for found in run.published.accuracy
        ]
    assert shown == published("Delta from Base Model (%)")


def test_knobs_of_the_table_find_the_matched_baseline_and_the_reference(reference):
    experiments = report_of(reference).experiments.set_index("label")
    assert list(experiments["max_staleness"]) == [0, 1, 0, 1, 1]
    assert list(experiments["sync_interval_steps"]) == [1, 1, 1, 1, 2]
    assert experiments["arm_id"].nunique() == 5
    assert experiments["run_id"].isna().all(), "what was not run here is never taken for a run of ours"
    pairs = Store(reference.root.parent).query("SELECT run_name, against, other_run FROM comparisons")
    by_run = {(row.run_name, row.against): row.other_run for row in pairs.itertuples()}
    assert by_run["gsm8k_s1_opt8_lr5e7_sync16", "baseline"] == "gsm8k_s0_opt8_lr5e7"
    assert by_run["gsm8k_s1_opt8_lr5e7_sync16", "reference"] == "gsm8k_s0_opt16_lr1e6"


def test_status_shows_imported_runs(reference, capsys):
    show_status(reference.root.parent, "gsm8k", watch=False, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in shown["runs"]] == ["succeeded"] * 5
    assert {run["reason"] for run in shown["runs"]} == {"imported from eval_results"}


def test_without_a_table_nothing_is_claimed_of_the_knobs(tmp_path):
    report = report_of(take(REFERENCE / "eval_results", tmp_path))
    knobs = report.experiments[["max_staleness", "prompts_per_optim_step", "lr", "arm_id", "run_id"]]
    assert knobs.isna().all(axis=None)
    assert report.models == ("Qwen3-1.7B-Base",)
    assert set(report.deltas["against"]) == {"base"}
    assert report.profile == "imported"


def test_files_are_copied_as_they_are(reference):
    run = reference.run("gsm8k_s1_opt16_lr1e6")
    copied = run.evaluation("step_000100", "gsm8k_cot", 4)
    assert copied.read_bytes() == (REFERENCE / "eval_results" / "exp2_4shot.json").read_bytes()


def test_lm_evals_own_folders_come_in_with_their_samples(tmp_path):
    folder = tmp_path / "lm_eval"
    write_lm_eval_folder(folder, "Qwen/Qwen3-1.7B-Base", 1)
    write_lm_eval_folder(folder, "/data/runs/s/arm_a/checkpoints/step_000100", 2, unix=1.0)
    latest = write_lm_eval_folder(
        folder, "/data/runs/s/arm_a/checkpoints/step_000100", 3, date=LATER, unix=2.0
    )
    write_lm_eval_folder(folder, "out/arm_b/checkpoint-50", 4)
    write_lm_eval_folder(folder, "out/arm_b_step25", 5)
    sweep = take(folder, tmp_path / "runs")
    report = report_of(sweep)
    assert set(report.deltas["method"]) == {"paired"}
    assert set(report.experiments["run_name"]) == {"arm_a", "arm_b"}
    assert report.models == ("Qwen/Qwen3-1.7B-Base",)
    kept = sweep.run("arm_a").evaluation("step_000100", "gsm8k_cot", 0)
    assert kept.read_bytes() == latest.read_bytes()
    assert {path.parent.name for path in sweep.root.glob("arm_b/eval/*/*shot.json")} == {
        "step_000050",
        "step_000025",
    }


def test_dated_files_with_a_name_of_ones_own_come_in_with_their_samples(tmp_path):
    folder = tmp_path / "in"
    for name, seed in (("base", 1), ("exp1_step50", 2)):
        made = write_results(folder, name, seed, shots=4)
        date = DATE if name == "base" else LATER
        samples_path(made).rename(folder / f"samples_gsm8k_cot_{date}.jsonl")
        made.rename(folder / f"{name}_4shot_{date}.json")
    sweep = take(folder, tmp_path / "runs")
    assert set(report_of(sweep).deltas["method"]) == {"paired"}
    assert sweep.run("exp1").evaluation("step_000050", "gsm8k_cot", 4).is_file()


def test_the_table_in_the_documentation_is_one(tmp_path):
    page = (HERE.parents[1] / "docs" / "exchange.md").read_text()
    example = page.split("\n    version: 1")[1].split("\n\n")[0]
    table = tmp_path / "table.yaml"
    table.write_text(textwrap.dedent("    version: 1" + example))
    (found,) = read_table(table).runs
    assert (found.row.label, found.config["optim"], found.row.step_time_s.steps) == ("Exp4", {"lr": 5e-7}, 99)


def test_a_result_of_several_tasks_is_read_task_by_task(tmp_path):
    folder = tmp_path / "in"
    first, second = (write_results(folder, name, 1, task=name) for name in ("alpha", "beta_cot"))
    both = json.loads(first.read_text())
    other = json.loads(second.read_text())
    for key in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples"):
        both[key] |= other[key]
    both["n-shot"]["beta_cot"] = 8
    both["results"]["beta_cot"]["exact_match,strict-match"] = 0.25
    shutil.rmtree(folder)
    place = folder / "any"
    place.mkdir(parents=True)
    (place / f"results_{DATE}.json").write_text(json.dumps({**both, "model_name": "out/arm"}))
    accuracy = report_of(take(folder, tmp_path / "runs", name="two")).accuracy
    found = {row.task: (row.num_fewshot, row.value_percent) for row in accuracy.itertuples()}
    assert found == {
        "alpha": (0, pytest.approx(100 * both["results"]["alpha"]["exact_match,strict-match"])),
        "beta_cot": (8, 25.0),
    }


def test_the_last_question_counts_though_its_line_lacks_the_newline(tmp_path):
    path = samples_path(write_results(tmp_path / "in", "exp1", 1))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    as_given = path.read_bytes()
    report_of(take(tmp_path / "in", tmp_path / "runs"))
    (counted,) = Store(tmp_path / "runs").query("SELECT count(*) AS n FROM eval_samples")["n"]
    assert counted == 40
    assert path.read_bytes() == as_given, "the source is only read"


def test_a_result_of_our_own_whose_metadata_was_lost_still_counts(tmp_path):
    write_results(tmp_path / "in", "exp1", 1, config={"model": "EngineModel"})
    assert len(report_of(take(tmp_path / "in", tmp_path / "runs")).accuracy) == 1


def test_a_list_of_step_times_is_kept_with_its_summary(tmp_path):
    (tmp_path / "in").mkdir()
    table = tmp_path / "table.yaml"
    table.write_text("runs: [{run_name: a, step_time_s: [1.0, 2.0, 3.0, 10.0]}]")
    sweep = take(tmp_path / "in", tmp_path / "runs", runs=table)
    times = json.loads(sweep.manifest.read_text())["runs"][0]["published"]["step_time_s"]
    assert times["values"] == [1.0, 2.0, 3.0, 10.0]
    assert (times["steps"], times["mean"], times["median"]) == (4, 4.0, 2.5)
    assert (times["min"], times["max"]) == (1.0, 10.0)
    assert times["std"] == pytest.approx(4.082482904638630)  # sqrt((9 + 4 + 1 + 36) / 3)


def test_of_a_run_of_unknown_length_status_and_report_say_nothing(tmp_path, capsys):
    write_results(tmp_path / "in", "exp1", 1)
    sweep = take(tmp_path / "in", tmp_path / "runs")
    show_status(tmp_path / "runs", sweep.name, watch=False, as_json=True)
    shown = capsys.readouterr().out
    assert json.loads(shown[shown.index("{") :])["runs"][0]["state"] == "succeeded"
    assert report_of(sweep).experiments["max_steps"].isna().all()


def test_a_date_among_other_settings_is_kept_as_text(tmp_path):
    (tmp_path / "in").mkdir()
    table = tmp_path / "table.yaml"
    table.write_text("runs: [{run_name: a, other: {begun: 2026-01-15}}]\nreference: {seed: 2026-01-15}")
    sweep = take(tmp_path / "in", tmp_path / "runs", runs=table)
    assert json.loads(sweep.manifest.read_text())["runs"][0]["published"]["other"] == {"begun": "2026-01-15"}


def test_json_says_what_came_in(tmp_path, capsys):
    write_results(tmp_path / "in", "exp1", 1)
    (tmp_path / "in" / "notes.json").write_text("{}")
    take(tmp_path / "in", tmp_path / "runs", as_json=True)
    summary = json.loads(capsys.readouterr().out)
    assert (summary["sweep"], summary["runs"], summary["evaluations"]) == ("taken", ["exp1"], 1)
    assert any(remark.startswith("notes.json: passed over") for remark in summary["remarks"])
    assert any("no base model" in remark for remark in summary["remarks"])


def test_samples_that_are_not_scored_by_exact_match_are_left_out(tmp_path, capsys):
    path = write_results(tmp_path / "in", "exp1", 1)
    samples_path(path).write_text('{"doc_id": 0, "filter": "none", "acc": 1.0}\n')
    sweep = take(tmp_path / "in", tmp_path / "runs")
    assert "samples left out" in capsys.readouterr().out
    assert list(sweep.root.rglob("*.samples.jsonl")) == []


def test_an_imported_sweep_is_not_to_be_run(reference, tmp_path):
    with pytest.raises(ConfigError, match="was imported, not run here; give the spec another name"):
        refuse_imported(reference)
    refuse_imported(SweepPaths(write_synthetic_sweep(tmp_path, steps=12, questions=5)))
    refuse_imported(SweepPaths(tmp_path / "not there"))


# What is refused.


def empty(folder):
    folder.mkdir()


def other_json(folder):
    folder.mkdir()
    (folder / "config.json").write_text("{}")


def not_lm_eval(folder):
    write_results(folder, "base", 1)
    (folder / "exp1_0shot.json").write_text('{"results": 3}')


def no_json(folder):
    folder.mkdir()
    (folder / "exp1_0shot.json").write_text("{")


def no_metric(folder):
    folder.mkdir()
    (folder / "exp1_0shot.json").write_text('{"results": {"gsm8k": {"alias": "gsm8k"}}}')


def other_shots(folder):
    write_results(folder, "exp1", 1, shots=4).rename(folder / "exp1_0shot.json")


def twice(folder):
    write_results(folder / "a", "exp1", 1)
    write_results(folder / "b", "exp1", 2)


def bases_of_two_steps(folder):
    write_results(folder, "base_step10", 1)
    write_results(folder, "base_step20", 2)
    write_results(folder, "exp1", 3)


def collision(folder):
    write_results(folder, "exp 1", 1)
    write_results(folder, "exp_1", 2)


def bad_sample(folder):
    path = write_results(folder, "exp1", 1)
    with samples_path(path).open("a") as file:
        file.write("torn\n")


def loop(folder):
    folder.mkdir()
    (folder / "exp1_0shot.json").symlink_to(folder / "exp1_0shot.json")


def folder_loop(folder):
    folder.mkdir()
    (folder / "again").symlink_to(folder, target_is_directory=True)


def two_bases(folder):
    write_results(folder, "a_base", 1)
    write_results(folder, "b-base", 2)


def engine_log(folder):
    write_results(folder, "engine.log", 1)


def only_a_base(folder):
    write_results(folder, "base", 1, model_name="Qwen/Q-Base")


def own_folder(folder):
    folder.mkdir()
    (folder / "sweep.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "in: no lm-eval results here; they are named"),
        (other_json, "no lm-eval results here (config.json: passed over, it is not named as a result)"),
        (not_lm_eval, "in/exp1_0shot.json: not an lm-eval result: results: Input should be"),
        (no_json, "in/exp1_0shot.json: not an lm-eval result: Invalid JSON"),
        (no_metric, "in/exp1_0shot.json: not an lm-eval result: it holds no metric of any task"),
        (other_shots, "its name says 0 shots, lm-eval's `n-shot` of gsm8k_cot says 4"),
        (twice, "the same as"),
        (bases_of_two_steps, "would lie at the same place as"),
        (collision, "would both be called 'exp_1'; rename one"),
        (bad_sample, "in/exp1_0shot.samples.jsonl:41: not a sample of lm-eval: Invalid JSON"),
        (loop, "in/exp1_0shot.json: cannot be read: Too many levels of symbolic links"),
        (folder_loop, "no lm-eval results here (again: a linked folder, not entered)"),
        (two_bases, "several base models: a_base, b-base; say which with `base_model`"),
        (only_a_base, "results of the base model 'Qwen/Q-Base' only; those of a run are needed"),
        (engine_log, "a run cannot be called 'engine.log'; rename the file"),
        (own_folder, "no MANIFEST.sha256: not an exported sweep, or not the whole of one"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused(make, message, tmp_path):
    make(tmp_path / "in")
    assert message in refusal(tmp_path / "in", tmp_path / "runs")


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    not_lm_eval(tmp_path / "in")
    (tmp_path / "in" / "exp2_4shot.json").write_text("[")
    message = refusal(tmp_path / "in", tmp_path / "runs")
    assert "exp1_0shot.json" in message and "exp2_4shot.json" in message


TABLES = {
    "runs: 3": ":1: runs: should be a list, found 3",
    "runs: []": ":1: runs: there is no run, found []",
    "[1]": ":1: a table of runs is a map; it has a list `runs`",
    "runs: [": "not valid YAML",
    "runs:\n- label: a": ":2: the key 'run_name' is missing",
    "runs:\n- run_name: a\n  lable: b": ":3: unknown key 'lable'; did you mean 'label'?",
    "runs:\n- run_name: a\n  step_time_s:\n    maen: 3": ":4: unknown key 'maen'; did you mean 'mean'?",
    "runs:\n- run_name: a\n  step_time_s: [1, x]": ":3: runs.0.step_time_s.1: should be a valid number",
    "runs:\n- run_name: a\n  step_time_s: {min: 3, mean: 2}": ":3: runs.0.step_time_s: min is 3.0, above",
    "runs:\n- run_name: a\n  training_time: 70 min": ":3: runs.0.training_time: a duration is",
    "runs:\n- run_name: a\n  knobs: {max_stalenes: 1}": ":3: unknown key 'max_stalenes'; did you mean",
    "runs:\n- run_name: a\n  knobs:\n    max_staleness: -1": ":4: max_staleness: should be greater",
    "base: {optim: {lr: x}}\nruns:\n- run_name: a": ":1: optim.lr: should be a valid number",
    "reference: {nothing: 1}\nruns:\n- run_name: a": ":1: unknown key 'nothing'",
    "runs:\n- run_name: ../a": ":2: run_name: letters, digits",
    "runs:\n- run_name: base_models": ":2: run_name: letters, digits",
    "runs:\n- run_name: sweep.json": ":2: run_name: letters, digits",
    "runs:\n- run_name: .lock": ":2: run_name: letters, digits",
    "runs:\n- run_name: a\n- run_name: a": ":3: run_name 'a' is given twice; first on line 2",
    "runs:\n- run_name: a\n  evaluations: exp2": ":3: evaluations: no results of 'exp2'; did you",
    "base_model: bace\nruns:\n- run_name: a": ":1: base_model: no results of 'bace'; did you mean 'base'?",
    "runs:\n- run_name: a\n  accuracy: [{task: t, num_fewshot: 0, percent: 5, questions: 10, correct: 9}]": (
        ":3: 9 of 10 is 90.00 %, not 5.0 %"
    ),
}


@pytest.mark.parametrize("text", TABLES, ids=range(len(TABLES)))
def test_what_is_wrong_in_a_table_is_told_with_its_line(text, tmp_path):
    write_results(tmp_path / "in", "base", 1)
    write_results(tmp_path / "in", "exp1", 2)
    table = tmp_path / "table.yaml"
    table.write_text(text)
    message = refusal(tmp_path / "in", tmp_path / "runs", runs=table)
    assert TABLES[text] in message
    assert message.startswith(str(table))
    assert len(message.splitlines()) == 1, "one mistake, one line"


def test_a_table_that_is_not_there_or_not_text_is_refused(tmp_path):
    write_results(tmp_path / "in", "base", 1)
    binary = tmp_path / "table.yaml"
    binary.write_bytes(b"\xff\xfe\xff")
    assert "No such file" in refusal(tmp_path / "in", tmp_path / "runs", runs=tmp_path / "none.yaml")
    assert "not UTF-8 text" in refusal(tmp_path / "in", tmp_path / "runs", runs=binary)


def test_names_that_will_not_do_are_refused(tmp_path):
    write_results(tmp_path / "in", "exp1", 1)
    runs_dir = tmp_path / "runs"
    assert "no such folder" in refusal(tmp_path / "none", runs_dir)
    assert "cannot be a sweep's name" in refusal(tmp_path / "in", runs_dir, name="../x")
    for name in (".hidden", "results.duckdb", "a" * 201):
        assert "cannot be a sweep's name" in refusal(tmp_path / "in", runs_dir, name=name)
    sweep = take(tmp_path / "in", runs_dir)
    before = sweep.manifest.read_bytes()
    with pytest.raises(ConfigError, match="is there already; give the import another name with --name"):
        take(tmp_path / "in", runs_dir)
    assert sweep.manifest.read_bytes() == before


# Archives that are not what was exported.


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    runs = tmp_path_factory.mktemp("source") / "runs"
    write_synthetic_sweep(runs, steps=12, questions=5, arms=REFERENCE_ARMS[:2])
    archive = tmp_path_factory.mktemp("archive") / "staleness"
    export_sweep(runs, "staleness", archive, checkpoints=True, as_json=False)
    return archive


@pytest.fixture
def archive(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "archive"))


def first_trace(archive):
    return min(archive.glob("traces/*/trace.jsonl"))


def test_a_changed_or_missing_file_of_an_archive_is_named(archive, tmp_path):
    changed, missing = first_trace(archive), min(archive.glob("configs/*.json"))
    changed.write_bytes(changed.read_bytes()[:-10])
    missing.unlink()
    message = refusal(archive, tmp_path / "runs")
    assert f"{changed}: is not what was exported" in message
    assert f"{missing}: cannot be read: No such file" in message


def test_notes_may_be_edited_and_whole_checkpoints_left_out(archive, tmp_path):
    (archive / "NOTES.md").write_text("mine")
    listing = archive / "MANIFEST.sha256"
    listing.write_text(listing.read_text() + f"{'0' * 64}  checkpoints/a/step_000001/model.safetensors\n")
    assert len(list(take(archive, tmp_path / "runs").root.glob("*/trace.jsonl"))) == 2


def test_what_was_added_to_an_archive_is_left_out_and_said(archive, tmp_path, capsys):
    run = first_trace(archive).parent.name
    added = [
        "configs/evil.json",
        "traces/evil/trace.jsonl",
        f"traces/{run}/extra.log",
        f"eval_results/arithmetic_cot/step_000012/{run}_7shot.json",
    ]
    for name in added:
        (archive / name).parent.mkdir(exist_ok=True)
        (archive / name).write_text("{}")
    sweep = take(archive, tmp_path / "runs")
    shown = capsys.readouterr().out
    for name in added:
        assert f"note: {name}: left out, MANIFEST.sha256 does not list it" in shown
    assert not (sweep.root / "evil").exists()
    assert not (sweep.run(run).root / "extra.log").exists()
    assert list(sweep.root.rglob("*_7shot.json")) == []


def test_a_file_whose_name_is_no_text_can_be_spoken_of(archive, tmp_path):
    name = os.fsdecode(b"added-\xff.json")
    (archive / name).write_text("{}")
    command = [sys.executable, "-m", "sweepctl", "import", str(archive), "--runs-dir", str(tmp_path / "runs")]
    done = subprocess.run([*command, "--name", "taken"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "note: added-?.json: left out" in done.stdout


def test_of_many_added_files_a_few_are_named(archive, tmp_path, capsys):
    for number in range(1200):
        (archive / "traces" / f"{number:04d}.txt").write_text("")
    take(archive, tmp_path / "runs")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 6
    assert notes[-1] == "note: so are 1,195 other files"


def unlist(archive, name):
    listing = archive / "MANIFEST.sha256"
    lines = listing.read_text().splitlines(keepends=True)
    listing.write_text("".join(line for line in lines if not line.endswith(f"  {name}\n")))


def test_a_manifest_that_the_checksums_do_not_have_is_refused(archive, tmp_path):
    unlist(archive, "sweep.json")
    message = refusal(archive, tmp_path / "runs")
    assert message == f"{archive / 'MANIFEST.sha256'}: does not list sweep.json; get the archive again"


def test_an_archive_without_its_checksums_or_its_manifest_is_refused(archive, tmp_path):
    (archive / "sweep.json").unlink()
    assert f"{archive / 'sweep.json'}: cannot be read: No such file" in refusal(archive, tmp_path / "runs")
    (archive / "sweep.json").write_text("{}")
    (archive / "MANIFEST.sha256").unlink()
    assert "no MANIFEST.sha256: not an exported sweep" in refusal(archive, tmp_path / "runs")


@pytest.mark.parametrize("name", [".", "a\0b", "/etc/hostname", "a/../../b"])
def test_a_listed_name_that_is_none_is_told(name, archive, tmp_path):
    listing = archive / "MANIFEST.sha256"
    count = len(listing.read_text().splitlines())
    listing.write_text(listing.read_text() + f"{'0' * 64}  {name}\n")
    message = refusal(archive, tmp_path / "runs")
    assert message == f"{listing}:{count + 1}: not a checksum and a name; get the archive again"


def test_an_archive_reaches_nothing_outside_itself(archive, tmp_path):
    manifest = json.loads((archive / "sweep.json").read_text())
    manifest["runs"][0]["run_name"] = "../../evil"
    manifest["runs"][1]["run_name"] = "sweep.json"
    (archive / "sweep.json").write_text(json.dumps(manifest))
    listing = archive / "MANIFEST.sha256"
    listing.write_text(listing.read_text() + f"{'0' * 64}  ../secret\n")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    link = first_trace(archive).with_name("train.log")
    link.symlink_to(secret)
    message = refusal(archive, tmp_path / "runs")
    assert "a run cannot be called '../../evil'" in message
    assert "a run cannot be called 'sweep.json'" in message
    assert f"{link}: is a link; an archive has none" in message
    assert "not a checksum and a name" in message


def test_a_manifest_that_is_none_is_told(archive, tmp_path):
    (archive / "sweep.json").write_text('{"runs": 3}')
    message = refusal(archive, tmp_path / "runs")
    assert "sweep.json: is not what was exported" in message
    assert "sweep.json: runs: Input should be a valid array" in message


def test_a_table_beside_an_archive_is_refused(archive, tmp_path):
    assert "says itself what its runs were" in refusal(archive, tmp_path / "runs", runs=TABLE)
