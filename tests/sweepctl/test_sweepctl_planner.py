"""`sweepctl plan` looks ahead: where costs come from, what is said of a sweep, and what goes on record."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from fake_sweep import FakeSweep

from results.files.predictions import Prediction
from results.ingest import ingest
from results.store import Store
from sweepctl.plan.plan import load_plan
from sweepctl.planner import source
from sweepctl.planner.costs import by_hand, way_of
from sweepctl.planner.outlook import look_ahead
from sweepctl.planner.recommend import recommend
from sweepctl.running.manifest import write_manifest
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.records import Fate
from trainer.simulator import Work, simulate

HAND = ("--generate-s", "14", "--train-s-per-prompt", "1.75", "--overhead-s", "0.6")
STALENESS = "sweeps/staleness.yaml"


@pytest.fixture
def reference_plan(tmp_path):
    return load_plan(Path(STALENESS), "gpu", [], tmp_path)


@pytest.fixture
def hand():
    return by_hand(generate_s=14, train_s_per_prompt=1.75, overhead_s=0.6)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("planner")
    write_synthetic_sweep(runs_dir)
    ingest(runs_dir)
    return runs_dir


class TestOutlook:
    def test_the_reference_arms_come_out_as_published(self, reference_plan, hand):
        outlook = look_ahead(reference_plan, hand)
        published = {"Exp1": 42.6, "Exp2": 29.1, "Exp3": 28.7, "Exp4": 15.2, "Exp5": 21.1}
        by_label = {run.label: outlook.predictions[run.name] for run in reference_plan.feasible}
        assert {label: by_label[label].step_s for label in published} == pytest.approx(published, rel=0.05)
        fifth = by_label["Exp5"].modes
        assert [mode.seconds for mode in fifth] == pytest.approx([14.6, 28.6], abs=0.1)
        assert [mode.weight for mode in fifth] == pytest.approx([0.5, 0.5], abs=0.05)
        assert by_label["Exp5"].position_s == pytest.approx((28.6, 14.6))
        assert all(len(by_label[label].modes) == 1 for label in ("Exp1", "Exp2", "Exp3", "Exp4"))

    def test_speed_ups_are_against_the_twin(self, reference_plan, hand):
        outlook = look_ahead(reference_plan, hand)
        name = {run.label: run.name for run in reference_plan.feasible}
        assert outlook.speedup(name["Exp1"]) is None
        per_s = {label: outlook.predictions[run].prompts_per_s for label, run in name.items()}
        assert outlook.speedup(name["Exp2"]) == pytest.approx(per_s["Exp2"] / per_s["Exp1"])
        assert outlook.speedup(name["Exp5"]) == pytest.approx(per_s["Exp5"] / per_s["Exp3"])

    def test_the_sweep_takes_as_long_as_its_runs_on_so_many_slots(self, reference_plan, hand):
        outlook = look_ahead(reference_plan, hand)
        walls = [outlook.predictions[run.name].wall_s for run in reference_plan.feasible]
        assert outlook.training_s(reference_plan.feasible) == pytest.approx(sum(walls))
        two = outlook.training_s(reference_plan.feasible, slots=2)
        assert max(walls) <= two < sum(walls)
        assert outlook.training_s(reference_plan.feasible, slots=9) == pytest.approx(max(walls))

    def test_a_prediction_is_what_the_simulator_says(self, reference_plan, synthetic):
        """Parts, ages and waste, added up again from the plays themselves."""
        costs = source.named_costs(synthetic, "Exp1")
        run = reference_plan.feasible[-1]
        prediction = look_ahead(reference_plan, costs).predictions[run.name]
        plays = [
            simulate(way_of(run.config), costs.durations_of(run.config), costs.drawing(run.config, seed))
            for seed in range(prediction.replications)
        ]
        steps = [step for play in plays for step in play.steps]
        for part in ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s"):
            assert getattr(prediction, part) == pytest.approx(np.mean([getattr(s, part) for s in steps]))
        assert prediction.step_s == pytest.approx(np.mean([step.wall_s for step in steps]))
        groups = sum(sum(play.fates.values()) for play in plays)
        assert prediction.dispatched_per_trained == pytest.approx(groups / (len(steps) * 8))
        tokens = sum(sum(play.tokens.values()) for play in plays)
        trained = sum(play.tokens["trained"] for play in plays)
        assert prediction.wasted_token_share == pytest.approx(1 - trained / tokens)
        assert sum(prediction.ages.values()) == pytest.approx(1)
        assert sum(age * share for age, share in prediction.ages.items()) == pytest.approx(
            prediction.age_mean
        )

    def test_a_sweep_too_large_to_be_simulated_is_predicted_in_part(self, tmp_path, hand):
        spec = tmp_path / "many.yaml"
        spec.write_text(
            "version: 1\nname: many\nbase: {max_steps: 1000}\n"
            "parameters: {optim.lr: {logspace: {min: 1e-7, max: 1e-5, num: 100}}}\n"
        )
        outlook = look_ahead(load_plan(spec, "auto", [], tmp_path), hand)
        assert 0 < len(outlook.predictions) < 100
        assert len(outlook.predictions) + outlook.left_out == 100

    def test_a_run_that_would_find_nothing_to_learn_from_has_none(self, reference_plan, hand):
        pool = (Work(14.0, fate=Fate.FILTERED),)
        outlook = look_ahead(reference_plan, replace(hand, pool=pool))
        assert not outlook.predictions
        assert len(outlook.useless) == 5
        with pytest.raises(ConfigError, match="no run finds groups to learn from"):
            recommend(reference_plan, outlook)

    def test_seeds_share_a_prediction(self, tmp_path, hand):
        spec = tmp_path / "seeds.yaml"
        spec.write_text("version: 1\nname: seeds\nparameters: {max_staleness: [0, 1]}\nseeds: [0, 1, 2]\n")
        plan = load_plan(spec, "auto", [], tmp_path)
        outlook = look_ahead(plan, hand)
        assert len(outlook.predictions) == 6
        assert len({id(prediction) for prediction in outlook.predictions.values()}) == 2
        for run in plan.feasible:  # each against the twin of its own seed
            twin = outlook.twins.get(run.name)
            assert (twin is None) == (run.config.max_staleness == 0)
            assert twin is None or twin.rpartition("_")[2] == run.name.rpartition("_")[2]


class TestRecommendation:
    def test_the_front_is_not_beaten(self, reference_plan, hand):
        front = recommend(reference_plan, look_ahead(reference_plan, hand)).front
        ages = [setting.prediction.age_mean for setting in front]
        speeds = [setting.prediction.prompts_per_s for setting in front]
        assert ages == sorted(ages)
        assert speeds == sorted(speeds)
        assert front[0].max_staleness == 0
        assert "Exp2" in [setting.label for setting in front]

    def test_knobs_are_turned_from_the_fastest_run_and_the_best_is_first(self, reference_plan, hand):
        found = recommend(reference_plan, look_ahead(reference_plan, hand))
        assert found.start.label == "Exp2"  # the learner is never idle there
        gains = [turn.gain for turn in found.turns]
        assert gains == sorted(gains, reverse=True)
        by_key = {turn.key: turn for turn in found.turns}
        assert abs(by_key["max_staleness"].gain) < 0.02  # older samples cannot help a busy learner
        assert by_key["prompts_per_optim_step"].learns_otherwise

    def test_a_learner_that_waits_wants_older_samples(self, tmp_path, hand):
        spec = tmp_path / "synchronous.yaml"
        spec.write_text("version: 1\nname: synchronous\nbase: {max_staleness: 0}\n")
        plan = load_plan(spec, "auto", [], tmp_path)
        turns = recommend(plan, look_ahead(plan, hand)).turns
        best = next(turn for turn in turns if not turn.learns_otherwise)
        assert (best.key, best.before, best.after) == ("max_staleness", 0, 1)
        assert best.gain == pytest.approx(42.6 / 28.74 - 1, abs=0.02)
        assert best.why.startswith("waiting for groups")

    def test_devices_go_to_whoever_is_busier(self, reference_plan, hand):
        splits = recommend(reference_plan, look_ahead(reference_plan, hand)).splits
        assert [(split.engine + split.learner) for split in splits] == [split.devices for split in splits]
        assert splits[-1].learner > splits[-1].engine  # 28 s of training beside 14 s of generation


class TestCommand:
    def test_costs_by_hand(self, cli, tmp_path):
        code, out, _ = cli("plan", STALENESS, "--profile", "gpu", *HAND, "--runs-dir", str(tmp_path))
        assert code == 0
        assert "predicted; costs: numbers given by hand" in out
        rows = {line.split()[0]: line for line in out.splitlines() if re.match(r"Exp\d +[\d.]+ ", line)}
        assert rows["Exp2"].split()[1:3] == ["28.7", "28.7"]
        assert "1.48x" in rows["Exp2"]
        assert "14.6 and 28.6" in rows["Exp5"]
        assert "training what is left would take about" in out

    def test_a_named_run(self, cli, synthetic):
        arguments = ("plan", STALENESS, "--profile", "cpu", "--runs-dir", str(synthetic))
        code, out, _ = cli(*arguments, "--from", "staleness/Exp1", "--recommend", "--json")
        assert code == 0
        found = json.loads(out)
        assert found["prediction"]["costs"].startswith("fitted on staleness/")
        assert len(found["prediction"]["runs"]) == 5
        for run in found["prediction"]["runs"].values():
            Prediction.model_validate(run)
        assert {"front", "start", "turns", "splits"} == found["recommendation"].keys()

    def test_without_costs_it_says_how_to_get_some(self, cli, tmp_path):
        code, out, _ = cli("plan", STALENESS, "--profile", "cpu", "--runs-dir", str(tmp_path))
        assert code == 0
        assert "no prediction: no run with this model" in out
        assert "--pilot" in out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--generate-s", "14"), "found --generate-s alone"),
            ((*HAND, "--from", "Exp1"), "costs come from one place; found --from and --generate-s"),
            (("--from", "Exp7"), "no run 'Exp7'"),
            (("--recommend",), "nothing can be recommended: no run"),
        ],
    )
    def test_costs_that_cannot_be_had(self, cli, tmp_path, synthetic, options, message):
        where = synthetic if "Exp7" in options else tmp_path
        code, _, err = cli("plan", STALENESS, "--profile", "cpu", *options, "--runs-dir", str(where))
        assert code == 2
        assert message in err

    def test_a_damaged_store_keeps_no_plan_from_being_shown(self, cli, tmp_path):
        (tmp_path / "results.duckdb").write_bytes(b"nothing of the sort")
        code, out, err = cli("plan", STALENESS, "--profile", "cpu", "--runs-dir", str(tmp_path))
        assert code == 0
        assert "run would train 5" in out
        assert "results.duckdb" in err


class TestOnRecord:
    def test_a_prediction_is_made_before_the_first_step_and_never_after(self, tmp_path, hand):
        sweep = FakeSweep(tmp_path)
        plan = load_plan(sweep.spec, "auto", [], sweep.runs_dir)
        first = look_ahead(plan, hand).predictions
        plan.paths.root.mkdir(parents=True)
        write_manifest(plan, trains=True, predictions={"s0": first["s0"]})
        assert _predicted(sweep) == {"s0": first["s0"]}
        assert sweep.run(only="s0") == 0
        slower = look_ahead(plan, by_hand(generate_s=28, train_s_per_prompt=1.75, overhead_s=0.6)).predictions
        plan = plan.refreshed()
        write_manifest(plan, trains=True, predictions=slower)
        found = _predicted(sweep)
        assert found["s0"] == first["s0"]  # it has run: what is said now would be no prediction
        assert found["s1"] == slower["s1"]
        write_manifest(plan, trains=False)
        assert _predicted(sweep) == found  # nothing new is known: what was predicted stays

    def test_another_configuration_keeps_nothing(self, tmp_path, hand):
        sweep = FakeSweep(tmp_path)
        plan = load_plan(sweep.spec, "auto", [], sweep.runs_dir)
        plan.paths.root.mkdir(parents=True)
        write_manifest(plan, trains=True, predictions=look_ahead(plan, hand).predictions)
        longer = load_plan(sweep.spec, "auto", ["max_steps=9"], sweep.runs_dir)
        write_manifest(longer, trains=True)
        assert _predicted(sweep) == {}


def _predicted(sweep):
    runs = json.loads((sweep.root / "sweep.json").read_text())["runs"]
    return {
        run["run_name"]: Prediction.model_validate(run["prediction"]) for run in runs if "prediction" in run
    }


def test_costs_may_be_those_of_all_seeds_of_an_arm(tmp_path):
    write_synthetic_sweep(tmp_path, steps=12, questions=5, arms=REFERENCE_ARMS[:2], seeds=(0, 1, 2))
    ingest(tmp_path)
    store = Store(tmp_path)
    one, arm = source.named_costs(tmp_path, "Exp1-seed1"), source.named_costs(tmp_path, "staleness/Exp1")
    assert one.source.startswith("fitted on staleness/") and "seeds" not in one.source
    assert arm.source == "fitted on staleness/Exp1, 3 seeds"
    for costs, label in ((arm, "Exp1-%"), (one, "Exp1-seed1")):
        groups = "SELECT count(*) AS n FROM groups JOIN runs USING (sweep, run_name) WHERE label LIKE ?"
        assert len(costs.pool) == store.query(groups, [label])["n"].iloc[0]
    with pytest.raises(ConfigError, match="no run 'Exp9'; did you mean"):
        source.named_costs(tmp_path, "Exp9")


def test_of_an_arm_only_the_seeds_that_are_done_count(tmp_path):
    root = write_synthetic_sweep(tmp_path, steps=12, questions=5, arms=REFERENCE_ARMS[:1], seeds=(0, 1, 2))
    status = next(root.glob("*seed1/status.json"))
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "interrupted"}))
    ingest(tmp_path)
    assert source.named_costs(tmp_path, "Exp1").source == "fitted on staleness/Exp1, 2 seeds"


def test_likely_costs_are_those_of_the_same_model_and_machine(synthetic, tmp_path, monkeypatch):
    store = Store(synthetic)
    there = json.loads(store.query("SELECT environment FROM sweeps")["environment"].iloc[0] or "{}")
    monkeypatch.setattr(source, "environment", lambda: there)
    config = store.query("SELECT config FROM runs WHERE label = 'Exp1'")["config"].iloc[0]
    same = RunConfig.model_validate(json.loads(config))
    assert source.likely_costs(synthetic, "other", [same]).source.startswith("fitted on staleness/")
    smaller = same.model_copy(update={"completions_per_prompt": 2})
    assert source.likely_costs(synthetic, "other", [smaller]) is None
    assert source.likely_costs(tmp_path, "other", [same]) is None  # no store at all
    monkeypatch.setattr(source, "environment", lambda: there | {"cpu": "another processor"})
    assert source.likely_costs(synthetic, "other", [same]) is None
