"""The report: complete, partial or nearly empty, at any width, and never stronger than its tests."""

import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from rich.console import Console

from results.files.comparisons import OPPONENTS
from results.ingest import ingest
from results.report.build import build_report
from results.report.observations import observations
from results.report.render import render_json, render_markdown, render_terminal
from results.store import Store, StoreError


def report_of(runs_dir, sweep=None):
    ingest(runs_dir)
    return build_report(Store(runs_dir), sweep)


def terminal(report, width=100):
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        render_terminal(report, console)
    return capture.get()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    runs = tmp_path_factory.mktemp("report")
    write_synthetic_sweep(runs)
    return report_of(runs)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_every_line_fits_the_terminal(report, width):
    text = terminal(report, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for title in ("Experiments", "Training speed", "Exact match (%)", "Delta from the base model"):
        assert title in text


def test_the_profile_is_named_first(report):
    assert "profile synthetic" in terminal(report).splitlines()[0]
    assert "builtin:tiny" in render_markdown(report).splitlines()[0]


def test_throughput_stands_beside_every_ratio_of_step_times(report):
    text = render_markdown(report)
    tables = text.split("## ")
    ratios = [
        line for table in tables for line in table.splitlines() if re.search(r"\d\.\d\dx( †)? \|", line)
    ]
    assert ratios
    assert all(re.search(r"\d\.\d\dx \[\d\.\d\d–\d\.\d\d\]|reference", line) for line in ratios)
    speed = next(table for table in tables if table.startswith("Training speed"))
    marked = [line for line in speed.splitlines() if line.startswith("| Exp4")]
    assert "2.84x †" in marked[0] and "† not comparable" in speed


def test_the_infeasible_arm_is_there_with_its_reason(report):
    assert any("Exp6 is infeasible: k - 1 > max_staleness" in notice for notice in report.notices)


def test_bimodal_steps_are_explained(report):
    sentences = dict(zip(report.modes["label"], report.modes["sentence"], strict=True))
    assert sentences["Exp5"].startswith("2 modes")
    assert all(sentences[label].startswith("One mode") for label in ("Exp1", "Exp2", "Exp3", "Exp4"))


def test_json_holds_all_numbers(report):
    content = json.loads(render_json(report))
    assert [row["label"] for row in content["experiments"]] == [f"Exp{n}" for n in range(1, 7)]
    assert content["experiments"][5]["training_s"] is None
    assert {row["against"] for row in content["deltas"]} == {"base", "baseline", "reference"}
    assert content["profile"] == "synthetic"


def test_a_sweep_that_is_still_running_says_so(tmp_path):
    write_synthetic_sweep(tmp_path, finished=False)
    report = report_of(tmp_path)
    text = terminal(report, 160)
    assert "3 of 5 runs have finished: this report is partial." in text
    assert "Exp4 is running, step 20 of 40. No sign of life for" in text
    assert "Exp5 is pending." in text
    assert list(report.finished["label"]) == ["Exp1", "Exp2", "Exp3"]


def test_a_sweep_in_which_nothing_has_happened_yet(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=5)
    for path in sorted(folder.glob("*/"), reverse=True):
        for file in sorted(path.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        path.rmdir()
    report = report_of(tmp_path)
    text = terminal(report, 80)
    assert "0 of 5 runs have finished" in text
    assert "quality was not tested" in " ".join(text.split())
    assert render_markdown(report) and json.loads(render_json(report))


def test_a_failed_run_gives_its_reason(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=5)
    status = folder / REFERENCE_ARMS[1].run_name(0, False) / "status.json"
    content = {**json.loads(status.read_text()), "state": "failed", "reason": "loss is not finite at step 3"}
    status.write_text(json.dumps(content))
    assert any("Exp2 is failed, step 4 of 4: loss is not finite" in n for n in report_of(tmp_path).notices)


def test_unread_lines_are_mentioned(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=5)
    trace = next(folder.glob("*/trace.jsonl"))
    trace.write_text(trace.read_text() + "{}\n")
    assert any("1 unreadable" in notice for notice in report_of(tmp_path).notices)


def test_the_most_recent_sweep_is_taken_and_the_others_named(tmp_path):
    write_synthetic_sweep(tmp_path, name="b", steps=4, questions=5)
    write_synthetic_sweep(tmp_path, name="a", steps=4, questions=5)
    assert "2 sweeps" in report_of(tmp_path).notices[0]
    assert report_of(tmp_path, "b").sweep == "b"
    with pytest.raises(StoreError, match="there are a, b"):
        report_of(tmp_path, "c")


def test_where_nothing_was_learned_quality_was_not_tested(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, learns=False)
    assert any("quality was not tested" in sentence for sentence in report_of(tmp_path).observations)


def test_a_speedup_whose_interval_holds_one_is_not_called_faster(report):
    speedups = report.speedups[report.speedups["against"] == "reference"].head(1).copy()
    speedups["prompts_per_s_low"], speedups["prompts_per_s_high"] = 0.9, 1.2
    sentences = list(observations(report.experiments, speedups, report.deltas.head(0), 2.0))
    assert sentences[0].startswith("No run is shown to be faster")


def test_another_arm_that_is_shown_to_be_faster_counts(report):
    speedups = report.speedups[report.speedups["against"] == "baseline"].head(2).copy()
    speedups["prompts_per_s_speedup"] = [1.5, 1.2]
    speedups["prompts_per_s_low"], speedups["prompts_per_s_high"] = [0.8, 1.1], [2.8, 1.3]
    first = next(observations(report.experiments, speedups, report.deltas.head(0), 2.0))
    assert first.startswith("Largest speed-up in prompts a second: 1.20x (95 % 1.10–1.30")
    assert "against its matched baseline, " in first  # which need not be synchronous


def test_a_run_that_is_shown_to_be_slower_is_named(report):
    speedups = report.speedups[report.speedups["against"] == "baseline"].head(2).copy()
    speedups["prompts_per_s_speedup"] = [1.5, 0.8]
    speedups["prompts_per_s_low"], speedups["prompts_per_s_high"] = [1.2, 0.7], [1.8, 0.9]
    slower = speedups.iloc[1]
    said = list(observations(report.experiments, speedups, report.deltas.head(0), 2.0))
    expected = f"{slower['label']} is slower than its matched baseline, {slower['other_label']}: 0.80x"
    assert [sentence.startswith(expected) for sentence in said[:2]] == [False, True]


def test_a_verdict_says_when_the_runs_trained_different_numbers_of_prompts(report):
    deltas = report.deltas.copy()
    chosen = (deltas["against"] == "reference") & deltas["label"].isin(["Exp2", "Exp4"])
    deltas.loc[chosen, "verdict"] = "worse"
    said = list(observations(report.experiments, report.speedups, deltas, 2.0))
    prompts = report.experiments.set_index("label")["prompts"]
    word = f"it trained {prompts['Exp4']:.0f} prompts, the other {prompts['Exp1']:.0f}"
    assert prompts["Exp4"] != prompts["Exp1"] == prompts["Exp2"]
    assert any(s.startswith("Exp4 is worse than its reference run") and word in s for s in said)
    assert not any(s.startswith("Exp2 is worse than its reference run") and "it trained" in s for s in said)


def test_opponents_have_one_name_everywhere(report, monkeypatch):
    for against in OPPONENTS:
        monkeypatch.setitem(OPPONENTS, against, f"yardstick {against}")
    said = tuple(observations(report.experiments, report.speedups, report.deltas, 2.0))
    text = render_markdown(replace(report, observations=said))
    assert "from the yardstick base" in text
    assert "against the yardstick baseline" in text
    assert "against the yardstick reference" in text
    assert "matched baseline" not in text and "reference run" not in text


def test_each_of_several_base_models_has_a_row_and_its_own_runs(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=20, arms=REFERENCE_ARMS[:2])
    run = REFERENCE_ARMS[1].run_name(0, False)
    for path in (folder / "sweep.json", folder / run / "config.json"):
        content = json.loads(path.read_text())
        config = content["config"] if "config" in content else content["runs"][1]["config"]
        config["model"] = "builtin:other"
        path.write_text(json.dumps(content))
    assert set(report_of(tmp_path).accuracy["label"]) == {"base (builtin_tiny)", "Exp1", "Exp2"}
    shutil.copytree(folder / "base_models" / "builtin_tiny", folder / "base_models" / "builtin_other")
    report = report_of(tmp_path)
    text = render_markdown(report)
    assert "| base (builtin_other) |" in text and "| base (builtin_tiny) |" in text
    base = report.deltas[report.deltas["against"] == "base"]
    assert set(zip(base["label"], base["other_label"], strict=True)) == {
        ("Exp1", "base (builtin_tiny)"),
        ("Exp2", "base (builtin_other)"),
    }


def test_verdicts_say_how_far_they_reach(report, tmp_path):
    assert any(sentence.startswith("One seed:") for sentence in report.observations)
    write_synthetic_sweep(tmp_path, steps=4, questions=20, arms=REFERENCE_ARMS[:1], seeds=(0, 1))
    assert any("single checkpoints" in sentence for sentence in report_of(tmp_path).observations)


def test_a_worse_arm_is_named(report):
    deltas = report.deltas.copy()
    chosen = (deltas["against"] == "baseline") & (deltas["label"] == "Exp4") & (deltas["num_fewshot"] == 4)
    deltas.loc[chosen, ["verdict", "p_adjusted", "delta_points"]] = pd.Series(
        {"verdict": "worse", "p_adjusted": 0.001, "delta_points": -5.0}
    ).to_numpy()
    sentences = observations(report.experiments, report.speedups, deltas, 2.0)
    assert any("Exp4 is worse than its matched baseline Exp3 at 4 shots: -5.00" in s for s in sentences)
