"""The pages of step times and of the timeline: their figures, and what they say of stores with gaps."""

import json

import numpy as np
import pandas as pd
import pytest
from factories.page_factory import draw_page
from factories.sweep_factory import REFERENCE_ARMS

from results.figures.colours import (
    FIRST_CYCLE_COLOUR,
    OKABE_ITO,
    PART_COLOURS,
    POSITION_COLOURS,
    arm_styles,
)
from results.figures.steps import (
    FIRST_CYCLE,
    bin_width,
    cycle_positions,
    overlap_bars,
    shown_steps,
    step_time_bins,
    step_time_histograms,
    step_times,
)
from results.figures.timeline import LANES, NAMES, Panel, timelines
from results.ingest import ingest
from results.store import Store
from results.tables.steps import mode_curves_table, overlap_table, steps_table
from results.tables.timeline import lane_sentence, timeline
from trainer.records import RunState, RunStatus


@pytest.fixture(scope="module")
def store(runs_dir):
    return Store(runs_dir)


@pytest.fixture(scope="module")
def steps(store):
    return steps_table(store, "staleness")


@pytest.fixture(scope="module")
def run_of(report):
    return report.experiments.set_index("label")["run_name"].to_dict()


@pytest.fixture(scope="module")
def pair(store, run_of):
    return [Panel(label, timeline(store, "staleness", run_of[label], 4, 7)) for label in ("Exp3", "Exp5")]


def titles(steps):
    return {run: f"title of {run}" for run in steps["run_name"].unique()}


# --- step times


def test_the_curve_of_the_fitted_modes_lies_on_its_runs_histogram(steps, report, run_of):
    bins = step_time_bins(steps)
    curves = mode_curves_table(steps, report.modes, bin_width(steps["wall_s"]))
    assert set(curves["run_name"]) == {run_of["Exp5"]}
    figure = step_time_histograms(bins, titles(steps), {run_of["Exp5"]: [14.6, 28.6]}, curves)
    (curve,) = (trace for trace in figure.data if trace.name == "fitted modes")
    assert curve.xaxis == "x5"
    np.testing.assert_array_equal(curve.y, curves["steps"])
    lines = [(line.xref, line.yref, line.x0) for line in figure.layout.shapes]
    assert lines == [("x5", "y5 domain", 14.6), ("x5", "y5 domain", 28.6)]


def test_step_times_are_coloured_by_position_with_a_plot_for_each_run(steps):
    drawn = shown_steps(steps)
    pd.testing.assert_frame_equal(drawn[steps.columns], steps, check_like=True)
    figure = step_times(drawn, titles(steps))
    colours = {FIRST_CYCLE: FIRST_CYCLE_COLOUR} | dict(enumerate(POSITION_COLOURS))
    for row, (_, part) in enumerate(steps.groupby("run_name", sort=False), start=1):
        points = {
            (x, y, trace.marker.color)
            for trace in figure.data
            if trace.yaxis == ("y" if row == 1 else f"y{row}")
            for x, y in zip(trace.x, trace.y, strict=True)
        }
        expected = {
            (step, wall_s, colours[position])
            for step, wall_s, position in zip(
                part["step"], part["wall_s"], cycle_positions(part), strict=True
            )
        }
        assert points == expected
    names = [trace.name for trace in figure.data if trace.showlegend]
    assert len(names) == len(set(names)) == 3


def test_positions_of_a_long_cycle_share_no_colour_but_the_last_ones():
    steps = pd.DataFrame({"run_name": "a", "label": "a", "step": np.arange(27), "wall_s": 1.0})
    figure = step_times(steps.assign(sync_interval_steps=9, cycle_position=0).pipe(shown_steps), {"a": "a"})
    drawn = {trace.name: trace for trace in figure.data if trace.showlegend}
    assert len({trace.marker.color for trace in drawn.values()}) == len(drawn) == 7
    assert set(drawn["6th or a later step after a sync"].x) == {14, 15, 16, 17, 23, 24, 25, 26}


def test_of_many_steps_every_position_keeps_its_extremes():
    rng = np.random.default_rng(0)
    count = 30_000
    # The middle position lies between the others: a thinned whole would not have any of it.
    seconds = np.array([10.0, 20.0, 30.0])[np.arange(count) % 3] + rng.normal(0, 0.1, count)
    one = pd.DataFrame({"step": np.arange(count), "wall_s": seconds, "sync_interval_steps": 3})
    steps = pd.concat([one.assign(run_name=name, label=name) for name in "ab"])
    shown = shown_steps(steps, most=1200)
    assert len(shown) <= 1200
    warm = steps[steps["step"] >= 3]
    for run in "ab":
        for position in range(3):
            every = warm[(warm["run_name"] == run) & (warm["step"] % 3 == position)]["wall_s"]
            kept = shown[(shown["run_name"] == run) & (shown["cycle_position"] == position)]["wall_s"]
            assert len(kept) > 100
            assert (kept.min(), kept.max()) == (every.min(), every.max())


def test_overlap_is_the_larger_share_and_needs_the_engines_lane(report):
    untold = report.experiments["label"] == "Exp2"
    experiments = report.experiments.assign(engine_busy_s=report.experiments["engine_busy_s"].where(~untold))
    overlap = overlap_table(experiments)
    assert list(overlap["label"]) == ["Exp1", "Exp3", "Exp4", "Exp5"]
    larger = overlap[["engine_busy_share", "learner_busy_share"]].max(axis=1)
    np.testing.assert_allclose(overlap["overlap_efficiency"], larger)
    figure = overlap_bars(overlap, arm_styles(report.experiments))
    np.testing.assert_allclose(figure.data[0].x, 100 * overlap["overlap_efficiency"])
    assert figure.layout.annotations[0].text.startswith(f"{overlap['overlap_efficiency'].iloc[0]:.0%}: ")


# --- timeline


def test_every_span_is_a_bar_of_its_lane_and_time(pair):
    figure = timelines(pair)
    for number, panel in enumerate(pair):
        bars = {
            (trace.legendgroup, LANES[len(LANES) - 1 - y], base, length)
            for trace in figure.data
            if trace.type == "bar" and trace.yaxis == f"y{2 * number + 2}"
            for y, base, length in zip(trace.y, trace.base, trace.x, strict=True)
        }
        spans = panel.timeline.spans
        length = spans["end_s"] - spans["start_s"]
        assert bars == set(zip(spans["name"], spans["lane"], spans["start_s"], length, strict=True))
    longest = max(panel.timeline.seconds for panel in pair)
    assert figure.layout.xaxis.range == (0, longest)  # one scale for both


def test_groups_in_flight_and_step_numbers_are_of_their_own_run(pair):
    figure = timelines(pair)
    for number, panel in enumerate(pair):
        lines = [trace for trace in figure.data if trace.type == "scatter"]
        axis = "y" if number == 0 else "y3"
        (area,) = (trace for trace in lines if trace.fill == "tozeroy" and trace.yaxis == axis)
        np.testing.assert_array_equal(area.x, panel.timeline.in_flight["start_s"])
        np.testing.assert_array_equal(area.y, panel.timeline.in_flight["groups"])
        axis = f"y{2 * number + 2}"
        (numbers,) = (trace for trace in lines if trace.mode == "text" and trace.yaxis == axis)
        assert list(numbers.text) == ["4", "5", "6", "7"]
        np.testing.assert_array_equal(numbers.x, panel.timeline.steps["start_s"])


def test_waiting_is_hatched_and_nothing_else_is(pair):
    hatched = {
        trace.legendgroup: trace.marker.pattern.shape == "/"
        for trace in timelines(pair).data
        if trace.type == "bar"
    }
    assert hatched == {
        "generate": False,
        "idle:admission": True,
        "wait": True,
        "learn": False,
        "verify": False,
    }


def test_a_name_that_is_new_is_drawn_too_and_the_legend_has_each_once(pair):
    spans = pair[0].timeline.spans.copy()
    spans.loc[spans.index[0], "name"] = "<b>new</b>"
    panels = [Panel("a", type(pair[0].timeline)(pair[0].timeline.steps, spans, pair[0].timeline.in_flight))]
    figure = timelines(panels * 2)
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert "&lt;b&gt;new&lt;/b&gt;" in named
    assert len(named) == len(set(named))


def test_no_colour_of_the_lanes_means_something_else_elsewhere():
    others = {*OKABE_ITO, *POSITION_COLOURS, FIRST_CYCLE_COLOUR}
    assert not others & set(NAMES.values())
    for name, colour in NAMES.items():
        same = {other for other, its in NAMES.items() if its == colour}
        assert len({word.removeprefix("idle:") for word in same}) == 1, name
        meant = {part for part, its in PART_COLOURS.items() if its == colour}
        assert meant <= {name.removeprefix("idle:")}, name


# --- pages


def sentences(app):
    return "\n".join(block.value for block in app.markdown).replace("\\", "")


def test_the_timeline_begins_with_the_run_that_gains_most_and_its_baseline(runs_dir, store, report, run_of):
    app = draw_page("timeline", runs_dir, "staleness")
    gains = report.speedups[report.speedups["against"] == "baseline"].set_index("label")
    best = gains["prompts_per_s_speedup"].astype(float).idxmax()
    assert app.selectbox(key="lower").value == best
    assert app.selectbox(key="upper").value == gains.loc[best, "other_label"]
    assert (app.number_input(key="from_step").value, app.number_input(key="to_step").value) == (4, 7)
    for label in (best, gains.loc[best, "other_label"]):
        found = timeline(store, "staleness", run_of[label], 4, 7)
        assert f"{label}, steps 4 to 7" in sentences(app)
        assert lane_sentence(found) in sentences(app)


def test_the_timeline_shows_the_runs_and_steps_chosen(runs_dir, store, run_of):
    app = draw_page("timeline", runs_dir, "staleness")
    app.selectbox(key="upper").set_value("Exp1")
    app.selectbox(key="lower").set_value("Exp1")
    app.number_input(key="from_step").set_value(9)
    app.number_input(key="to_step").set_value(8).run()
    assert not app.exception
    found = timeline(store, "staleness", run_of["Exp1"], 8, 9)
    assert sentences(app).count("steps 8 to 9") == 1
    assert lane_sentence(found) in sentences(app)
    app.number_input(key="from_step").set_value(14)
    app.number_input(key="to_step").set_value(99).run()
    assert [info.value for info in app.info] == ["The last step that Exp1 has done is step 15."]
    app.number_input(key="from_step").set_value(50).run()
    assert not app.exception
    assert "steps" not in sentences(app)


def test_more_spans_than_can_be_drawn_are_said(runs_dir, monkeypatch):
    monkeypatch.setattr("dashboard.page.timeline.MOST_SPANS", 200)
    app = draw_page("timeline", runs_dir, "staleness")
    app.number_input(key="from_step").set_value(0)
    app.number_input(key="to_step").set_value(15).run()
    (said,) = [info.value for info in app.info]
    assert said.startswith("Steps 0 to 15 have more than 200 spans: those up to step ")
    monkeypatch.setattr("dashboard.page.timeline.MOST_SPANS", 3)
    app.run()
    assert "more than the 3 that can be drawn" in app.info[-1].value
    assert not app.exception


def test_a_running_run_has_a_timeline_as_far_as_it_has_come(runs_dir):
    app = draw_page("timeline", runs_dir, "partial")
    assert app.selectbox(key="upper").options == ["Exp1", "Exp2", "Exp3", "Exp4"]
    assert "the engine idled" in sentences(app)


def test_traces_without_lanes_are_explained(runs_dir, tmp_path):
    for folder in (runs_dir / "staleness").glob("s*_*"):
        (tmp_path / "staleness" / folder.name).mkdir(parents=True)
        lines = (folder / "trace.jsonl").read_text().splitlines()
        kept = [line for line in lines if '"kind":"step"' in line or '"kind":"run_started"' in line]
        (tmp_path / "staleness" / folder.name / "trace.jsonl").write_text("\n".join(kept) + "\n")
        (tmp_path / "staleness" / folder.name / "config.json").write_bytes(
            (folder / "config.json").read_bytes()
        )
    (tmp_path / "staleness" / "sweep.json").write_bytes((runs_dir / "staleness" / "sweep.json").read_bytes())
    ingest(tmp_path)
    app = draw_page("timeline", tmp_path, "staleness")
    assert "hold no spans" in app.info[0].value
    app = draw_page("step_times", tmp_path, "staleness")
    assert "when the engine was busy" in app.info[0].value


def test_before_the_first_step_the_timeline_says_so(runs_dir, tmp_path):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "sweep.json").write_bytes((runs_dir / "partial" / "sweep.json").read_bytes())
    ingest(tmp_path)
    app = draw_page("timeline", tmp_path, "partial")
    assert app.info[0].value.startswith("No run has finished a step yet.")


def test_pages_are_of_the_runs_that_the_filter_leaves(runs_dir, run_of):
    left = [run_of["Exp2"], run_of["Exp4"]]
    assert draw_page("timeline", runs_dir, left=left).selectbox(key="upper").options == ["Exp2", "Exp4"]
    said = sentences(draw_page("step_times", runs_dir, left=left))
    named = [label for label in ("Exp1:", "Exp2:", "Exp3:", "Exp4:", "Exp5:") if label in said]
    assert named == ["Exp2:", "Exp4:"]


def test_runs_made_elsewhere_have_their_published_step_times(tmp_path):
    figures = {"mean": 42.6, "std": 1.53, "min": 39.1, "max": 46.8}
    arm = REFERENCE_ARMS[0]
    run = {"run_name": "there", "label": "Exp1", "config": arm.config(100, 0)}
    manifest = {
        "name": "elsewhere",
        "runs": [run | {"published": {"step_time_s": figures}}],
        "baseline": "synchronous",
        "reference": {"max_staleness": 0},
    }
    status = RunStatus(state=RunState.SUCCEEDED, attempt=0, heartbeat=0.0, step=100, max_steps=100)
    (tmp_path / "elsewhere" / "there").mkdir(parents=True)
    (tmp_path / "elsewhere" / "there" / "status.json").write_text(status.model_dump_json())
    (tmp_path / "elsewhere" / "sweep.json").write_text(json.dumps(manifest))
    ingest(tmp_path)
    app = draw_page("step_times", tmp_path, "elsewhere")
    (table,) = [each.value for each in app.dataframe]
    assert table[["step_mean_s", "step_std_s", "step_min_s", "step_max_s"]].iloc[0].tolist() == [
        *figures.values()
    ]
    for page in ("step_times", "timeline"):
        app = draw_page(page, tmp_path, "elsewhere")
        assert app.info[0].value.startswith("No step of these runs is on record")
