"""Results made elsewhere become a sweep."""

import json
import re
import shutil
import textwrap

import pytest
from factories.sweep_factory import write_synthetic_sweep
from importing import (
    DATE,
    HERE,
    LATER,
    PAGE,
    REFERENCE,
    TABLE,
    take,
    write_lm_eval_folder,
    write_results,
)

from results.files.sweeps import Manifest
from results.ingest import ingest
from results.report.build import build_report
from results.store import Store
from results.tables.accuracy import default_filter_rows
from sweepctl.exchange.run_table import read_table
from sweepctl.imported import refuse_imported
from sweepctl.watching.show import show_status
from trainer.errors import ConfigError
from trainer.paths import SweepPaths, samples_path


def report_of(sweep):
    ingest(sweep.root.parent)
    return build_report(Store(sweep.root.parent), sweep.name)


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
