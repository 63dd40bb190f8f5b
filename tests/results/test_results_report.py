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
from results.report.chosen import compared_with
from results.report.compared import compared_speeds
from results.report.conclusions import conclusions
from results.report.notices import infeasible_notices, notices
from results.report.observations import speed_observations
from results.report.quality import quality_observations
from results.report.render import render_json, render_markdown, render_terminal
from results.store import Store, StoreError
from trainer.errors import ConfigError


def report_of(runs_dir, sweep=None):
    ingest(runs_dir)
    return build_report(Store(runs_dir), sweep)


def terminal(report, width=100, **options):
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        render_terminal(report, console, **options)
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


def section(text, title):
    """A section of the Markdown page."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_throughput_and_its_interval_stand_beside_every_ratio_of_step_times(report):
    speed = section(render_markdown(report), "Training speed")
    rows = [line for line in speed.splitlines() if line.startswith("| Exp") and "Against" not in line]
    ratios = [line for line in rows if re.search(r"\d\.\d\dx", line)]
    assert len(ratios) == 5 + 3 + 4
    assert all(re.search(r"\d\.\d\dx<br>\[\d\.\d\d–\d\.\d\d\]|1\.00x \(ref\.\)", line) for line in ratios)
    (marked,) = [line for line in rows if line.startswith("| Exp4 | 1")]
    assert "2.84x †" in marked and "† not comparable" in speed


def test_sections_are_those_of_the_references_notes_in_its_order(report):
    headings = re.findall(r"^## (.*)$", render_markdown(report), re.MULTILINE)
    assert headings == [
        *("Objective", "Experiments", "Key configuration", "Training speed", "Step time distribution"),
        *("Key observations", "Evaluation results", "Deltas", "Quality observations", "Staleness"),
        *("Predicted and measured", "Conclusions", "File structure"),
    ]


def test_the_objective_names_what_varies_and_nothing_else(report):
    for key in ("max_staleness", "prompts_per_optim_step", "prompts_per_rollout_sync", "optim.lr"):
        assert f"`{key}`" in report.objective
    assert "loss" not in report.objective and "in 5 runs with one seed" in report.objective


def test_every_setting_that_varies_has_a_column(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=5, arms=REFERENCE_ARMS[:2])
    name = REFERENCE_ARMS[1].run_name(0, False)
    path = folder / name / "config.json"
    content = json.loads(path.read_text())
    content["config"]["loss"]["name"] = "gspo"
    content["config"]["optim"]["warmup_steps"] = 5
    path.write_text(json.dumps(content))
    text = section(render_markdown(report_of(tmp_path)), "Experiments")
    header, _, first, second = text.strip().splitlines()[:4]
    cells = dict(
        zip(header.split(" | "), zip(first.split(" | "), second.split(" | "), strict=True), strict=True)
    )
    assert (cells["Loss"], cells["Warmup"]) == (("grpo", "gspo"), ("0", "5"))


def test_reproduction_is_the_command_of_the_spec(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=5, arms=REFERENCE_ARMS[:1])
    manifest = json.loads((folder / "sweep.json").read_text())
    manifest["spec"] = {"file": "my sweep.yaml", "set": ["max_steps=4"]}
    manifest["git"] = {"commit": "a" * 40, "dirty": True}
    (folder / "sweep.json").write_text(json.dumps(manifest))
    text = section(render_markdown(report_of(tmp_path)), "Reproduction")
    assert "sweepctl run 'my sweep.yaml' --profile synthetic --set max_steps=4\n" in text
    assert "commit aaaaaaaaaaaa; it had changes on top" in text


def test_the_infeasible_arm_is_there_with_its_reason(report):
    assert any("Exp6 is infeasible: k - 1 > max_staleness" in notice for notice in report.notices)


def test_the_seeds_of_a_point_that_cannot_run_are_told_together(report):
    point = report.experiments[report.experiments["state"] == "infeasible"]
    seeds = pd.concat([point.assign(label=f"s0_sync16_seed{seed}") for seed in range(4)])
    (told,) = infeasible_notices(seeds)
    assert told.startswith("s0_sync16 (4 seeds) is infeasible: k - 1 > max_staleness")
    forty = pd.concat([seeds.assign(label=seeds["label"].str.replace("s0", f"s{n}")) for n in range(10)])
    assert infeasible_notices(forty) == ["40 runs are infeasible; `sweepctl status` names them and says why."]
    two = pd.concat([seeds, seeds.assign(reason="another")])
    assert len(infeasible_notices(two)) == 2


def test_bimodal_steps_are_explained(report):
    sentences = dict(zip(report.modes["label"], report.modes["sentence"], strict=True))
    assert sentences["Exp5"].startswith("2 modes")
    assert all(sentences[label].startswith("One mode") for label in ("Exp1", "Exp2", "Exp3", "Exp4"))


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


def test_opponents_have_one_name_everywhere(report, monkeypatch):
    for against in OPPONENTS:
        monkeypatch.setitem(OPPONENTS, against, f"yardstick {against}")
    said = tuple(quality_observations(report.experiments, report.deltas, report.arm_deltas, 2.0))
    speeds = compared_speeds(report.experiments, report.speedups, report.arm_speedups)
    configurations = report.configurations
    speed = tuple(speed_observations(speeds, report.speedups, report.modes, configurations, report.varying))
    ends = tuple(conclusions(report.experiments, speeds, report.deltas, report.arm_deltas, 2.0))
    shown = replace(report, quality_observations=said, speed_observations=speed, conclusions=ends)
    text = render_markdown(shown)
    assert "from the yardstick base" in text
    assert "against the yardstick baseline" in text
    assert "against the yardstick reference" in text
    assert "reference run" not in text


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


def test_a_table_of_many_runs_shows_the_best_and_says_how_to_get_all(report):
    speedups = report.speedups[report.speedups["against"] == "baseline"]
    many = pd.concat([speedups] * 20, ignore_index=True).assign(
        label=[f"Run{n}" for n in range(60)],
        prompts_per_s_speedup=[1 + (n * 7 % 60) / 100 for n in range(60)],
    )
    large = replace(report, speedups=many)
    short, full = terminal(large, 100), terminal(large, 100, rows=None)
    assert "The best 40 of 60 rows; --all, --format md or csv has all." in short
    shown = {int(n) for n in re.findall(r"^ Run(\d+) ", short, re.MULTILINE)}
    assert shown == {n for n in range(60) if n * 7 % 60 >= 20}
    assert len(set(re.findall(r"^ Run(\d+) ", full, re.MULTILINE))) == 60 and "of 60 rows" not in full


def test_runs_of_different_profiles_are_said_to_be(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=5, arms=REFERENCE_ARMS[:2])
    assert not any("profiles" in notice for notice in report_of(tmp_path).notices)
    path = folder / REFERENCE_ARMS[1].run_name(0, False) / "config.json"
    path.write_text(path.read_text().replace('"profile":"synthetic"', '"profile":"gpu"'))
    notices = report_of(tmp_path).notices
    assert any("different profiles: synthetic (1), gpu (1)" in notice for notice in notices)


def test_many_missing_runs_are_counted_not_listed(report):
    several = pd.concat([report.experiments.tail(1)] * 20, ignore_index=True).assign(state="pending")
    said = notices(several, pd.DataFrame({"run_name": []}), report.quarantine)
    assert "20 runs are pending; `sweepctl status` names them and says why." in said


def test_a_chosen_run_is_a_third_opponent_with_the_same_tests(report, tmp_path):
    write_synthetic_sweep(tmp_path, steps=8, questions=20)
    ingest(tmp_path)
    store = Store(tmp_path)
    before = store.path.read_bytes()
    with compared_with(store, "staleness", "Exp1") as copy:
        chosen = build_report(copy, "staleness")
    assert store.path.read_bytes() == before
    # Exp1 is the reference run: what is chosen must give its very figures.
    for frame, columns in (
        (chosen.speedups, ["label", "other_label", "prompts_per_s_speedup", "prompts_per_s_low"]),
        (chosen.deltas, ["label", "num_fewshot", "filter", "delta_points", "p_adjusted", "verdict"]),
    ):
        by = {name: part[columns].reset_index(drop=True) for name, part in frame.groupby("against")}
        pd.testing.assert_frame_equal(by["chosen"], by["reference"])
    page = render_markdown(chosen)
    assert page.count("Speedup against the reference run, which is also the chosen run") == 1
    assert "against the chosen run" not in page
    assert chosen.published_unix == pytest.approx(store.mtime, abs=1e-3)


@pytest.mark.parametrize(
    ("run", "problem"), [("Exp11", "did you mean 'Exp1'?"), ("zzz", "there are Exp1, Exp2, ")]
)
def test_a_chosen_run_that_is_not_there(report, tmp_path, run, problem):
    write_synthetic_sweep(tmp_path, steps=4, questions=5)
    ingest(tmp_path)
    with (
        pytest.raises(ConfigError, match=re.escape(problem)),
        compared_with(Store(tmp_path), "staleness", run),
    ):
        pass


def test_a_chosen_arm_is_each_seeds_own_run(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=5, arms=REFERENCE_ARMS[:2], seeds=(0, 1))
    ingest(tmp_path)
    with compared_with(Store(tmp_path), "staleness", "Exp2") as copy:
        rows = build_report(copy, "staleness").speedups.query("against == 'chosen'")
    assert set(zip(rows["label"], rows["other_label"], strict=True)) == {
        ("Exp1-seed0", "Exp2-seed0"),
        ("Exp1-seed1", "Exp2-seed1"),
    }
