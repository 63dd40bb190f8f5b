"""The staleness page, and its figures: ages, fates, waste, ratios by age, and what was thrown away."""

import numpy as np
import pandas as pd
import pytest
from factories.page_factory import draw_page

from results.figures.colours import OKABE_ITO, arm_styles
from results.figures.staleness import (
    AGE_COLOURS,
    FATE_COLOURS,
    ages,
    fate_shares,
    generated_tokens,
    metric_by_age,
    metric_by_step,
    thrown_away,
)
from results.ingest import ingest
from results.statistics.age_trends import METRICS
from results.store import Store
from results.tables.ages import METRIC_NAMES
from results.tables.selection import bias_sentences, bias_verdict
from results.tables.steps import steps_table
from trainer.records import Fate


@pytest.fixture
def page(runs_dir):
    def draw(sweep="staleness", *, left=None, root=runs_dir, **query):
        return draw_page("staleness", root, sweep, left, **query)

    return draw


@pytest.fixture(scope="module")
def styles(report):
    return arm_styles(report.experiments)


def table(app, column):
    return next(each.value for each in app.dataframe if column in each.value)


def test_sentences_and_tables_are_those_of_the_report(page, report):
    app = page()
    shown = "\n".join(block.value for block in app.markdown).replace("\\", "")
    assert report.staleness_observations
    for sentence in report.staleness_observations:
        assert sentence in shown
    assert list(table(app, "off_policy_steps_p90")["label"]) == list(report.ages["label"])
    waste = table(app, "wasted_tokens")
    np.testing.assert_allclose(waste["wasted_share"], 100 * report.waste["wasted_share"])
    assert list(table(app, "trained_mean")["verdict"]) == [
        bias_verdict(row)
        for row in report.bias[report.bias["quantity"] == "completion_tokens"].to_dict("records")
    ]


def test_the_filter_holds_for_tables_and_sentences(page, report):
    run = report.experiments.set_index("label").loc["Exp3", "run_name"]
    app = page(left=(run,))
    for column in ("off_policy_steps_p90", "wasted_tokens", "trained_mean"):
        assert set(table(app, column)["label"]) == {"Exp3"}
    sentences = "\n".join(block.value for block in app.markdown if block.value.startswith("- "))
    assert "Exp3" in sentences
    assert "Exp5" not in sentences


def test_metric_and_quantity_come_from_the_address(page, report):
    app = page(metric="clipped share", quantity="truncation")
    assert app.segmented_control(key="metric").options == [METRIC_NAMES[metric] for metric in METRICS]
    assert app.segmented_control(key="metric").value == "clipped share"
    assert set(table(app, "rank_correlation")["name"]) == {"clipped share"}
    expected = report.age_trends[report.age_trends["metric"] == "clip_fraction"]
    assert list(table(app, "rank_correlation")["label"]) == list(expected["label"])
    bias = report.bias[report.bias["quantity"] == "truncated_share"]
    np.testing.assert_array_equal(table(app, "trained_mean")["mean"], bias["mean"])


@pytest.mark.parametrize("sweep", ["partial", "fresh"])
def test_a_partial_sweep_has_a_page(page, sweep):
    assert len(table(page(sweep), "off_policy_steps_p90"))


def test_before_the_first_step_it_says_what_is_missing(page, tmp_path, runs_dir):
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "sweep.json").write_bytes((runs_dir / "partial" / "sweep.json").read_bytes())
    ingest(tmp_path)
    app = page("partial", root=tmp_path)
    assert any("No run has finished a step yet" in info.value for info in app.info)
    assert not app.dataframe


def test_shares_of_ages_add_up_and_darken(report):
    figure = ages(report.staleness)
    assert [trace.name for trace in figure.data] == ["0 steps old", "1 step old"]
    assert [trace.marker.color for trace in figure.data] == [AGE_COLOURS[0], AGE_COLOURS[-1]]
    total = pd.concat([pd.Series(trace.x, index=trace.y) for trace in figure.data]).groupby(level=0).sum()
    np.testing.assert_allclose(total, 100)
    drawn = dict(zip(figure.data[1].y, figure.data[1].x, strict=True))
    old = report.staleness[report.staleness["off_policy_steps"] == 1].set_index("label")["share"]
    assert drawn == pytest.approx((100 * old).to_dict())


@pytest.mark.parametrize("most", [5, 6, 40])
def test_many_ages_are_put_together_and_none_is_lost(most):
    rows = pd.DataFrame({"run_name": "r", "label": "Exp1", "off_policy_steps": range(most + 1)})
    figure = ages(rows.assign(share=1 / (most + 1)))
    assert len(figure.data) <= len(AGE_COLOURS)
    assert sum(trace.x[0] for trace in figure.data) == pytest.approx(100)
    assert len({trace.marker.color for trace in figure.data}) == len(figure.data)
    if most == 40:
        assert figure.data[0].name == "0–6 steps old"
        assert figure.data[0].x[0] == pytest.approx(700 / 41)


def test_fates_have_colours_of_their_own_and_shares_are_drawn(report):
    assert set(FATE_COLOURS) == {*(str(fate) for fate in Fate), "unresolved"}
    assert len({*FATE_COLOURS.values(), *AGE_COLOURS, *OKABE_ITO}) == len(FATE_COLOURS) + len(
        AGE_COLOURS
    ) + len(OKABE_ITO)
    figure = fate_shares(report.fates)
    for trace in figure.data:
        part = report.fates[report.fates["fate"] == trace.name]
        assert list(trace.y) == list(part["label"])
        np.testing.assert_allclose(trace.x, 100 * part["share"])
        np.testing.assert_array_equal(trace.customdata, part["groups"])


def test_tokens_add_up_to_those_generated_and_the_waste_is_in_words(report):
    figure = generated_tokens(report.fates, report.waste)
    total = pd.concat([pd.Series(trace.x, index=trace.y) for trace in figure.data]).groupby(level=0).sum()
    expected = report.waste.set_index("label")
    assert total.to_dict() == (expected["generated_tokens"] + expected["discarded_tokens"]).to_dict()
    words = {note.y: note.text for note in figure.layout.annotations}
    for label, share in expected["wasted_share"].items():
        assert words[label] == f"{100 * share:.1f} % never trained on"


def test_a_run_that_generated_nothing_has_words_and_no_number(report):
    waste = report.waste.head(1).assign(wasted_share=np.nan)
    figure = generated_tokens(report.fates.iloc[:0], waste)
    assert [note.text for note in figure.layout.annotations] == ["nothing generated"]


@pytest.mark.parametrize("metric", METRICS)
def test_ratios_are_drawn_by_step_and_by_age_in_the_arms_colours(report, styles, runs_dir, metric):
    steps = steps_table(Store(runs_dir), "staleness")
    lines = {trace.name: trace for trace in metric_by_step(steps, styles, metric).data}
    points = {trace.name: trace for trace in metric_by_age(report.age_effects, styles, metric).data}
    for (run, label), part in steps.groupby(["run_name", "label"]):
        np.testing.assert_array_equal(lines[label].y, part[metric])
        by_age = part.groupby(part["off_policy_steps_mean"].round())[metric].mean()
        np.testing.assert_allclose(points[label].y, by_age)
        np.testing.assert_array_equal(np.round(points[label].x), by_age.index)
        assert lines[label].line.color == points[label].marker.color == styles[run].colour


def bias_row(**changes):
    row = {"run_name": "r", "label": "Exp1", "fate": "evicted", "quantity": "completion_tokens"}
    row |= {"scale": "ratio", "compared_groups": 90, "blocks": 12.0, "mean": 300.0, "trained_mean": 200.0}
    row |= {"estimate": 1.5, "low": 1.3, "high": 1.7, "p": 0.001, "p_adjusted": 0.004}
    return row | changes


@pytest.mark.parametrize(
    ("changes", "verdict", "sentence"),
    [
        ({}, "more", "1.50x (95 % 1.30 to 1.70)."),
        ({"mean": 100.0, "estimate": 0.5}, "less", "0.50x"),
        ({"p_adjusted": 0.2}, "no difference shown", "no difference is shown"),
        ({"p": np.nan, "p_adjusted": np.nan}, "not tested", "not tested"),
        ({"fate": "aborted", "p": np.nan}, "cut off", "not compared"),
    ],
)
def test_a_verdict_says_what_the_sentence_says(changes, verdict, sentence):
    row = bias_row(**changes)
    assert bias_verdict(row) == verdict
    assert sentence in bias_sentences(pd.DataFrame([row]))[0]


def test_what_was_thrown_away_has_interval_and_verdict():
    rows = [bias_row(), bias_row(label="Exp2", p_adjusted=0.2, estimate=1.1, low=0.9, high=1.3)]
    rows.append(bias_row(label="Exp3", fate="leftover", p=np.nan, low=np.nan, high=np.nan))
    frame = pd.DataFrame([row | {"verdict": bias_verdict(row)} for row in rows])
    figure = thrown_away(frame, "tokens")
    points = figure.data[0]
    assert list(points.y) == ["Exp1, evicted", "Exp2, evicted", "Exp3, leftover"]
    np.testing.assert_allclose(np.add(points.x, points.error_x.array), frame["high"])
    np.testing.assert_allclose(np.subtract(points.x, points.error_x.arrayminus), frame["low"])
    assert list(points.marker.symbol) == ["circle", "circle-open", "circle-open"]
    assert points.marker.color[2] == FATE_COLOURS["leftover"]
    assert [note.text for note in figure.layout.annotations] == ["more", "no difference shown", "not tested"]
    assert figure.layout.shapes[0].x0 == 1
