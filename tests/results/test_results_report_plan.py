"""A report on how right predictions were, in every format, and its figures."""

import csv
import io
import json
import re

import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from scipy import stats

from results.figures.colours import PART_COLOURS, arm_styles
from results.figures.plan import phase_bars, predicted_against_measured
from results.ingest import ingest
from results.report.build import build_report
from results.report.charts import charts
from results.report.csv_tables import csv_table
from results.report.json_document import document, render_json
from results.report.plan import plan_observations
from results.report.render import render_markdown
from results.store import Store, records
from results.tables.plan import PHASES
from results.tables.plan_arms import plan_arms_table
from trainer.paths import SweepPaths

TITLE = "Predicted and measured"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    runs = tmp_path_factory.mktemp("plan")
    write_synthetic_sweep(runs, steps=24, questions=5)
    ingest(runs)
    return Store(runs)


@pytest.fixture(scope="module")
def report(store):
    return build_report(store)


@pytest.fixture(scope="module")
def unlike(tmp_path_factory):
    """Reports of a sweep that nobody predicted, and of one of which nothing is measured."""
    found = {}
    for name in ("no prediction", "no measurement"):
        runs = tmp_path_factory.mktemp("unlike")
        root = write_synthetic_sweep(runs, steps=4, questions=5, arms=REFERENCE_ARMS[:2])
        manifest = json.loads(SweepPaths(root).manifest.read_text())
        if name == "no prediction":
            for run in manifest["runs"]:
                run.pop("prediction", None)
            SweepPaths(root).manifest.write_text(json.dumps(manifest))
        else:
            for path in root.glob("*/*"):
                if path.name in ("trace.jsonl", "status.json"):
                    path.unlink()
        ingest(runs)
        found[name] = (Store(runs), build_report(Store(runs)))
    return found


def section(report):
    return render_markdown(report).split(f"\n## {TITLE}\n")[1].split("\n## ")[0]


def test_predicted_stands_beside_measured_with_the_error(report):
    rows = re.findall(
        r"^\| (Exp\d) \| ([\d.]+)<br>\[[\d.–]+\] \| ([\d.]+) \| ([-+][\d.]+%)", section(report), re.M
    )
    assert len(rows) == 5
    for row, (label, predicted, measured, error) in zip(records(report.plan), rows, strict=True):
        assert label == row["label"]
        assert float(predicted) == pytest.approx(row["predicted_step_s"], rel=0.005)
        assert float(measured) == pytest.approx(row["measured_step_s"], rel=0.005)
        assert error == f"{row['predicted_step_s'] / row['measured_step_s'] - 1:+.1%}"


def test_what_failed_is_told_first_and_every_run_is_told(report):
    told = [line for line in section(report).splitlines() if re.match(r"- Exp\d: predicted", line)]
    assert [line[2:6] for line in told] == ["Exp4", "Exp3", "Exp1", "Exp2", "Exp5"]
    assert all(f"- {sentence}" in told for sentence in report.plan["sentence"])


def test_observations_count_errors_ranges_modes_and_failures(report):
    error = (report.plan["predicted_step_s"] / report.plan["measured_step_s"] - 1).abs()
    source, errors, modes, places, failed = report.plan_observations
    assert source == "5 runs predicted before the first step; costs: fitted on earlier/arm1."
    assert f"off by {error.median():.1%} in the median and {error.max():.1%} at most (Exp4)" in errors
    assert "3 of 5 measured ones lie where chance alone puts 95 %" in errors
    assert modes == "As many step-time modes as predicted: 5 of 5 finished runs."
    before, told = places.split(": ")
    assert before == "Mean step times by place in the sync cycle, in s"
    assert re.fullmatch(r"Exp5 28\.\d and 14\.\d \(predicted 28\.6 and 14\.7\)\.", told)
    assert failed == "Assumptions that failed: groups needed (Exp3); learner speed (Exp4)."
    assert not set(report.plan_observations) & set(report.observations)


def test_one_finished_run_is_named_and_none_says_only_where_costs_came_from(report):
    one = report.plan.assign(state=["succeeded"] + ["running"] * 4)
    assert any(
        said.startswith("The predicted mean step time of Exp1 is +")
        for said in plan_observations(one, report.plan_arms[:1])
    )
    none = report.plan.assign(state="running")
    assert len(list(plan_observations(none, report.plan_arms[:0]))) == 1


def test_many_failures_and_many_sources_are_counted(report):
    many = pd.concat([report.plan.assign(costs_source=f"fitted on run {place}") for place in range(5)])
    source, *_, failed = plan_observations(many, report.plan_arms)
    assert source.endswith("fitted on run 0, fitted on run 1, fitted on run 2 and 2 more.")
    assert failed == "Assumptions that failed: groups needed (5 runs); learner speed (5 runs)."


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    runs = tmp_path_factory.mktemp("seeds")
    write_synthetic_sweep(runs, steps=24, questions=5, arms=REFERENCE_ARMS[:2], seeds=(0, 1, 2))
    ingest(runs)
    return build_report(Store(runs))


def test_several_seeds_of_an_arm_are_averaged(seeds):
    rows = records(seeds.plan_arms)
    assert [(row["label"], row["seeds"]) for row in rows] == [("Exp1", 3), ("Exp2", 3)]
    for row in rows:
        runs = seeds.plan[seeds.plan["label"].str.startswith(row["label"])]
        measured = runs["measured_step_s"]
        assert row["measured_step_s"] == pytest.approx(measured.mean())
        low, high = stats.t.interval(0.95, 2, measured.mean(), stats.sem(measured))
        assert (row["measured_step_low"], row["measured_step_high"]) == pytest.approx((low, high))
        assert (row["measured_step_least"], row["measured_step_most"]) == (measured.min(), measured.max())
        assert row["predicted_step_s"] == pytest.approx(runs["predicted_step_s"].mean())
        assert row["step_error"] == pytest.approx(row["predicted_step_s"] / row["measured_step_s"] - 1)
    worst = max(rows, key=lambda row: abs(row["step_error"]))
    (said,) = [line for line in seeds.plan_observations if line.startswith("Over 3 seeds each")]
    assert f"{abs(worst['step_error']):.1%} at most ({worst['label']})" in said
    assert "Step times by arm, predicted and measured" in section(seeds)
    assert [row.label for row in document(seeds).plan_arms] == ["Exp1", "Exp2"]


def test_of_arms_only_finished_and_predicted_runs_count(seeds):
    plan = seeds.plan.copy()
    plan.loc[plan["label"] == "Exp2-seed1", "state"] = "running"
    table = plan_arms_table(seeds.experiments, plan[plan["label"] != "Exp1-seed0"])
    assert list(table["seeds"]) == [2, 2]
    assert table[["measured_step_low", "measured_step_high"]].isna().all(axis=None)
    assert plan_arms_table(seeds.experiments, plan.assign(state="running")).empty


def test_one_seed_is_no_mean(report):
    assert "Step times by arm" not in section(report)
    assert not [said for said in report.plan_observations if said.startswith("Over")]


def test_without_predictions_there_is_no_section_and_nothing_is_said(unlike):
    _, silent = unlike["no prediction"]
    assert TITLE not in render_markdown(silent) and silent.plan_observations == ()
    assert document(silent).plan == []


def test_before_anything_is_measured_the_predictions_stand_alone(unlike):
    store, before = unlike["no measurement"]
    assert "nothing is measured yet" in section(before) and "nan" not in section(before).lower()
    assert [row.measured_step_s for row in document(before).plan] == [None, None]
    assert not [chart for chart in charts(before, store) if chart.section == TITLE]
    assert len(phase_bars(before.plan).data[0].y) == 2


def test_json_and_csv_have_every_figure(report):
    rows = json.loads(render_json(report))["plan"]
    table = list(csv.DictReader(io.StringIO(csv_table(report, "plan"))))
    for row, cells, frame in zip(rows, table, records(report.plan), strict=True):
        assert row["predicted_step_s"] == frame["predicted_step_s"] == float(cells["predicted_step_s"])
        assert row["predicted_modes"] == json.loads(cells["predicted_modes"])
        assert row.keys() == cells.keys() >= set(frame) - {"position"}


class TestFigures:
    def test_a_point_for_each_run_with_its_range_and_the_line_where_both_are_equal(self, report):
        styles = arm_styles(report.experiments)
        line, points = predicted_against_measured(report.plan, styles).data
        assert list(line.x) == list(line.y) and line.x[0] < min(points.x) and max(points.x) < line.x[1]
        assert list(points.x) == list(report.plan["measured_step_s"])
        assert list(points.y) == list(report.plan["predicted_step_s"])
        upper = [y + end for y, end in zip(points.y, points.error_y.array, strict=True)]
        lower = [y - end for y, end in zip(points.y, points.error_y.arrayminus, strict=True)]
        assert upper == pytest.approx(list(report.plan["step_high_s"]))
        assert lower == pytest.approx(list(report.plan["step_low_s"]))
        assert list(points.marker.color) == [styles[run].colour for run in report.plan["run_name"]]

    def test_the_parts_of_two_bars_a_run_add_up_to_its_step(self, report):
        bars = phase_bars(report.plan).data
        assert [bar.name for bar in bars] == list(PHASES)
        assert [bar.marker.color for bar in bars] == [PART_COLOURS[name] for name in PHASES]
        sums = [sum(parts) for parts in zip(*(bar.x for bar in bars), strict=True)]
        steps = [row[f"{kind}_step_s"] for row in records(report.plan) for kind in ("predicted", "measured")]
        assert sums == pytest.approx(steps)
        assert list(bars[0].y)[:2] == ["Exp1, predicted", "Exp1, measured"]

    def test_the_page_has_both_and_says_them_in_words(self, report, store):
        against, parts = [chart for chart in charts(report, store) if chart.section == TITLE]
        assert "Exp3 predicted 22.7 s, measured 28." in against.alternative
        assert "Exp4: wait" in parts.alternative and "learn 10.4 and 14" in parts.alternative
