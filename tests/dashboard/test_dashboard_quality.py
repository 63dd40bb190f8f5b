"""The quality page: opponents, arms and runs, questions that changed, and learning curves."""

from pathlib import Path

import numpy as np
import pytest
from factories.page_factory import draw_page
from factories.quality_factory import HELD_OUT, HTML, QUESTIONS, SWEEP

from results.figures.colours import arm_styles
from results.figures.quality import training_curves
from results.ingest import ingest
from results.report.build import build_report
from results.report.chosen import compared_with
from results.store import Store
from results.tables.answers import flips_table
from results.tables.curves import held_out_curves_table, reward_curves_table
from sweepctl.commands.import_ import import_folder

INTERVAL = ["delta_points", "low", "high", "p_adjusted", "verdict"]


@pytest.fixture(scope="module")
def report(quality_dir):
    return build_report(Store(quality_dir), SWEEP)


@pytest.fixture
def page(quality_dir):
    def draw(*, runs_dir=quality_dir, left=None, **query):
        return draw_page("quality.page", runs_dir, SWEEP, left, **query)

    return draw


def table(app, column):
    return next(each.value for each in app.dataframe if column in each.value)


def codes(app):
    return [block.value for block in app.code]


def infos(app):
    return " ".join(block.value for block in app.info)


def run_of(report, label):
    return report.experiments.set_index("label").loc[label, "run_name"]


def strict(frame, against):
    return frame[(frame["against"] == against) & (frame["filter"] == "strict-match")]


def test_arms_are_shown_over_their_seeds_and_runs_each_by_itself(page, report):
    app = page(against="base model")
    arms = strict(report.arm_deltas, "base").sort_values(["num_fewshot", "position"])
    shown = table(app, "verdict")
    assert list(shown["scope"]) == list(arms["scope"])
    np.testing.assert_array_equal(shown[INTERVAL[:-1]], arms[INTERVAL[:-1]])
    # Of Exp5 one seed is refused: its row is the other's, and bears its name.
    assert dict(zip(shown["label"], shown["scope"], strict=True)) == {
        **dict.fromkeys(["Exp3", "Exp4"], "2 seeds"),
        "Exp5-seed0": "these checkpoints",
    }
    app.segmented_control(key="rows").set_value("runs").run()
    runs = strict(report.deltas, "base").sort_values(["num_fewshot", "position"])
    np.testing.assert_array_equal(table(app, "verdict")[INTERVAL[:-1]], runs[INTERVAL[:-1]])


@pytest.mark.parametrize("chosen", ["Exp4", "Exp4-seed1"])
def test_any_run_or_arm_can_be_the_opponent(page, quality_dir, report, chosen):
    app = page(against="chosen run")
    assert app.selectbox(key="against_run").options == [
        *("Exp3", "Exp4", "Exp5"),
        *(f"Exp{number}-seed{seed}" for seed in (0, 1) for number in (3, 4, 5)),
    ]
    app.selectbox(key="against_run").set_value(chosen).run()
    app.segmented_control(key="rows").set_value("runs").run()
    assert not app.exception
    with compared_with(Store(quality_dir), SWEEP, chosen) as store:
        expected = strict(build_report(store, SWEEP).deltas, "chosen")
    expected = expected.sort_values(["num_fewshot", "position"])
    shown = table(app, "verdict")
    assert list(shown["label"]) == list(expected["label"])
    assert {label[: len(chosen)] for label in shown["other_label"]} == {chosen}
    np.testing.assert_array_equal(shown[INTERVAL[:-1]].astype(float), expected[INTERVAL[:-1]].astype(float))


def test_only_the_runs_that_the_filter_leaves_are_shown(page, report):
    left = (run_of(report, "Exp3-seed0"), run_of(report, "Exp4-seed0"))
    app = page(left=left, rows="runs", against="base model")
    assert set(table(app, "checkpoint")["label"]) == {"base", "Exp3-seed0", "Exp4-seed0"}
    assert set(table(app, "verdict")["label"]) == {"Exp3-seed0", "Exp4-seed0"}
    assert app.selectbox(key="flips").options == ["Exp3-seed0", "Exp4-seed0"]


def test_the_flip_table_leads_to_both_answers_as_plain_text(page, quality_dir, report):
    run = run_of(report, "Exp4-seed0")
    app = page(against="base model", left=(run,), shots="4")
    row = strict(report.deltas, "base").set_index(["run_name", "num_fewshot"]).loc[(run, 4)]
    flips = flips_table(Store(quality_dir), row["path"], row["other_path"], "strict-match")
    changed = flips[flips["change"] != "reworded"]
    assert list(table(app, "doc_id")["doc_id"]) == list(changed["doc_id"])
    counts = flips["change"].value_counts()
    words = f"gained {counts['gained']} and lost {counts['lost']}"
    assert any(f"Of {QUESTIONS} questions" in each.value and words in each.value for each in app.markdown)
    flip = changed.iloc[-1]
    app = page(against="base model", left=(run,), shots="4", question=str(flip["doc_id"]))
    question, target, prompt, *answers = codes(app)
    assert question == f"Question {flip['doc_id']}: {HTML}"
    assert target == flip["target"]
    assert prompt.startswith("Worked example")
    assert answers == [
        flip["answer"],
        f"So it is {flip['answer']}.",
        flip["other_answer"],
        f"So it is {flip['other_answer']}.",
    ]
    assert {block.language or "plaintext" for block in app.code} == {"plaintext"}
    assert HTML not in "".join(block.value for block in app.markdown)


def test_finished_imports_are_not_told_to_wait_for_their_curves(tmp_path):
    reference = Path(__file__).parents[3] / "shared" / "reference" / "eval_results"
    table = Path(__file__).parents[1] / "sweepctl" / "reference_runs.yaml"
    import_folder(tmp_path, reference, name="imported", runs=table, as_json=False)
    ingest(tmp_path)
    app = draw_page("quality.page", tmp_path, "imported")
    said = infos(app)
    assert "No step of these runs is on record: they were made elsewhere" in said
    assert "sweepctl status" not in said
    assert [control.key for control in app.segmented_control if control.key in ("x", "window")] == []


def test_kinds_of_change_are_chosen(page):
    app = page(against="base model")
    app.pills(key="change").set_value(["lost"]).run()
    assert set(table(app, "doc_id")["change"]) == {"lost"}
    app.pills(key="change").set_value([]).run()
    assert "No question has changed so" in infos(app)
    assert not app.exception


def test_a_refused_comparison_says_why(page, report):
    run = run_of(report, "Exp5-seed1")
    app = page(against="base model", left=(run,), rows="runs")
    assert set(table(app, "verdict")["verdict"]) == {"refused"}
    reasons = list(table(app, "refusal")["refusal"])
    assert reasons == [reason for reason in reasons if "limit: 5 and None" in reason] != []
    assert "is not compared with base" in infos(app)
    assert any("limit: 5 and None" in block for block in codes(app))


def test_texts_that_are_gone_are_named(page, tmp_path, quality_dir):
    import shutil

    shutil.copy(quality_dir / "results.duckdb", tmp_path)
    app = page(runs_dir=tmp_path, against="base model")
    assert "The texts are not there" in infos(app)
    assert ".samples.jsonl" in infos(app)


def test_curves_follow_the_axis_and_the_window(page, quality_dir, report):
    app = page(x="hours", window="5")
    assert app.segmented_control(key="x").value == "hours"
    captions = " ".join(caption.value for caption in app.caption)
    assert "trailing mean of 5 steps" in captions
    assert "no confidence interval" in captions
    assert "40 held\\-out problems" in captions or "40 held-out problems" in captions
    app.segmented_control(key="window").set_value("1").run()
    assert "single steps" in " ".join(caption.value for caption in app.caption)


def test_lines_are_means_and_bands_go_from_least_to_greatest(quality_dir, report):
    runs = tuple(report.experiments.query("state != 'infeasible'")["run_name"])
    curves = reward_curves_table(Store(quality_dir), SWEEP, runs, 5)
    styles = arm_styles(report.experiments)
    figure = training_curves(curves, curves.iloc[:0], styles, "hours", ("training time (h)", "mean reward"))
    lines = {trace.legendgroup: trace for trace in figure.data if trace.showlegend is not False}
    bands = {trace.legendgroup: trace for trace in figure.data if trace.fill == "toself"}
    assert [line.name for line in lines.values()] == ["Exp3, 2 seeds", "Exp4, 2 seeds", "Exp5, 2 seeds"]
    for (run, label), part in curves.groupby(["run_name", "label"], sort=False):
        np.testing.assert_array_equal(lines[label].x, part["hours"])
        np.testing.assert_array_equal(np.array(lines[label].y, float), part["mean"].astype(float))
        there = part.dropna(subset=["mean"])
        half = len(there)
        np.testing.assert_array_equal(bands[label].y[:half], there["high"])
        np.testing.assert_array_equal(bands[label].y[half:], there["low"][::-1])
        assert lines[label].line.color == bands[label].fillcolor == styles[run].colour
    assert figure.layout.xaxis.title.text == "training time (h)"


def test_a_single_run_has_dots_and_no_band(quality_dir, report):
    curves = reward_curves_table(Store(quality_dir), SWEEP, [run_of(report, "Exp3-seed1")], 10)
    figure = training_curves(curves, curves, arm_styles(report.experiments), "step", ("step", "mean reward"))
    dots, line = figure.data
    assert (dots.mode, line.mode) == ("markers", "lines")
    np.testing.assert_array_equal(dots.y, curves["reward_mean"])
    assert line.name == "Exp3-seed1"


def test_held_out_points_are_marked(quality_dir, report):
    runs = tuple(report.experiments.query("state != 'infeasible'")["run_name"])
    curves = held_out_curves_table(Store(quality_dir), SWEEP, runs)
    figure = training_curves(
        curves, curves.iloc[:0], arm_styles(report.experiments), "step", ("step", "accuracy")
    )
    line = next(trace for trace in figure.data if trace.mode == "lines+markers")
    assert list(line.x) == list(HELD_OUT)
    np.testing.assert_allclose(line.y, np.array(list(HELD_OUT.values())) + 0.05)
