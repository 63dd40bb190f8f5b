"""The Speed page: who is compared with whom, in which unit, what is left by the filter, and the figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories.colour_contrast import contrast
from factories.page_factory import draw_page
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.figures.colours import OKABE_ITO, arm_styles
from results.figures.layout import INTERVAL, INTERVAL_EDGE
from results.figures.speed import UNITS, in_unit, ranked, speedup_bars
from results.files.comparisons import OPPONENTS
from results.ingest import ingest
from results.report.build import build_report
from results.report.chosen import compared_with
from results.store import Store
from sweepctl.commands.import_ import import_folder

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
RUN_TABLE = Path(__file__).parents[1] / "sweepctl" / "reference_runs.yaml"


@pytest.fixture(scope="module")
def seeds_dir(tmp_path_factory):
    """`seeds` has three seeds of each arm, `imported` what the reference published."""
    root = tmp_path_factory.mktemp("seeds")
    write_synthetic_sweep(root, "seeds", steps=8, questions=10, seeds=(0, 1, 2))
    import_folder(root, REFERENCE / "eval_results", name="imported", runs=RUN_TABLE, as_json=False)
    ingest(root)
    return root


@pytest.fixture(scope="module")
def seeds_report(seeds_dir):
    return build_report(Store(seeds_dir), "seeds")


@pytest.fixture(scope="module")
def part(report):
    return report.speedups[report.speedups["against"] == "reference"]


def draw(runs_dir, sweep, left=None, **query):
    return draw_page("speed.page", runs_dir, sweep, left, **query)


def run_table(app):
    return next(table.value for table in app.dataframe if "times" in table.value)


def captions(app):
    return "\n".join(caption.value for caption in app.caption).replace("\\", "")


@pytest.mark.parametrize("against", ["baseline", "reference"])
def test_one_kind_of_opponent_at_a_time(runs_dir, report, against):
    table = run_table(draw(runs_dir, "staleness", baseline=OPPONENTS[against]))
    expected = report.speedups[report.speedups["against"] == against]
    assert list(table["label"]) == list(expected["label"])
    for name in ("prompts_per_s", "completion_tokens_per_s"):
        assert list(table[f"{name}_speedup"]) == list(expected[f"{name}_speedup"])
        assert list(table[f"{name}_interval"]) == [
            "–" if np.isnan(low) else f"{low:.2f}–{high:.2f}"
            for low, high in zip(expected[f"{name}_low"], expected[f"{name}_high"], strict=True)
        ]
    unlike = list(~expected["step_time_comparable"].astype(bool))
    assert any(unlike) == ("comparable" in table)
    if any(unlike):
        assert list(table["comparable"] == "†") == unlike


def test_any_run_may_be_the_opponent(runs_dir, report):
    app = draw(runs_dir, "staleness", baseline="Exp2")
    with compared_with(Store(runs_dir), "staleness", "Exp2") as store:
        expected = build_report(store, "staleness").speedups
    expected = expected[expected["against"] == "chosen"]
    table = run_table(app)
    assert list(table["label"]) == ["Exp1", "Exp3", "Exp4", "Exp5"]
    assert set(table["other_label"]) == {"Exp2"}
    np.testing.assert_array_equal(table["prompts_per_s_speedup"], expected["prompts_per_s_speedup"])
    feasible = report.experiments.loc[report.experiments["state"] != "infeasible", "label"]
    assert app.selectbox(key="baseline").options == ["matched baseline", "reference run", *feasible]


def test_the_label_of_an_arm_means_each_seeds_own_run(seeds_dir):
    app = draw(seeds_dir, "seeds", baseline="Exp1")
    table = run_table(app)
    assert [other[-1] for other in table["other_label"]] == [label[-1] for label in table["label"]]


def test_over_seeds_there_is_an_arm_a_row_with_its_interval(seeds_dir, seeds_report):
    app = draw(seeds_dir, "seeds")
    arms = next(table.value for table in app.dataframe if "seeds" in table.value)
    expected = seeds_report.arm_speedups[seeds_report.arm_speedups["against"] == "baseline"]
    assert list(arms["label"]) == list(expected["label"]) == ["Exp2", "Exp4", "Exp5"]
    np.testing.assert_array_equal(arms["prompts_per_s_speedup"], expected["prompts_per_s_speedup"])
    assert "over 3 seeds, each against its own twin" in captions(app)


def test_the_filter_also_narrows_the_seeds_of_an_arm(seeds_dir, seeds_report):
    kept = [name for name in seeds_report.experiments["run_name"] if not name.endswith("seed2")]
    app = draw(seeds_dir, "seeds", left=kept)
    assert len(run_table(app)) == 6
    arms = next(table.value for table in app.dataframe if "seeds" in table.value)
    assert set(arms["seeds"]) == {2}
    assert all(text.startswith("(") for text in arms["prompts_per_s_interval"])
    assert "range of two seeds, which is no interval" in captions(app)


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_drawn_and_said(runs_dir, report, unit):
    app = draw(runs_dir, "staleness", unit=unit)
    part = report.speedups[report.speedups["against"] == "baseline"]
    best = ranked(in_unit(part, UNITS[unit])).iloc[0]
    assert f"right of 1× is faster: {best['label']} {best['words']} against" in captions(app)


def test_what_was_not_reached_is_a_bound_beside_its_sign_and_ranked_last(runs_dir, report):
    part = report.speedups[report.speedups["against"] == "baseline"].set_index("label")
    assert part["time_to_reward_bound"].fillna("").to_dict() == {"Exp2": ">", "Exp4": "", "Exp5": "<"}
    app = draw(runs_dir, "staleness", unit="time to reward")
    ratios = {label: f"{ratio:.2f}×" for label, ratio in part["time_to_reward_speedup"].items()}
    table = run_table(app)
    assert dict(zip(table["label"], table["to_reward"], strict=True)) == {
        "Exp2": f"> {ratios['Exp2']}",
        "Exp4": ratios["Exp4"],
        "Exp5": f"< {ratios['Exp5']}",
    }
    # What is saved as CSV has both apart, though the table shows them in one cell.
    assert list(table["time_to_reward_bound"].fillna("")) == list(part["time_to_reward_bound"].fillna(""))
    np.testing.assert_array_equal(table["time_to_reward_speedup"], part["time_to_reward_speedup"])
    said = captions(app)
    assert f"Exp2 other: not reached (> {ratios['Exp2']})" in said
    assert f"Exp5 not reached (< {ratios['Exp5']})" in said
    assert "range of two seeds" not in said
    assert said.index("Exp4 ") < said.index("Exp2 other")


def test_where_no_ratio_is_more_than_a_bound_nothing_is_drawn(runs_dir, report):
    exp5 = report.experiments.set_index("label").loc["Exp5", "run_name"]
    app = draw(runs_dir, "staleness", left=[exp5], unit="time to reward")
    assert any("Of no pair both runs reached the reward" in info.value for info in app.info)
    assert run_table(app)["to_reward"].iloc[0].startswith("< ")


def test_published_speed_is_in_tables_of_its_own(seeds_dir):
    app = draw(seeds_dir, "imported")
    assert [header.value for header in app.subheader] == ["As published elsewhere"]
    reference, twins = (table.value for table in app.dataframe)
    assert list(reference["step_time_speedup_text"])[:3] == [
        "1x (reference)",
        "1.46x [1.460–1.468]",
        "1.48x † [1.480–1.489]",
    ]
    assert list(twins["other_label"]) == ["Exp1", "Exp3", "Exp3"]
    assert "no confidence interval" in captions(app)


@pytest.mark.parametrize(
    ("unit", "column"), [("prompts/s", "prompts_per_s_speedup"), ("step time", "step_time_speedup")]
)
def test_published_speed_is_drawn_with_what_its_rounding_allows(seeds_dir, unit, column):
    app = draw(seeds_dir, "imported", published_unit=unit)
    table = build_report(Store(seeds_dir), "imported").published_speedups
    drawn = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert len(drawn) == 2
    marks = 0
    for figure, against in zip(drawn, ("reference", "baseline"), strict=True):
        part = table[table["against"] == against].sort_values(column, ascending=False)
        bar = figure["data"][0]
        assert bar["y"] == [f"{row.label} vs {row.other_label}" for row in part.itertuples()]
        np.testing.assert_allclose(bar["x"], part[column])
        ends = figure["data"][1]
        np.testing.assert_allclose(np.add(ends["x"], ends["error_x"]["array"]), part[f"{column}_high"])
        marks += bar["marker"]["pattern"]["shape"].count("/")
    assert marks == (int((~table["step_time_comparable"]).sum()) if unit == "step time" else 0)
    assert captions(app).count("which is no confidence interval") == 3


def test_one_run_alone_has_nothing_to_be_compared_with(runs_dir):
    app = draw(runs_dir, "fresh")
    assert any("Only one run has finished a step yet" in info.value for info in app.info)
    assert not app.dataframe


def test_where_the_filter_leaves_only_the_opponent_it_says_so(runs_dir, report):
    first = report.experiments["run_name"].iloc[0]
    app = draw(runs_dir, "staleness", left=[first], baseline="reference run")
    (said,) = (each.value.replace("\\", "") for each in app.info)
    assert said == (
        "Exp1 is the reference run. Choose another run under “Compared with”, or widen the filter in the "
        "sidebar, which leaves out 5 runs."
    )


def test_runs_without_a_matched_baseline_are_named_with_what_there_is(runs_dir, report):
    names = report.experiments.set_index("label")["run_name"]
    app = draw(runs_dir, "staleness", left=[names["Exp1"], names["Exp3"]], baseline="matched baseline")
    (said,) = (each.value.replace("\\", "") for each in app.info)
    assert said.startswith("Exp1 and Exp3 are matched baselines. Choose the reference run, with 1 pair, or")
    app = draw(runs_dir, "staleness", left=[names["Exp6"]])
    assert any("leaves no run that can run" in each.value for each in app.info)


def test_without_a_baseline_or_a_reference_any_run_can_still_be_chosen(tmp_path):
    sweep = write_synthetic_sweep(tmp_path, "alone", steps=12, questions=5, arms=REFERENCE_ARMS[:2])
    manifest = sweep / "sweep.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"baseline": None, "reference": None}))
    ingest(tmp_path)
    app = draw(tmp_path, "alone")
    assert app.selectbox(key="baseline").options == ["Exp1", "Exp2"]
    assert list(run_table(app)["label"]) == ["Exp2"]


def test_before_the_first_step_it_says_so(tmp_path, runs_dir):
    planned = tmp_path / "partial"
    planned.mkdir()
    (planned / "sweep.json").write_bytes((runs_dir / "partial" / "sweep.json").read_bytes())
    ingest(tmp_path)
    app = draw(tmp_path, "partial")
    assert any("No run has finished a step yet" in info.value for info in app.info)


class TestMap:
    def test_the_address_chooses_knobs_and_number(self, runs_dir):
        app = draw(runs_dir, "staleness", heat_x="optim.lr", heat_value="speed-up", heat_summary="mean")
        assert app.selectbox(key="heat_x").value == "optim.lr"
        assert "optim.lr" not in app.selectbox(key="heat_y").options
        assert "the geometric mean of its n runs" in captions(app)

    def test_the_two_knobs_are_never_the_same(self, runs_dir):
        app = draw(runs_dir, "staleness", heat_x="optim.lr", heat_y="optim.lr")
        assert app.selectbox(key="heat_y").value == "max_staleness"

    def test_one_knob_makes_no_map(self, tmp_path):
        write_synthetic_sweep(tmp_path, "few", steps=4, questions=5, arms=REFERENCE_ARMS[:2])
        ingest(tmp_path)
        app = draw(tmp_path, "few")
        assert any("only max_staleness varies" in info.value for info in app.info)


class TestBars:
    def test_unlike_steps_are_hatched_and_marked(self, report, part):
        bars = speedup_bars(part, arm_styles(report.experiments), UNITS["step time"])
        unlike = list(~part["step_time_comparable"].astype(bool))
        assert [shape == "/" for shape in bars.data[0].marker.pattern.shape] == unlike
        assert ["†" in note.text for note in bars.layout.annotations] == unlike
        np.testing.assert_array_equal(bars.data[0].x, part["step_time_cycles_speedup"])

    def test_prompts_a_second_are_always_comparable(self, report, part):
        bars = speedup_bars(part, arm_styles(report.experiments))
        assert set(bars.data[0].marker.pattern.shape) == {""}

    @pytest.mark.parametrize(
        ("bound", "words"),
        [("<", "not reached (< 1.40×)"), (">", "other: not reached (> 1.40×)"), (None, "1.40×")],
    )
    def test_a_bound_is_marked_as_one_and_has_no_bar(self, report, part, bound, words):
        row = part.head(1).assign(time_to_reward_speedup=1.4, time_to_reward_bound=bound)
        bars = speedup_bars(row, arm_styles(report.experiments), UNITS["time to reward"])
        assert [note.text for note in bars.layout.annotations] == [words]
        length = bars.data[0].x[0]
        assert length == 1.4 if bound is None else np.isnan(length)

    def test_bounds_come_after_all_that_was_measured(self, part):
        rows = part.assign(
            time_to_reward_speedup=[9.0, 1.2, 0.7, 1.5], time_to_reward_bound=["<", None, ">", None]
        )
        order = ranked(in_unit(rows, UNITS["time to reward"]))["ratio"]
        assert list(order) == [1.5, 1.2, 9.0, 0.7]

    def test_an_interval_stands_out_from_every_bar_and_page(self, report, part):
        bars = speedup_bars(part, arm_styles(report.experiments))
        edge, line = (trace.error_x for trace in bars.data[1:])
        np.testing.assert_array_equal(edge.array, line.array)
        assert edge.thickness > line.thickness
        grounds = [*OKABE_ITO, "#FFFFFF", "#0E1117"]  # the last two are the pages, light and dark
        best = [max(contrast(ground, mark) for mark in (edge.color, line.color)) for ground in grounds]
        assert (edge.color, line.color) == (INTERVAL_EDGE, INTERVAL)
        assert min(best) >= 4.5

    def test_rows_without_a_ratio_are_left_out(self, part):
        rows = part.assign(prompts_per_s_speedup=[np.nan, *part["prompts_per_s_speedup"][1:]])
        assert list(in_unit(rows, UNITS["prompts/s"])["label"]) == list(part["label"][1:])


def test_at_most_so_many_bars_best_first_and_it_says_so(report, runs_dir, monkeypatch):
    monkeypatch.setattr("dashboard.page.speed.page.MOST_BARS", 2)
    app = draw(runs_dir, "staleness", baseline="reference run")
    ratios = report.speedups[report.speedups["against"] == "reference"].set_index("label")
    best = ratios["prompts_per_s_speedup"].sort_values(ascending=False)
    said = captions(app)
    assert "The best 2 of 4 are drawn." in said
    assert said.index(f"{best.index[0]} ") < said.index(f"{best.index[1]} ")


def test_arms_and_runs_are_told_in_one_frame(seeds_report):
    """A frame of both has the columns of both; what one lacks is missing and no error."""
    both = pd.concat([seeds_report.arm_speedups, seeds_report.speedups], ignore_index=True)
    found = in_unit(both, UNITS["step time"])
    arms = found.head(len(seeds_report.arm_speedups))
    np.testing.assert_array_equal(arms["ratio"], seeds_report.arm_speedups["step_time_speedup"])
