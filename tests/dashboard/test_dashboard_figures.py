"""Figures hold the frame they were given, and an arm has one colour."""

import numpy as np
import pandas as pd
import pytest
from factories.quality_factory import SWEEP

from dashboard.data import View, load_report
from results.figures.colours import OKABE_ITO, PART_COLOURS, arm_styles
from results.figures.plan import predicted_against_measured
from results.figures.quality import delta_forest, exact_match, verdict_words
from results.figures.speed import speedup_bars
from results.figures.staleness import metric_by_age, metric_by_step
from results.figures.steps import (
    FIRST_CYCLE,
    bin_width,
    step_parts,
    step_time_bins,
    step_time_histograms,
)
from results.report.build import build_report
from results.store import Store
from results.tables.steps import steps_table


@pytest.fixture(scope="module")
def view(runs_dir):
    experiments = load_report(runs_dir, Store(runs_dir).mtime, "staleness").experiments
    return View(runs_dir, Store(runs_dir).mtime, "staleness", tuple(experiments["run_name"]))


@pytest.fixture(scope="module")
def steps(view):
    return view.steps(view.runs)


@pytest.fixture(scope="module")
def styles(report):
    return arm_styles(report.experiments)


@pytest.fixture(scope="module")
def deltas(report):
    rows = report.deltas[(report.deltas["against"] == "base") & (report.deltas["filter"] == "strict-match")]
    return rows.sort_values(["num_fewshot", "position"])


def run_of(report, label):
    return report.experiments.set_index("label").loc[label, "run_name"]


def test_colours_go_by_the_plan_and_not_by_what_has_run(report, styles):
    pending = report.experiments.assign(state="pending", steps_done=0)
    pending.loc[pending.index[-1], "state"] = "infeasible"
    assert arm_styles(pending) == styles
    assert [style.colour for style in styles.values()] == list(OKABE_ITO[:5])
    assert run_of(report, "Exp6") not in styles  # infeasible: takes no colour from the others


def test_seeds_of_an_arm_share_a_style_and_more_than_eight_arms_stay_distinct():
    plan = pd.DataFrame(
        {
            "run_name": [f"r{n}" for n in range(22)],
            "arm_id": [f"a{n // 2}" for n in range(20)] + [None, None],
            "state": "pending",
        }
    )
    styles = arm_styles(plan)
    assert all(styles[f"r{n}"] == styles[f"r{n + 1}"] for n in range(0, 20, 2))
    assert len(set(styles.values())) == 12


def test_speedup_bars_are_the_ratios_and_their_intervals(report, styles):
    part = report.speedups[report.speedups["against"] == "reference"]
    bars = speedup_bars(part, styles)
    drawn, *intervals = bars.data
    np.testing.assert_allclose(drawn.x, part["prompts_per_s_speedup"])
    known = part.dropna(subset=["prompts_per_s_low"])
    assert 0 < len(known) < len(part)
    for ends in intervals:
        assert list(ends.y) == [f"{label} vs Exp1" for label in known["label"]]
        np.testing.assert_allclose(np.add(ends.x, ends.error_x.array), known["prompts_per_s_high"])
        np.testing.assert_allclose(np.subtract(ends.x, ends.error_x.arrayminus), known["prompts_per_s_low"])
    assert len(intervals) == 2
    assert list(drawn.y) == [f"{label} vs Exp1" for label in part["label"]]
    assert list(drawn.marker.color) == [styles[run].colour for run in part["run_name"]]
    first = part.iloc[0]
    assert any(f"{first['prompts_per_s_speedup']:.2f}× [" in note.text for note in bars.layout.annotations)


def test_a_speedup_without_an_interval_is_drawn_without_one(report, styles):
    part = report.speedups.head(1).assign(prompts_per_s_low=np.nan, prompts_per_s_high=np.nan)
    figure = speedup_bars(part, styles)
    assert [trace.type for trace in figure.data] == ["bar"]
    note = figure.layout.annotations[0].text
    assert "×" in note
    assert "nan" not in note
    assert "[" not in note


def test_bins_count_every_step_once_on_a_grid_all_runs_share(steps):
    bins = step_time_bins(steps)
    assert bins.groupby("run_name")["steps"].sum().to_dict() == steps.groupby("run_name").size().to_dict()
    width = bin_width(steps["wall_s"])
    np.testing.assert_allclose(bins["high_s"] - bins["low_s"], width)
    np.testing.assert_allclose(bins["low_s"] / width, (bins["low_s"] / width).round(), atol=1e-9)
    assert list(bins["label"].unique()) == ["Exp1", "Exp2", "Exp3", "Exp4", "Exp5"]


def test_both_modes_of_arm_5_are_in_bins_of_their_own_position(steps):
    bins = step_time_bins(steps)
    warm = bins[(bins["label"] == "Exp5") & (bins["cycle_position"] != FIRST_CYCLE)]
    slow, fast = (warm[warm["cycle_position"] == position] for position in (0, 1))
    assert slow["steps"].sum() == fast["steps"].sum() == (len(steps[steps["label"] == "Exp5"]) - 2) // 2
    assert slow["low_s"].between(27, 30).all()
    assert fast["low_s"].between(13, 16).all()
    assert (bins.loc[bins["cycle_position"] == FIRST_CYCLE].groupby("label")["steps"].sum() >= 1).all()


@pytest.mark.parametrize(
    ("seconds", "width"),
    [([10.0, 90.0], 1.0), ([10.0, 10.0], 0.125), ([0.001, 0.009], 1e-4), ([5.0] * 500 + [900.0], 5.0)],
)
def test_bin_widths_are_round_and_outliers_do_not_make_thousands(seconds, width):
    assert bin_width(pd.Series(seconds)) == pytest.approx(width)


def test_histograms_draw_each_bin_on_its_runs_row_and_name_each_position_once(steps):
    bins = step_time_bins(steps)
    titles = {run: f"title of {run}" for run in bins["run_name"].unique()}
    figure = step_time_histograms(bins, titles, {})
    assert sum(sum(trace.y) for trace in figure.data) == bins["steps"].sum()
    for row, run in enumerate(bins["run_name"].unique(), start=1):
        axis = "x" if row == 1 else f"x{row}"
        drawn = sorted(x for trace in figure.data if trace.xaxis == axis for x in trace.x)
        part = bins[bins["run_name"] == run]
        np.testing.assert_allclose(drawn, sorted((part["low_s"] + part["high_s"]) / 2))
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(named) == [
        "1st step after a sync",
        "2nd step after a sync",
        "first sync cycle, fills the pipeline",
    ]
    assert [note.text for note in figure.layout.annotations] == list(titles.values())
    assert figure.layout.xaxis5.title.text == "step time (s)"


def test_parts_add_up_to_the_step_and_a_cycle_of_two_has_two_bars(view):
    positions = view.step_positions(view.runs)
    figure = step_parts(positions)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [bar.name for bar in bars] == list(PART_COLOURS)
    np.testing.assert_allclose(np.sum([bar.x for bar in bars], axis=0), positions["wall_s"])
    assert list(bars[0].y)[-2:] == ["Exp5, step 1 of 2", "Exp5, step 2 of 2"]
    assert figure.layout.xaxis.title.text.startswith("mean seconds a step")


def test_accuracy_is_drawn_with_its_standard_errors(report, styles):
    part = report.accuracy[report.accuracy["filter"] == "strict-match"]
    figure = exact_match(part, styles)
    assert [trace.name for trace in figure.data] == ["base", "Exp1", "Exp2", "Exp3", "Exp4", "Exp5"]
    for trace in figure.data:
        rows = part[part["label"] == trace.name]
        assert list(trace.x) == [f"{shots}-shot" for shots in rows["num_fewshot"]]
        np.testing.assert_array_equal(trace.y, rows["value_percent"])
        np.testing.assert_array_equal(trace.error_y.array, rows["stderr_percent"])
    low, high = figure.layout.yaxis.range
    assert low < (part["value_percent"] - part["stderr_percent"]).min()
    assert high > (part["value_percent"] + part["stderr_percent"]).max()


def test_the_forest_has_every_delta_its_interval_and_its_verdict(deltas, styles):
    figure = delta_forest(deltas, styles, margin_points=2.0)
    points = figure.data[0]
    np.testing.assert_array_equal(points.x, deltas["delta_points"])
    np.testing.assert_allclose(np.add(points.x, points.error_x.array), deltas["high"].astype(float))
    assert [note.text for note in figure.layout.annotations] == [
        verdict_words(row) for row in deltas.to_dict("records")
    ]
    band = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (band.x0, band.x1) == (-2.0, 2.0)


def test_inconclusive_is_open_and_refused_has_words_but_no_point(deltas, styles):
    rows = deltas.assign(verdict="inconclusive", detectable_points=12.3)
    rows.loc[rows.index[0], "verdict"] = "refused"
    figure = delta_forest(rows, styles, margin_points=2.0)
    assert len(figure.data[0].x) == len(rows) - 1
    assert set(figure.data[0].marker.symbol) == {"circle-open"}
    notes = [note.text for note in figure.layout.annotations]
    assert notes[0] == "✗ not compared"
    assert notes[1].endswith("? inconclusive, &lt; 12.3 unseen")


@pytest.fixture(scope="module")
def seeds(quality_dir):
    return build_report(Store(quality_dir), SWEEP)


def test_of_several_seeds_a_legend_names_the_arms_and_no_labels_write_over_each_other(seeds):
    styles = arm_styles(seeds.experiments)
    line, *arms = predicted_against_measured(seeds.plan, styles).data
    assert not line.showlegend
    assert [arm.name for arm in arms] == ["Exp3", "Exp4", "Exp5"]
    assert {arm.mode for arm in arms} == {"markers"}
    drawn = {label: x for arm in arms for label, x in zip(arm.text, arm.x, strict=True)}
    assert drawn == dict(zip(seeds.plan["label"], seeds.plan["measured_step_s"], strict=True))
    one = seeds.plan[seeds.plan["label"].str.endswith("seed0")]
    [points] = predicted_against_measured(one, styles).data[1:]
    assert (points.mode, list(points.text)) == ("markers+text", list(one["label"]))


def test_too_many_arms_for_a_legend_are_one_trace(seeds):
    styles = arm_styles(seeds.experiments)
    many = pd.concat([seeds.plan.assign(label=f"Exp{number}-seed0") for number in range(13)])
    figure = predicted_against_measured(many, styles)
    assert len(figure.data) == 2
    assert not figure.layout.showlegend


def test_seeds_of_an_arm_have_one_entry_in_the_legend(seeds, quality_dir):
    styles = arm_styles(seeds.experiments)
    steps = steps_table(Store(quality_dir), SWEEP)
    lines = metric_by_step(steps, styles, "ess").data
    assert len(lines) == steps["run_name"].nunique() == 6
    assert [line.name for line in lines if line.showlegend] == ["Exp3", "Exp4", "Exp5"]
    assert all("-seed" in line.hovertemplate for line in lines)
    points = metric_by_age(seeds.age_effects, styles, "ess").data
    assert [mark.name for mark in points if mark.showlegend] == ["Exp3", "Exp4", "Exp5"]
    one = metric_by_step(steps[steps["label"] == "Exp4-seed1"], styles, "ess").data
    assert [line.name for line in one] == ["Exp4-seed1"]
