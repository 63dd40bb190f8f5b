"""The plan page: predictions before a sweep, beside what was measured after it, and none at all."""

import json

import numpy as np
import pytest
from factories.page_factory import draw_page

from results.ingest import ingest
from results.statistics.wording import seconds_text
from results.store import Store
from results.tables.plan import plan_table


@pytest.fixture
def page(runs_dir):
    def draw(sweep="staleness", *, left=None, root=runs_dir, **query):
        return draw_page("plan.page", root, sweep, left, **query)

    return draw


@pytest.fixture(scope="module")
def plan(runs_dir):
    return plan_table(Store(runs_dir), "staleness")


def only_manifest(runs_dir, root, without=()):
    """The sweep as it is before its first run begins, under a runs directory of its own.

    Args:
        runs_dir: where it is as a whole.
        root: of its own.
        without: labels of the runs that are to have no prediction.
    """
    manifest = json.loads((runs_dir / "staleness" / "sweep.json").read_text())
    for run in manifest["runs"]:
        if run["label"] in without:
            run.pop("prediction", None)
    (root / "staleness").mkdir()
    (root / "staleness" / "sweep.json").write_text(json.dumps(manifest))
    ingest(root)
    return root


def table(app, column):
    return next(each.value for each in app.dataframe if column in each.value)


def said(app):
    return "\n".join(block.value for block in app.markdown).replace("\\", "")


def test_predicted_stands_beside_measured(page, plan):
    app = page()
    shown = table(app, "error_percent")
    assert list(shown["label"]) == list(plan["label"])
    np.testing.assert_allclose(shown["error_percent"], 100 * plan["step_error"])
    np.testing.assert_allclose(shown["predicted_step_s"], plan["predicted_step_s"])
    np.testing.assert_allclose(shown["measured_step_s"], plan["measured_step_s"])
    np.testing.assert_allclose(
        table(app, "measured_prompts_per_s")["predicted_speedup"], plan["predicted_speedup"]
    )
    idle = table(app, "measured_engine_idle_share")["measured_engine_idle_share"]
    np.testing.assert_allclose(idle, 100 * plan["measured_engine_idle_share"])
    assert not app.info


def test_modes_are_called_so_and_ends_of_intervals_are_saved(page, plan):
    shown = table(page(), "error_percent")
    assert list(shown["predicted_modes"]) == [
        ", ".join(map(seconds_text, modes)) for modes in plan["predicted_modes"]
    ]
    assert list(shown["chance_interval"]) == [
        f"{low:.2f}–{high:.2f}" for low, high in zip(plan["step_low_s"], plan["step_high_s"], strict=True)
    ]
    np.testing.assert_array_equal(shown[["step_low_s", "step_high_s"]], plan[["step_low_s", "step_high_s"]])
    assert "unfinished" not in shown, "all have succeeded"


def test_failed_assumptions_are_said_first(page, plan):
    failed = plan.loc[plan["failed_assumption"].notna(), "sentence"]
    held = plan.loc[plan["failed_assumption"].isna(), "sentence"]
    assert len(failed) and len(held), "the synthetic sweep has predictions of both kinds"
    words = said(page())
    assert max(map(words.index, failed)) < min(map(words.index, held))


def test_the_filter_leaves_runs(page, plan):
    run = plan.set_index("label").loc["Exp3", "run_name"]
    app = page(left=(run,))
    for column in ("error_percent", "measured_prompts_per_s", "measured_age_mean", "measured_latency_s"):
        assert set(table(app, column)["label"]) == {"Exp3"}
    assert "Exp5" not in said(app).replace(plan.set_index("label").loc["Exp3", "sentence"], "")


def test_a_run_that_goes_on_is_measured_so_far(page, runs_dir):
    app = page("partial")
    plan = plan_table(Store(runs_dir), "partial").set_index("label")
    assert {"running", "pending"} & set(plan["state"])
    assert any("over the steps so far: Exp4." in caption.value.replace("\\", "") for caption in app.caption)
    shown = table(app, "error_percent").set_index("label")
    assert shown.loc["Exp4", "measured_step_s"] > 0
    assert shown["unfinished"].dropna().to_dict() == {"Exp4": "running", "Exp5": "pending"}
    assert np.isnan(shown.loc["Exp5", "measured_step_s"])
    assert np.isnan(table(app, "measured_minutes").set_index("label").loc["Exp4", "measured_minutes"])


def test_before_the_sweep_has_run_there_are_the_predictions_alone(page, plan, runs_dir, tmp_path):
    app = page(root=only_manifest(runs_dir, tmp_path))
    assert any("the predictions alone" in info.value for info in app.info)
    shown = table(app, "predicted_minutes")
    np.testing.assert_allclose(shown["predicted_minutes"], plan["predicted_wall_s"] / 60)
    assert not [name for each in app.dataframe for name in each.value if name.startswith("measured_")]
    assert not any("Measured" in caption.value for caption in app.caption)


def test_without_predictions_it_says_how_to_make_them(page, plan, runs_dir, tmp_path):
    root = only_manifest(runs_dir, tmp_path, without=list(plan["label"]))
    app = page(root=root)
    assert any("No run of this sweep has a prediction" in info.value for info in app.info)
    commands = [block.value for block in app.code]
    assert [command.split(" --runs-dir")[0] for command in commands] == [
        "sweepctl plan SPEC --from RUN",
        "sweepctl plan SPEC --pilot",
        "sweepctl run SPEC",
    ]
    assert not app.dataframe


def test_runs_without_a_prediction_are_named(page, runs_dir, tmp_path):
    app = page(root=only_manifest(runs_dir, tmp_path, without=["Exp2", "Exp5"]))
    assert any(info.value == "Without a prediction: Exp2, Exp5." for info in app.info)
    assert list(table(app, "predicted_minutes")["label"]) == ["Exp1", "Exp3", "Exp4"]


def test_costs_are_told_in_words_with_their_units(page, runs_dir):
    manifest = json.loads((runs_dir / "staleness" / "sweep.json").read_text())
    costs = {run["label"]: run["prediction"]["costs"] for run in manifest["runs"] if "prediction" in run}
    app = page(left=[run["run_name"] for run in manifest["runs"] if run["label"] == "Exp4"])
    shown = table(app, "cost").set_index("cost")
    alone = next(words for words in shown.index if "has the engine for itself" in words)
    by_token = next(words for words in shown.index if "by the token" in words)
    assert shown.loc[alone, "value"] == pytest.approx(costs["Exp4"]["generate_s"])
    assert shown.loc[alone, "unit"] == "s"
    assert shown.loc[by_token, "value"] == pytest.approx(1000 * costs["Exp4"]["learn_s_per_token"])
    assert shown.loc[by_token, "unit"] == "ms a token"
    assert any(costs["Exp4"]["source"] in caption.value for caption in app.caption)
    sets = table(page(), "cost").set_index("cost")
    assert [column for column in sets if column.startswith("value_")] == ["value_1", "value_2", "value_3"]
    assert sets.loc[by_token, "value_3"] == shown.loc[by_token, "value"]


def test_the_filter_may_leave_no_run_with_a_prediction(page):
    assert any("filter" in info.value for info in page(left=()).info)
