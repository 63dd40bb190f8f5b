"""`sweepctl plan` looks ahead: where costs come from, what is said of a sweep, and what goes on record."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.planned_sweep import PlannedSweep
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep
from fake_sweep import FakeSweep
from scipy import stats
from test_sweepctl_predict import drawn

from results.files.predictions import Prediction
from results.ingest import ingest
from results.store import Store
from sweepctl.commands import plan as plan_command
from sweepctl.commands.run import RunRequest, _predictions
from sweepctl.plan.plan import load_plan
from sweepctl.planner import source
from sweepctl.planner.costs import KnownCosts, by_hand, way_of
from sweepctl.planner.outlook import look_ahead
from sweepctl.planner.recommend import recommend
from sweepctl.planner.show import print_outlook
from sweepctl.provenance import environment_id
from sweepctl.running.manifest import write_manifest
from sweepctl.running.slots import Share
from sweepctl.watching.progress import duration
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.records import Fate, RunState
from trainer.simulator import Work, simulate

HAND = ("--generate-s", "14", "--train-s-per-prompt", "1.75", "--overhead-s", "0.6")
STALENESS = "sweeps/staleness.yaml"
MANY = "base: {max_steps: 1000}\nparameters: {optim.lr: {logspace: {min: 1e-7, max: 1e-5, num: 100}}}\n"


@pytest.fixture
def reference_plan(tmp_path):
    return load_plan(Path(STALENESS), "gpu", [], tmp_path)


@pytest.fixture
def hand():
    return every(by_hand(generate_s=14, train_s_per_prompt=1.75, overhead_s=0.6))


def every(costs):
    """The same costs for every run."""
    return KnownCosts.alike_for_all(costs)


def plan_of(folder, text, **options):
    """The plan of a spec's text."""
    spec = folder / "spec.yaml"
    spec.write_text(f"version: 1\nname: planned\n{text}")
    return load_plan(spec, "auto", [], folder, **options)


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
        prediction = look_ahead(reference_plan, every(costs)).predictions[run.name]
        plays = [
            simulate(way_of(run.config), costs.durations_of(run.config), costs.drawing(run.config, seed))
            for seed in range(prediction.replications)
        ]
        steps = [step for play in plays for step in play.steps]
        for part in ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s"):
            assert getattr(prediction, part) == pytest.approx(np.mean([getattr(s, part) for s in steps]))
        assert prediction.step_s == pytest.approx(np.mean([step.wall_s for step in steps]))
        means = [np.mean([step.wall_s for step in play.steps]) for play in plays]
        spread = np.std(means, ddof=1) * np.sqrt(1 + 1 / len(plays))
        ends = stats.t(len(plays) - 1, np.mean(means), spread).interval(0.95)
        assert (prediction.step_low_s, prediction.step_high_s) == pytest.approx(ends)
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
        plan = plan_of(tmp_path, MANY)
        outlook = look_ahead(plan, hand)
        assert 0 < len(outlook.predictions) < 100
        assert len(outlook.predictions) + outlook.left_out == 100

    def test_seeds_are_simulated_once_and_counted_once(self, tmp_path, hand):
        plan = plan_of(
            tmp_path,
            f"base: {{max_steps: 100}}\nparameters: {{max_staleness: [0, 1]}}\nseeds: {list(range(120))}\n",
        )
        by_chance = replace(hand.of(plan.feasible[0].config), pool=(Work(14.0), Work(15.0)))
        outlook = look_ahead(plan, every(by_chance))
        assert (len(outlook.predictions), outlook.left_out) == (240, 0)
        assert {prediction.replications for prediction in outlook.predictions.values()} == {20}

    def test_a_run_that_would_find_nothing_to_learn_from_has_none(self, reference_plan, hand):
        pool = (Work(14.0, fate=Fate.FILTERED),)
        costs = replace(hand.of(reference_plan.feasible[0].config), pool=pool)
        outlook = look_ahead(reference_plan, every(costs))
        assert not outlook.predictions
        assert len(outlook.useless) == 5
        with pytest.raises(ConfigError, match="no prediction for Exp1-Exp5: by these costs too few groups"):
            recommend(reference_plan, outlook)

    def test_of_a_run_that_is_given_up_now_and_then_it_is_said_how_often(self, tmp_path, capsys):
        plan = plan_of(tmp_path, "base: {max_steps: 60, prompts_per_optim_step: 2, max_useless_batches: 8}\n")
        outlook = look_ahead(plan, every(drawn(share_filtered=0.7)))
        (prediction,) = outlook.predictions.values()
        assert 0 < prediction.stalled_share < 1
        print_outlook(plan, outlook, slots=1)
        share = f"Exp1: up to {prediction.stalled_share:.0%} of the simulated runs found too few groups"
        assert share in " ".join(capsys.readouterr().out.split())

    def test_a_run_that_nothing_is_known_of_has_none_and_is_named(self, reference_plan, hand, capsys):
        synchronous = KnownCosts(
            hand.source, lambda config: None if config.max_staleness else hand.of(config)
        )
        outlook = look_ahead(reference_plan, synchronous)
        names = {run.label: run.name for run in reference_plan.feasible}
        assert list(outlook.predictions) == [names["Exp1"], names["Exp3"]]
        assert outlook.unknown == (names["Exp2"], names["Exp4"], names["Exp5"])
        assert outlook.summary()["unknown"] == list(outlook.unknown)
        assert outlook.left_out == 0 and not outlook.useless
        print_outlook(reference_plan, outlook, slots=1)
        out = " ".join(capsys.readouterr().out.split())
        assert "no prediction for Exp2, Exp4-Exp5: nothing is known of what such runs cost here" in out
        assert "training the 2 predicted of 5 runs left takes about" in out
        with pytest.raises(ConfigError, match="no prediction for Exp1-Exp5: nothing is known"):
            recommend(reference_plan, look_ahead(reference_plan, KnownCosts("nothing", lambda config: None)))

    def test_seeds_share_a_prediction(self, tmp_path, hand):
        plan = plan_of(tmp_path, "parameters: {max_staleness: [0, 1]}\nseeds: [0, 1, 2]\n")
        outlook = look_ahead(plan, hand)
        assert len(outlook.predictions) == 6
        assert len({id(prediction) for prediction in outlook.predictions.values()}) == 2
        for run in plan.feasible:  # each against the twin of its own seed
            twin = outlook.twins.get(run.name)
            assert (twin is None) == (run.config.max_staleness == 0)
            assert twin is None or twin.rpartition("_")[2] == run.name.rpartition("_")[2]


class TestCommand:
    def test_costs_by_hand(self, cli, tmp_path):
        code, out, _ = cli("plan", STALENESS, "--profile", "gpu", *HAND, "--runs-dir", str(tmp_path))
        assert code == 0
        assert "predicted; costs: numbers given by hand" in out
        rows = {line.split()[0]: line for line in out.splitlines() if re.match(r"Exp\d +[\d.]+ ", line)}
        assert rows["Exp2"].split()[1:4] == ["28.7", "28.6", "0.557"]
        assert "1.48x" in rows["Exp2"]
        assert "14.6, 28.6" in rows["Exp5"]
        assert "training what is left takes about" in out
        assert "wasted" not in out  # of tokens, and so of waste, these costs say nothing

    def test_a_named_run(self, cli, synthetic):
        arguments = ("plan", STALENESS, "--profile", "cpu", "--runs-dir", str(synthetic))
        code, out, _ = cli(*arguments, "--from", "staleness/Exp1", "--recommend", "--json")
        assert code == 0
        found = json.loads(out)
        assert found["prediction"]["costs"].startswith("fitted on staleness/")
        assert len(found["prediction"]["runs"]) == 5
        for run in found["prediction"]["runs"].values():
            Prediction.model_validate(run)
        assert {"front", "start", "turns", "splits", "simulated_steps"} == found["recommendation"].keys()

    def test_what_costs_do_not_tell_is_null(self, cli, tmp_path):
        arguments = ("plan", STALENESS, "--profile", "gpu", *HAND, "--runs-dir", str(tmp_path), "--json")
        for run in json.loads(cli(*arguments)[1])["prediction"]["runs"].values():
            unknown = {name for name, value in run.items() if value is None}
            assert {*unknown, "twin", "speedup"} == {
                *("wasted_token_share", "dispatched_per_trained", "completion_tokens_per_prompt"),
                *("twin", "speedup"),
            }

    def test_of_a_sweep_that_is_predicted_in_part_it_says_how_long_that_part_takes(self, cli, tmp_path):
        plan = plan_of(tmp_path, MANY)
        code, out, _ = cli("plan", plan.resolved.file, *HAND, "--runs-dir", str(tmp_path))
        assert code == 0
        assert "training the 18 predicted of 100 runs left takes about" in out

    def test_without_costs_it_says_how_to_get_some(self, cli, tmp_path):
        code, out, _ = cli("plan", STALENESS, "--profile", "cpu", "--runs-dir", str(tmp_path))
        assert code == 0
        assert "no prediction: no run like these" in out
        assert "--pilot" in out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--generate-s", "14"), "found --generate-s alone"),
            ((*HAND, "--from", "Exp1"), "costs come from one place; found --from and --generate-s"),
            (("--from", "Exp7"), "no run 'Exp7'"),
            (("--from", "nothere"), "no sweep was run here; start one with: sweepctl run SPEC"),
            (("--recommend",), "nothing can be recommended: no run"),
        ],
    )
    def test_costs_that_cannot_be_had(self, cli, tmp_path, synthetic, options, message):
        where = synthetic if "Exp7" in options else tmp_path
        code, _, err = cli("plan", STALENESS, "--profile", "cpu", *options, "--runs-dir", str(where))
        assert code == 2
        assert message in err

    def test_a_run_that_is_nowhere_is_told_where_there_is_no_folder_of_runs(self, cli, tmp_path):
        runs_dir = tmp_path / "none"
        code, out, err = cli("plan", STALENESS, "--profile", "cpu", "--from", "Exp1", "--runs-dir", runs_dir)
        assert (code, out) == (2, "")
        assert err == f"error: {runs_dir}: no sweep was run here; start one with: sweepctl run SPEC\n"
        assert not runs_dir.exists()

    def test_that_a_name_is_ambiguous_is_said_once(self, cli, tmp_path):
        for name in ("one", "two"):
            write_synthetic_sweep(tmp_path, name, steps=12, questions=5, arms=REFERENCE_ARMS[:1])
        arguments = ("plan", STALENESS, "--profile", "cpu", "--from", "Exp1", "--runs-dir", tmp_path)
        code, _, err = cli(*arguments)
        assert (code, err.count("there is also")) == (0, 1)

    def test_a_damaged_store_keeps_no_plan_from_being_shown(self, cli, tmp_path):
        (tmp_path / "results.duckdb").write_bytes(b"nothing of the sort")
        code, out, err = cli("plan", STALENESS, "--profile", "cpu", "--runs-dir", str(tmp_path))
        assert code == 0
        assert "run would train 5" in out
        assert err.startswith("no prediction: ") and "results.duckdb" in err
        assert "no prediction" not in out  # which would say that no run is like these
        code, _, err = cli("plan", STALENESS, "--profile", "cpu", "--runs-dir", str(tmp_path), "--recommend")
        assert code == 2
        assert err.startswith("error: nothing can be recommended: ") and "results.duckdb" in err


class TestRun:
    def say(self, synthetic, **options):
        """What `run` says before it trains, and the predictions."""
        said = []
        plan = load_plan(Path(STALENESS), "cpu", ["max_steps=12"], synthetic, only=options.pop("only", None))
        request = RunRequest(
            spec=Path(STALENESS), runs_dir=synthetic, predict_from="staleness/Exp1", **options
        )
        predictions = _predictions(request, plan, Share("core", ("0",), 1, None), said.append)
        return said, [predictions[run.name].wall_s for run in plan.feasible]

    def test_it_says_how_long_what_was_selected_takes(self, synthetic):
        said, walls_s = self.say(synthetic)
        assert said[0].endswith(f"training what is left takes about {duration(sum(walls_s))}")
        said, walls_s = self.say(synthetic, only="Exp1")
        assert said[0].endswith(f"training what is left takes about {duration(walls_s[0])}")

    def test_it_says_which_runs_are_not_predicted(self, synthetic, monkeypatch):
        known = KnownCosts("known", lambda config: None)
        monkeypatch.setattr(plan_command, "known_costs", lambda *_: known)
        plan = load_plan(Path(STALENESS), "cpu", ["max_steps=12"], synthetic)
        said = []
        request = RunRequest(spec=Path(STALENESS), runs_dir=synthetic)
        assert _predictions(request, plan, Share("core", ("0",), 1, None), said.append) == {}
        assert said[0].startswith("no prediction for Exp1-Exp5: nothing is known of what such runs cost")
        assert len(said) == 1


def test_a_run_goes_on_where_it_is_and_one_that_is_outdated_or_forced_begins_again(tmp_path, hand):
    sweep = PlannedSweep(tmp_path)
    sweep.leave_run(0, RunState.INTERRUPTED, step=30)
    sweep.leave_finished(1, "0" * 12, environment_id())
    plan = sweep.plan(rerun_on=frozenset({"code"}))
    assert [run.state for run in plan.runs[:3]] == ["interrupted", "outdated", "new"]
    outlook = look_ahead(plan, hand)
    walls_s = [outlook.predictions[run.name].wall_s for run in plan.runs[:3]]
    assert outlook.training_s(plan.runs[:3]) == pytest.approx(walls_s[0] / 4 + walls_s[1] + walls_s[2])
    assert outlook.training_s(plan.runs[:3], afresh=True) == pytest.approx(sum(walls_s))


class TestOnRecord:
    def test_a_prediction_is_made_before_the_first_step_and_never_after(self, tmp_path, hand):
        sweep = FakeSweep(tmp_path)
        plan = load_plan(sweep.spec, "auto", [], sweep.runs_dir)
        first = look_ahead(plan, hand).predictions
        plan.paths.root.mkdir(parents=True)
        write_manifest(plan, trains=True, predictions={"s0": first["s0"]})
        assert _predicted(sweep) == {"s0": first["s0"]}
        assert sweep.run(only="s0") == 0
        longer = by_hand(generate_s=28, train_s_per_prompt=1.75, overhead_s=0.6)
        slower = look_ahead(plan, every(longer)).predictions
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
