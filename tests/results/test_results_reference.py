"""The reference's own lm-eval output gives the reference's own tables, to the last digit."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from results.ingest import ingest
from results.report.build import build_report
from results.report.render import render_markdown, render_terminal
from results.store import Store, records
from results.tables.accuracy import default_filter_rows
from results.tables.published import (
    published_speed_table,
    published_speedup_table,
    published_step_times_table,
)
from sweepctl.commands.import_ import import_folder
from trainer.config import RunConfig
from trainer.paths import SweepPaths

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
RUN_TABLE = Path(__file__).parents[1] / "sweepctl" / "reference_runs.yaml"
MODEL = "Qwen/Qwen3-1.7B-Base"
ARMS = {"exp1": ("gsm8k_s0_opt16_lr1e6", 0), "exp2": ("gsm8k_s1_opt16_lr1e6", 1)}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The reference's results where a sweep would have put them."""
    runs = tmp_path_factory.mktemp("reference")
    sweep = SweepPaths(runs / "gsm8k")
    planned = []
    for label, (name, staleness) in ARMS.items():
        config = RunConfig(model=MODEL, max_staleness=staleness)
        planned.append(
            {"run_name": name, "label": label.capitalize(), "config": config.model_dump(mode="json")}
        )
    for shots in (0, 4, 8):
        targets = {"base": sweep.base_evaluation(MODEL, "gsm8k_cot", shots)}
        targets |= {
            k: sweep.run(name).evaluation("step_000100", "gsm8k_cot", shots) for k, (name, _) in ARMS.items()
        }
        for source, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REFERENCE / "eval_results" / f"{source}_{shots}shot.json", target)
    sweep.manifest.write_text(
        json.dumps({"version": 1, "name": "gsm8k", "runs": planned, "baseline": "synchronous", "margin": 2.0})
    )
    ingest(runs)
    return build_report(Store(runs))


def published(heading):
    """A table of the reference's page: label -> cells, for the models whose lm-eval output is there."""
    page = (REFERENCE / "gsm8k-staleness-sweep.md").read_text()
    section = page.split(f"### {heading}")[1].split("###")[0]
    rows = {}
    for line in section.splitlines():
        match = re.match(r"\| (Base|Exp[12])\b[^|]*\| (.+) \|", line)
        if match:
            rows[match[1]] = match[2].split(" | ")
    assert len(rows) >= 2
    return rows


def by_label(frame, column, form):
    chosen = default_filter_rows(frame)
    return {
        label.capitalize(): [format(value, form) for value in part.sort_values("num_fewshot")[column]]
        for label, part in chosen.groupby("label")
    }


def test_exact_match_is_the_published_one(report):
    assert by_label(report.accuracy, "value_percent", ".2f") == published("Exact Match Accuracy (%)")


def test_delta_from_base_is_the_published_one(report):
    from_base = report.deltas[report.deltas["against"] == "base"]
    assert by_label(from_base, "delta_points", "+.2f") == published("Delta from Base Model (%)")


def test_verdicts_are_unpaired_and_no_arm_learned(report):
    assert set(report.deltas["method"]) == {"unpaired"}
    assert set(report.deltas["verdict"]) == {"inconclusive"}
    assert any("quality was not tested" in sentence for sentence in report.observations)


def test_the_report_shows_the_published_figures(report):
    console = Console(width=100, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        render_terminal(report, console)
    for text in (capture.get(), render_markdown(report)):
        for figure in ("56.03", "52.08", "64.67", "-0.38", "-0.99", "+0.23"):
            assert figure in text


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The reference as `sweepctl import --runs` takes it in."""
    runs = tmp_path_factory.mktemp("imported") / "runs"
    import_folder(runs, REFERENCE / "eval_results", name="gsm8k", runs=RUN_TABLE, as_json=False)
    ingest(runs)
    return Store(runs)


def page_section(heading):
    page = (REFERENCE / "gsm8k-staleness-sweep.md").read_text()
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_published_speed_is_the_references_table_cell_by_cell(imported):
    expected = [
        [cell.strip().replace("*", "") for cell in line.strip("|").split("|")]
        for line in page_section("Training Speed Results").splitlines()
        if line.startswith("| Exp") and "Experiment" not in line
    ]
    shown = []
    for row in records(published_speed_table(imported, "gsm8k")):
        star = "*" if "sync modified" in row["notes"] else ""
        knobs = f"s{row['max_staleness']}, opt{row['prompts_per_optim_step']}"
        first = row["run_name"] == row["other_run"]
        shown.append(
            [
                f"{row['label']} ({knobs}, sync{row['prompts_per_rollout_sync']}{star})".replace("*", ""),
                f"{row['training_time_s'] / 60:.1f} min",
                f"{row['step_mean_s']:.1f}s",
                f"{row['step_time_speedup']:.1f}x" + (" (baseline)" if first else ""),
            ]
        )
    assert len(shown) == 5 and shown == expected


def test_the_published_ratios_bear_the_digits_they_are_printed_with(imported):
    speed = published_speed_table(imported, "gsm8k").set_index("label")
    assert (speed[["step_time_speedup_decimals", "training_time_ratio_decimals"]] >= 1).all(axis=None)
    by_time = [f"{ratio:.1f}" for ratio in speed["training_time_ratio"]]
    assert by_time == ["1.0", "1.5", "1.5", "2.8", "2.0"]
    exp4 = speed.loc["Exp4"]
    assert f"{exp4['prompts_per_s_speedup']:.{exp4['prompts_per_s_speedup_decimals']}f}x" == "1.40x"
    ends = exp4["step_time_speedup_low"], exp4["step_time_speedup_high"]
    assert ends == pytest.approx((42.55 / 15.25, 42.65 / 15.15))
    assert speed["step_time_comparable"].to_dict() == {
        "Exp1": True, "Exp2": True, "Exp3": False, "Exp4": False, "Exp5": False
    }  # fmt: skip


def test_the_references_first_observation_is_that_against_the_matched_baseline(imported):
    against = published_speedup_table(imported, "gsm8k")
    baseline = against[against["against"] == "baseline"].set_index("label")
    said = list(re.finditer(r"(Exp\d) → (Exp\d): .* \((.*)x\)", page_section("Training Speed Results")))
    assert len(said) == 2
    for match in said:
        assert baseline.loc[match[2], "other_label"] == match[1]
        assert f"{baseline.loc[match[2], 'training_time_ratio']:.1f}" == match[3]
    pairs = {"Exp2": "Exp1", "Exp4": "Exp3", "Exp5": "Exp3"}
    assert baseline["other_label"].to_dict() == pairs


def test_published_step_times_are_worded_as_on_the_page(imported):
    words = published_step_times_table(imported, "gsm8k").set_index("label")["text"].to_dict()
    assert words == {
        "Exp1": "all steps in 39.1-46.8 s; standard deviation 1.53 s",
        "Exp2": "66 steps in 28.2-29.1 s; 1 step at 42.2 s",
        "Exp3": "all steps in 25.3-32.1 s",
        "Exp4": "75 of 99 steps in 14.4-15.3 s",
        "Exp5": "about 50 steps at 14 s; about 45 steps in 28-29 s",
    }
    page = page_section("Training Speed Results")
    assert all(said in page for said in ("66 steps in 28.2-29.1s", "75 of 99 steps in 14.4-15.3s"))


def test_published_speed_is_not_among_measured_figures(imported):
    report = build_report(imported, "gsm8k")
    assert report.experiments["step_mean_s"].isna().all()
    assert report.speedups["step_time_speedup"].isna().all()


def test_what_asynchrony_was_worth_is_given_against_the_matched_baseline(imported):
    """The publication's own comparison: Exp1 -> Exp2 1.5x, Exp3 -> Exp4 1.9x."""
    report = build_report(imported)
    twins = report.published_speedups[report.published_speedups["against"] == "baseline"]
    ratios = {
        (a, b): f"{x:.1f}"
        for a, b, x in zip(twins["label"], twins["other_label"], twins["training_time_ratio"], strict=True)
    }
    assert ratios == {("Exp2", "Exp1"): "1.5", ("Exp4", "Exp3"): "1.9", ("Exp5", "Exp3"): "1.4"}
    page = render_markdown(report)
    assert "| Exp4 | Exp3 | 1.89x<br>" in page
    assert "| &lt;run>/eval/&lt;checkpoint>/" in page, "no tag that a browser would drop"
