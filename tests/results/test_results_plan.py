"""Predictions from sweep.json to the store, and beside them what the traces themselves say."""

import json
from statistics import fmean

import numpy as np
import pytest
from factories.prediction_factory import WRONG, by_the_law
from factories.sweep_factory import REFERENCE_ARMS, synthetic_trace, write_synthetic_sweep, write_trace

from results.files.predictions import Prediction
from results.ingest import ingest
from results.store import Store, records
from results.tables.plan import PHASES, QUANTITIES, costs_table, plan_table
from trainer.config import RunConfig, RunFile
from trainer.paths import RunPaths, SweepPaths
from trainer.records import Fate, Group

SWEEP = "staleness"


def manifest(runs):
    return json.loads(SweepPaths(runs / SWEEP).manifest.read_text())


def rewrite(runs, change):
    """Changes the first run's prediction in the manifest."""
    text = manifest(runs)
    text["runs"][0]["prediction"] = change(text["runs"][0]["prediction"])
    SweepPaths(runs / SWEEP).manifest.write_text(json.dumps(text))
    return ingest(runs)


def lines(runs, run, kind):
    text = RunPaths(runs / SWEEP / run).trace.read_text()
    return [record for record in map(json.loads, text.splitlines()) if record["kind"] == kind]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    write_synthetic_sweep(runs, steps=40, questions=5)
    ingest(runs)
    return runs


@pytest.fixture
def small(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=5, arms=REFERENCE_ARMS[:2])
    ingest(tmp_path)
    return tmp_path


class TestIngest:
    def test_a_row_for_each_run_that_was_predicted(self, whole):
        rows = Store(whole).query("SELECT p.* FROM predictions AS p JOIN runs USING (sweep, run_name)")
        assert len(rows) == 5
        for run in manifest(whole)["runs"][:5]:
            told = Prediction.model_validate(run["prediction"])
            (row,) = records(rows[rows["run_name"] == run["run_name"]])
            for name, value in told.model_dump(exclude={"costs", "modes", "ages", "position_s"}).items():
                assert row[name] == value or (value is None and np.isnan(row[name])), name
            assert list(row["position_s"]) == list(told.position_s)
            assert {f"cost_{name}": value for name, value in told.costs.model_dump().items()} == {
                name: value for name, value in row.items() if name.startswith("cost_")
            }
            assert list(row["mode_seconds"]) == [mode.seconds for mode in told.modes]
            assert dict(zip(row["ages"].tolist(), row["age_shares"].tolist(), strict=True)) == told.ages

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                lambda old: old | {"step_s": "soon"},
                "runs.0.prediction.step_s: Input should be a valid number",
            ),
            (
                lambda old: {key: value for key, value in old.items() if key != "wall_s"},
                "runs.0.prediction.wall_s: Field required",
            ),
            (lambda _: "42 s a step", "runs.0.prediction: Input should be a valid dictionary"),
            (lambda old: old | {"step_s": float("nan")}, "finite number"),
            (lambda old: old | {"replications": 2**70}, "is no BIGINT"),
        ],
    )
    def test_one_that_cannot_be_read_is_put_on_record_and_the_plan_is_read(self, small, change, said):
        assert rewrite(small, change).quarantined == 1
        reasons = Store(small).query("SELECT path, reason FROM quarantine")
        assert reasons["path"].tolist() == [f"{SWEEP}/sweep.json"] and said in reasons["reason"][0]
        assert list(plan_table(Store(small), SWEEP)["label"]) == ["Exp2"]
        assert len(Store(small).query("SELECT * FROM runs")) == 3
        rewrite(
            small, lambda _: by_the_law(RunConfig.model_validate(REFERENCE_ARMS[0].config(4, 0))).model_dump()
        )
        assert Store(small).query("SELECT * FROM quarantine").empty
        assert len(plan_table(Store(small), SWEEP)) == 2

    def test_what_a_newer_release_adds_is_passed_over(self, small):
        newer = rewrite(small, lambda old: old | {"confidence": "high", "costs": old["costs"] | {"watts": 7}})
        assert newer.quarantined == 0 and len(plan_table(Store(small), SWEEP)) == 2

    def test_a_sweep_without_predictions_has_an_empty_table_of_the_same_columns(self, small, whole):
        text = manifest(small)
        for run in text["runs"]:
            run.pop("prediction", None)
        SweepPaths(small / SWEEP).manifest.write_text(json.dumps(text))
        ingest(small)
        empty = plan_table(Store(small), SWEEP)
        assert empty.empty and list(empty) == list(plan_table(Store(whole), SWEEP))
        assert costs_table(Store(small), SWEEP).empty


def by_definition(runs, run):
    """What `Prediction` defines, from the lines of a trace."""
    groups, steps = lines(runs, run, "group"), lines(runs, run, "step")
    last = {group["group"]: group for group in groups}
    groups = [group for group in last.values() if group["fate"] != "discarded"]
    trained = [group for group in groups if group["fate"] == "trained"]
    wall_s = sum(step["wall_s"] for step in steps)
    tokens = sum(group["completion_tokens"] for group in groups)
    learned = sum(group["completion_tokens"] for group in trained)
    return {
        "step_s": wall_s / len(steps),
        **{f"{part}_s": np.mean([step[f"{part}_s"] for step in steps]) for part in PHASES},
        "prompts_per_s": len(trained) / wall_s,
        "wall_s": wall_s,
        "age_mean": np.mean([group["step"] - group["version_min"] for group in trained]),
        "engine_idle_share": sum(step["engine_idle_s"] for step in steps) / wall_s,
        "learner_idle_share": sum(step["wait_s"] + step["drain_s"] for step in steps) / wall_s,
        "wasted_token_share": 1 - learned / tokens,
        "dispatched_per_trained": len(groups) / len(trained),
        "latency_s": np.mean(
            [
                group["finished_s"] - group["dispatched_s"]
                for group in groups
                if group["finished_s"] is not None
            ]
        ),
        "completion_tokens_per_prompt": learned / len(trained),
    }


class TestBesideWhatWasMeasured:
    def test_every_figure_is_what_the_prediction_defines(self, whole):
        for row in records(plan_table(Store(whole), SWEEP)):
            expected = by_definition(whole, row["run_name"])
            assert expected.keys() == set(QUANTITIES)
            for name, value in expected.items():
                assert row[f"measured_{name}"] == pytest.approx(value, rel=1e-9), name

    def test_also_with_groups_that_ended_otherwise_and_an_attempt_that_was_cut_off(self, tmp_path):
        root = write_synthetic_sweep(tmp_path, steps=4, questions=5, arms=REFERENCE_ARMS[:1])
        (paths,) = [RunPaths(path.parent) for path in root.glob("*/trace.jsonl")]
        file = RunFile.model_validate_json(paths.config.read_text())
        rng = np.random.default_rng(0)
        cut_off = list(synthetic_trace(rng, file, 2, finish=False))
        lost = [
            record.model_copy(update={"fate": Fate.DISCARDED, "step": None, "consumed_s": None})
            for record in cut_off
            if isinstance(record, Group)
        ]
        again = list(synthetic_trace(rng, file, 4, finish=True, attempt=2, first_group=200, start_s=900.0))
        aborted = [
            record.model_copy(update={"fate": Fate.ABORTED, "finished_s": None, "verified_s": None})
            if isinstance(record, Group) and record.fate is Fate.FILTERED
            else record
            for record in again
        ]
        kept = [record for record in cut_off if not isinstance(record, Group)]
        write_trace(paths.trace, [*kept, *lost, *aborted])
        ingest(tmp_path)
        (row,) = records(plan_table(Store(tmp_path), SWEEP))
        of_second = [step for step in lines(tmp_path, row["run_name"], "step") if step["attempt"] == 2]
        assert row["measured_wall_s"] == pytest.approx(sum(step["wall_s"] for step in of_second))
        expected = by_definition(tmp_path, row["run_name"])
        for name in (
            "wasted_token_share",
            "dispatched_per_trained",
            "latency_s",
            "completion_tokens_per_prompt",
        ):
            assert row[f"measured_{name}"] == pytest.approx(expected[name], rel=1e-9), name

    def test_before_and_while_a_run_is_made(self, tmp_path):
        write_synthetic_sweep(tmp_path, steps=24, questions=5, finished=False)
        ingest(tmp_path)
        table = plan_table(Store(tmp_path), SWEEP).set_index("label")
        pending, running = table.loc["Exp5"], table.loc["Exp4"]
        assert pending[[f"measured_{name}" for name in QUANTITIES]].isna().all()
        assert pending["steps_done"] == 0 and np.isnan(pending["step_error"])
        assert (running["state"], running["steps_done"], running["max_steps"]) == ("running", 12, 24)
        assert np.isnan(running["measured_wall_s"]) and running["measured_step_s"] > 0
        for row in (pending, running):
            assert row["failed_assumption"] is None and row["modes_agree"] is None

    def test_assumptions_that_were_wrong_are_found_and_only_those(self, whole):
        table = plan_table(Store(whole), SWEEP).set_index("label")
        failed = table["failed_assumption"].dropna().to_dict()
        assert failed == {"Exp3": "groups needed", "Exp4": "learner speed"} and failed.keys() == WRONG.keys()
        right = table.drop(index=list(WRONG))
        assert (right["step_error"].abs() < 0.01).all()
        assert right["measured_step_s"].between(right["step_low_s"], right["step_high_s"]).all()
        assert list(table.loc["Exp5", "predicted_modes"]) == [pytest.approx(14.61), pytest.approx(28.6)]
        assert table["modes_agree"].all()

    def test_steps_are_told_by_their_place_in_the_sync_cycle(self, whole):
        table = plan_table(Store(whole), SWEEP).set_index("label")
        steps = [
            record["wall_s"]
            for line in (whole / SWEEP / table.loc["Exp5", "run_name"] / "trace.jsonl").open()
            if (record := json.loads(line))["kind"] == "step"
        ]
        measured = [fmean(steps[2::2]), fmean(steps[3::2])]
        assert table.loc["Exp5", "measured_position_s"] == pytest.approx(measured)
        assert table.loc["Exp5", "predicted_position_s"] == pytest.approx(measured, rel=0.01)
        assert [len(times) for times in table["measured_position_s"]] == [1, 1, 1, 1, 2]

    def test_speedups_are_ratios_to_the_matched_baseline(self, whole):
        table = plan_table(Store(whole), SWEEP).set_index("label")
        assert table.loc[["Exp1", "Exp3"], ["predicted_speedup", "measured_speedup"]].isna().all(axis=None)
        rates = table["predicted_prompts_per_s"]
        for run, twin in (("Exp2", "Exp1"), ("Exp4", "Exp3"), ("Exp5", "Exp3")):
            assert table.loc[run, "predicted_speedup"] == pytest.approx(rates[run] / rates[twin])
            assert table.loc[run, "speedup_low"] < table.loc[run, "measured_speedup"]
            assert table.loc[run, "measured_speedup"] < table.loc[run, "speedup_high"]

    def test_costs_given_by_hand_say_nothing_of_tokens(self, small):
        rewrite(small, lambda old: old | {"completion_tokens_per_prompt": 0.0, "wasted_token_share": 0.0})
        row = plan_table(Store(small), SWEEP).iloc[0]
        assert np.isnan(row["predicted_completion_tokens_per_prompt"])
        assert np.isnan(row["predicted_wasted_token_share"]) and row["measured_wasted_token_share"] > 0

    def test_the_costs_of_each_run(self, whole):
        costs = costs_table(Store(whole), SWEEP)
        assert list(costs["label"]) == ["Exp1", "Exp2", "Exp3", "Exp4", "Exp5"]
        assert list(costs["cost_generate_s"]) == [14, 14, 8, 14, 14]
