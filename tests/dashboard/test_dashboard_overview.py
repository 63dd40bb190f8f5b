"""The Overview: all sweeps and how far they are, the verdict, what is doubtful, and the settings."""

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories.page_factory import draw_page
from factories.sweep_factory import REFERENCE_ARMS
from streamlit.testing.v1 import AppTest

from results.report.build import build_report
from results.report.headline import headline
from results.store import Store
from results.tables.sweeps import sweeps_table

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")


@pytest.fixture
def overview(runs_dir, monkeypatch):
    """The whole app on its first page."""
    monkeypatch.setenv("SWEEPCTL_RUNS_DIR", str(runs_dir))

    def run(sweep):
        app = AppTest.from_file(APP, default_timeout=120)
        app.query_params["sweep"] = sweep
        app.run()
        assert not app.exception
        return app

    return run


def shown(app):
    return "\n".join(block.value for block in app.markdown).replace("\\", "")


def test_all_sweeps_stand_with_their_states_and_progress(overview, runs_dir):
    table = overview("staleness").dataframe[0].value
    expected = sweeps_table(Store(runs_dir))
    assert list(table["sweep"]) == list(expected["sweep"]) == ["fresh", "partial", "staleness"]
    assert list(table["state"]) == ["1 running, 1 pending", "1 running, 1 pending", "finished"]
    assert list(table["finished"]) == ["0 of 2", "3 of 5", "5 of 5"]
    assert list(table["progress"]) == list(expected["progress"])


@pytest.mark.parametrize("sweep", ["staleness", "partial"])
def test_the_verdict_is_the_reports_headline(overview, runs_dir, sweep):
    lines = headline(build_report(Store(runs_dir), sweep))
    said = shown(overview(sweep))
    for name, line in (
        ("Fastest", lines.fastest),
        ("Speed-up", lines.speedup),
        ("Accuracy", lines.accuracy),
    ):
        assert f"**{name}**: {line}" in said


def test_what_is_missing_is_said(overview):
    app = overview("partial")
    notices = next(warning.value for warning in app.main.warning).replace("\\", "")
    assert "3 of 5 runs have finished: this report is partial." in notices


def test_points_that_cannot_run_are_no_alarm(overview):
    for sweep, alarms in (("staleness", 0), ("partial", 1)):
        app = overview(sweep)
        infos = [info.value.replace("\\", "") for info in app.main.info]
        assert any(info.startswith("- Exp6 is infeasible: k - 1 > max_staleness") for info in infos)
        assert len(app.main.warning) == alarms
        assert not any("infeasible" in warning.value for warning in app.main.warning)


def test_below_the_verdict_stands_what_is_to_be_done_next(overview):
    assert "- **Next**: 5 of 5 settings have fewer than 3 seeds" in shown(overview("staleness"))


def test_a_filtered_verdict_says_that_it_is_of_the_whole_sweep(runs_dir, report):
    words = "Of the whole sweep; the filter leaves 2 of 6 runs."
    assert words not in shown(draw_page("overview", runs_dir))
    said = shown(draw_page("overview", runs_dir, left=list(report.experiments["run_name"])[:2]))
    assert said.index(words) < said.index("**Fastest**: " + headline(report).fastest)


def settings(app):
    [table] = [found.value for found in app.dataframe if "label" in found.value]
    return table.set_index("label")


def test_the_names_of_settings_are_explained_by_the_knobs_that_differ(overview, report):
    table = settings(overview("staleness"))
    assert sorted(table.index) == ["Exp1", "Exp2", "Exp3", "Exp4", "Exp5"]
    assert {knob for knob in report.varying if knob != "seed"} < set(table.columns)
    for arm in REFERENCE_ARMS:
        assert table.loc[arm.label, "max_staleness"] == str(arm.max_staleness)
        assert table.loc[arm.label, "prompts_per_rollout_sync"] == str(arm.prompts_per_rollout_sync)


def test_settings_stand_with_their_ratio_to_the_matched_baseline_the_fastest_first(overview, report):
    app = overview("staleness")
    table = settings(app)
    known = report.speedups[report.speedups["against"] == "baseline"].set_index("label")
    ratios = known["prompts_per_s_speedup"].sort_values(ascending=False)
    assert len(ratios) > 1
    assert list(table.index[: len(ratios)]) == list(ratios.index)
    assert list(table["ratio"].dropna()) == list(ratios)
    assert list(table.loc[ratios.index, "other_label"]) == list(known.loc[ratios.index, "other_label"])
    best = known.loc[ratios.index[0]]
    np.testing.assert_allclose(
        table["prompts_per_s"].sort_index(), report.arms.set_index("label")["prompts_per_s"].sort_index()
    )
    assert table["interval"].iloc[0] == f"{best['prompts_per_s_low']:.2f}–{best['prompts_per_s_high']:.2f}"
    assert not app.get("plotly_chart")  # its scripts alone take a browser more than a second


def test_a_sweep_without_a_pair_has_no_empty_columns(overview):
    app = overview("fresh")
    assert "ratio" not in settings(app)
    assert "No run has finished: which setting is the fastest is not known." in shown(app)


class TestRunning:
    @staticmethod
    def bars(experiments):
        def script(experiments):
            from dashboard.live import show_running

            show_running(experiments)

        app = AppTest.from_function(script, kwargs={"experiments": experiments}, default_timeout=60).run()
        assert not app.exception
        return [(bar.proto.value, bar.proto.text) for bar in app.get("progress")]

    @pytest.fixture
    def experiments(self, runs_dir):
        return Store(runs_dir).query("SELECT * FROM run_summary WHERE sweep = 'partial'")

    def test_a_living_run_has_a_bar_and_a_time_to_go(self, experiments):
        alive = experiments.assign(heartbeat_unix=time.time() - 5, step_mean_s=90.0)
        [(value, words)] = self.bars(alive)
        assert value == 50
        assert re.fullmatch(
            r"Exp4 running, step 8 of 16, seen \d+ s ago; about 12 min of steps to go at its mean step time",
            words,
        )

    def test_a_silent_run_has_no_time_to_go(self, experiments):
        [(_, words)] = self.bars(experiments)
        assert "no sign of life for" in words
        assert "to go" not in words

    def test_of_many_runs_only_the_first_are_drawn(self, experiments):
        running = experiments[experiments["state"] == "running"]
        many = pd.concat([running] * 14, ignore_index=True)
        assert len(self.bars(many)) == 12

    def test_where_none_runs_there_is_no_bar(self, experiments):
        assert self.bars(experiments.assign(state="succeeded")) == []
