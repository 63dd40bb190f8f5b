"""`sweepctl plan --recommend`: settings, knobs and devices, against runs that are predicted one by one."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_sweepctl_predict import drawn

from sweepctl.plan.plan import load_plan
from sweepctl.planner import trials
from sweepctl.planner.costs import KnownCosts, by_hand
from sweepctl.planner.knobs import changed, single_changes
from sweepctl.planner.outlook import look_ahead
from sweepctl.planner.predict import play, predict
from sweepctl.planner.recommend import _front, recommend
from sweepctl.planner.show import print_recommendation
from sweepctl.planner.trials import GAIN, Gain, Trial, Trials, affordable, gain
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.records import Fate
from trainer.simulator import Durations, Work

HAND = by_hand(generate_s=14, train_s_per_prompt=1.75, overhead_s=0.6)
SLOW_ENGINE = by_hand(generate_s=100, train_s_per_prompt=0.5, overhead_s=0.6)


def every(costs):
    return KnownCosts.alike_for_all(costs)


def plan_of(folder, text):
    spec = folder / "spec.yaml"
    spec.write_text(f"version: 1\nname: planned\n{text}")
    return load_plan(spec, "auto", [], folder)


def recommended(plan, known):
    return recommend(plan, look_ahead(plan, known))


def reference(folder):
    return load_plan(Path("sweeps/staleness.yaml"), "gpu", [], folder)


class TestFront:
    @pytest.mark.parametrize("costs", [HAND, SLOW_ENGINE], ids=["learner", "engine"])
    def test_no_setting_of_the_grid_beats_it_with_samples_as_young(self, tmp_path, costs):
        plan = reference(tmp_path)
        front = recommended(plan, every(costs)).front
        grid = [
            changed(run.config, {"max_staleness": s, "prompts_per_rollout_sync": k * batch})
            for batch, run in {run.config.prompts_per_optim_step: run for run in plan.feasible}.items()
            for s in range(4)
            for k in range(1, s + 2)
        ]
        assert len(grid) == 20
        for setting in (predict(config, costs, 1, searched=0) for config in grid):
            as_young = [
                listed.prediction.prompts_per_s
                for listed in front
                if listed.prediction.age_mean <= setting.age_mean + 0.005
            ]
            assert setting.prompts_per_s <= max(as_young) * (1 + GAIN)
        speeds = [listed.prediction.prompts_per_s for listed in front]
        assert all(later > (1 + GAIN) * sooner for sooner, later in itertools.pairwise(speeds))

    @pytest.mark.parametrize(
        ("settings", "listed"),
        [
            (
                [(0, "a", 1.0), (1, "b", 1.019), (2, "c", 1.021)],
                ["a", "c"],
            ),  # each over the one that is listed
            ([(0, "a", 1.0), (1, "b", 1.1), (2, "c", 1.05)], ["a", "b"]),
            ([(0, None, 1.01), (0, "a", 1.0), (1, "b", 1.1)], ["a", "b"]),  # of equals the sweep's own
            ([(0, "a", 1.0), (1.001, "b", 1.1), (1.0, None, 1.3)], ["a", None]),  # of one age the faster
            ([(1, "b", 1.1), (0, "a", (0.5, 1.5)), (2, "c", (1.0, 2.0))], ["a"]),  # by chance
        ],
    )
    def test_each_is_surely_faster_than_the_one_before(self, settings, listed):
        prediction = predict(RunConfig(max_steps=2), HAND, 1)
        tried = []
        for age, label, speeds in settings:
            plays = np.array(speeds if isinstance(speeds, tuple) else (speeds, speeds))
            seen = {"age_mean": age, "prompts_per_s": plays.mean()}
            tried.append((RunConfig(), label, Trial(prediction.model_copy(update=seen), plays)))
        assert [setting.label for setting in _front(tried)] == listed

    def test_a_label_is_that_of_the_run_with_the_whole_configuration(self, tmp_path):
        plan = plan_of(tmp_path, "zip: [{max_staleness: [0, 1], in_flight: [keep, wait]}]\n")
        outlook = look_ahead(plan, every(by_hand(generate_s=14, train_s_per_prompt=0.5, overhead_s=0.6)))
        front = recommend(plan, outlook).front
        by_label = {run.label: run for run in plan.feasible}
        labelled = [setting for setting in front if setting.label]
        assert "Exp1" in [setting.label for setting in labelled]
        for setting in labelled:
            run = by_label[setting.label]
            predicted = outlook.predictions[run.name].prompts_per_s
            assert setting.prediction.prompts_per_s == pytest.approx(predicted)
        # s = 1, k = 1 with `keep` is no run of the sweep, and faster than the one with `wait`.
        (other,) = (each for each in front if (each.max_staleness, each.sync_interval_steps) == (1, 1))
        assert other.label is None
        assert other.prediction.prompts_per_s > 1.1 * outlook.predictions[by_label["Exp2"].name].prompts_per_s

    def test_a_run_beyond_the_grid_is_looked_at_too(self, tmp_path):
        plan = plan_of(tmp_path, "base: {in_flight: keep, max_staleness: 16}\n")
        assert recommended(plan, every(SLOW_ENGINE)).front[-1].label == "Exp1"

    def test_settings_that_find_nothing_to_learn_from_or_cost_nobody_knows_what_are_passed_over(
        self, tmp_path
    ):
        plan = plan_of(tmp_path, "parameters: {max_staleness: [0, 1]}\n")
        useless = replace(SLOW_ENGINE, pool=(Work(1.0, fate=Fate.FILTERED),))

        def costs_of(config):
            return {0: SLOW_ENGINE, 1: SLOW_ENGINE, 2: useless}.get(config.max_staleness)

        found = recommended(plan, KnownCosts("some", costs_of))
        assert {setting.max_staleness for setting in found.front} == {0, 1}
        assert "max_staleness" not in {turn.key for turn in found.turns}


class TestKnobs:
    def test_they_are_turned_from_the_fastest_run_and_the_best_is_first(self, tmp_path):
        found = recommended(reference(tmp_path), every(HAND))
        assert found.start.label == "Exp2"  # the learner is never idle there
        gains = [turn.gain for turn in found.turns]
        assert gains == sorted(gains, reverse=True)
        by_key = {turn.key: turn for turn in found.turns}
        assert abs(by_key["max_staleness"].gain) < GAIN  # older samples cannot help a busy learner
        batches = [turn for turn in found.turns if turn.key == "prompts_per_optim_step"]
        assert {(turn.before, turn.after) for turn in batches} == {(16, 32), (16, 8)}
        assert all(turn.learns_otherwise for turn in batches)
        assert {turn.also["prompts_per_rollout_sync"] for turn in batches} == {32, 8}

    def test_a_learner_that_waits_wants_older_samples(self, tmp_path):
        plan = plan_of(tmp_path, "base: {max_staleness: 0}\n")
        best = next(turn for turn in recommended(plan, every(HAND)).turns if not turn.learns_otherwise)
        assert (best.key, best.before, best.after) == ("max_staleness", 0, 1)
        assert best.gain == best.gain_at_least == pytest.approx(42.6 / 28.74 - 1, abs=0.02)
        assert best.why.startswith("waiting for groups")

    def test_a_gain_is_that_of_plays_with_the_same_draws_and_its_t_bound(self, tmp_path):
        plan = plan_of(tmp_path, "base: {max_steps: 20, prompts_per_optim_step: 4}\n")
        start = plan.feasible[0].config
        turns = {turn.key: turn for turn in recommended(plan, every(drawn())).turns}
        older = changed(start, {"max_staleness": 1})
        ratios = [
            after / before - 1
            for before, after in zip(_speeds(start, drawn(), 8), _speeds(older, drawn(), 8), strict=True)
        ]
        bound = stats.ttest_1samp(ratios, 0, alternative="greater").confidence_interval(0.95).low
        assert turns["max_staleness"].gain == pytest.approx(np.mean(ratios))
        assert turns["max_staleness"].gain_at_least == pytest.approx(bound)
        assert turns["max_staleness"].gain_at_least > GAIN

    def test_plays_that_were_given_up_on_either_side_are_not_compared(self):
        prediction = predict(RunConfig(max_steps=2), HAND, 1)
        before = Trial(prediction, np.array([1.0, math.nan, 1.0, 1.0]))
        after = Trial(prediction, np.array([1.1, 2.0, math.nan, 1.2]))
        ratios = [0.1, 0.2]
        bound = stats.ttest_1samp(ratios, 0, alternative="greater").confidence_interval(0.95).low
        found = gain(before, after)
        assert (found.mean, found.at_least) == pytest.approx((0.15, bound))
        alone = Trial(prediction, np.array([math.nan, math.nan, math.nan, 1.2]))
        assert gain(before, alone) == Gain(pytest.approx(0.2), -1)  # one of several is no proof
        never = Trial(prediction, np.array([math.nan, 1.5, math.nan, math.nan]))
        assert gain(before, never) == Gain(pytest.approx(0.5), -1)

    def test_held_out_evaluation_waits_for_the_next_sync(self, tmp_path):
        plan = plan_of(
            tmp_path, "base: {max_steps: 20, held_out.every_steps: 10}\nparameters: {max_staleness: [0, 1]}\n"
        )
        three = changed(
            plan.feasible[1].config,
            {"max_staleness": 2, "prompts_per_rollout_sync": 3 * plan.feasible[1].config.sync_prompts},
        )
        assert three.held_out.every_steps == 12
        assert recommended(plan, every(HAND)).front

    def test_what_the_other_settings_do_not_allow_is_not_tried(self, tmp_path):
        plan = plan_of(
            tmp_path,
            "base: {max_steps: 20, staleness_policy: evict_requeue, max_inflight_groups: 24, "
            "max_staleness: 1}\n",
        )
        changes = list(single_changes(plan.feasible[0].config))
        after = [change.after for change in changes if change.key == "prompts_per_optim_step"]
        assert after == [8]  # 24 groups in flight hold no batch of 32
        assert recommended(plan, every(HAND)).turns


class TestDevices:
    ENGINE_BOUND = replace(drawn(crowding=0.9), durations=Durations(crowding=0.9, learn_s_per_prompt=0.01))
    LEARNER_BOUND = replace(drawn(crowding=0.1), durations=Durations(crowding=0.1, learn_s_per_prompt=2.0))

    def splits(self, folder, costs, **base):
        given = {"max_steps": 20, "max_staleness": 1, "prompts_per_optim_step": 8} | base
        plan = plan_of(folder, f"base: {given}\n".replace("'", ""))
        return recommended(plan, every(costs))

    def test_they_go_to_whoever_is_busier(self, tmp_path):
        for split in self.splits(tmp_path, self.ENGINE_BOUND).splits[1:]:
            assert split.engine > split.learner
        for split in self.splits(tmp_path, self.LEARNER_BOUND).splits[1:]:
            assert split.learner > split.engine

    def test_one_of_each_is_what_was_measured_and_more_are_faster(self, tmp_path):
        found = self.splits(tmp_path, self.ENGINE_BOUND)
        assert [split.devices for split in found.splits] == [2, 3, 4, 8]
        speeds = [split.prompts_per_s for split in found.splits]
        costs, start = self.ENGINE_BOUND, found.start.config
        assert speeds[0] == pytest.approx(predict(start, costs, 8, searched=0).prompts_per_s)
        assert all(more > 1.1 * less for less, more in itertools.pairwise(speeds))

    @pytest.mark.parametrize("completions", [8, 4])
    def test_crowding_among_groups_of_the_runs_own_size_is_spread_over_the_engines(
        self, tmp_path, completions
    ):
        costs = self.ENGINE_BOUND
        found = self.splits(tmp_path, costs, completions_per_prompt=completions)
        config = found.start.config
        own = costs.durations_of(config)
        expected = [
            np.mean(
                _speeds(
                    config, costs, 8, replace(own, crowding=own.crowding / n, learn_s_per_prompt=0.01 / m)
                )
            )
            for n, m in ((1, 2), (2, 1))
        ]
        assert found.splits[1].prompts_per_s == pytest.approx(max(expected))

    def test_a_group_of_another_size_that_is_alone_gains_nothing_from_more_engines(self, tmp_path):
        found = self.splits(
            tmp_path,
            self.ENGINE_BOUND,
            max_staleness=0,
            prompts_per_optim_step=1,
            completions_per_prompt=4,
        )
        least, *others = (split.prompts_per_s for split in found.splits)
        assert others == pytest.approx([least] * 3, rel=0.02)  # only learning gets shorter, from 10 ms

    def test_costs_by_hand_do_not_know_them(self, tmp_path, capsys):
        found = recommended(plan_of(tmp_path, "base: {max_steps: 20}\n"), every(SLOW_ENGINE))
        assert not found.splits and found.summary()["splits"] == []
        print_recommendation(found)
        assert "costs by hand do not say how more groups slow an engine down" in _text(capsys)


class TestBudget:
    def configs(self, steps, batch, number):
        return [RunConfig(max_steps=steps, prompts_per_optim_step=batch)] * number

    def test_a_small_sweep_is_played_as_a_whole_and_often(self):
        found = affordable(every(drawn()), self.configs(40, 16, 40), 1.2)
        assert (found.plays, found.steps) == (8, 40)

    @pytest.mark.parametrize(("steps", "batch"), [(1000, 64), (100_000, 256)])
    def test_of_a_large_one_as_many_steps_as_take_seconds(self, steps, batch):
        found = affordable(every(drawn()), self.configs(steps, batch, 60), 1.5)
        assert found.steps * found.plays * batch * 60 * 1.5 <= 1.2e6 * 1.2
        assert 20 <= found.steps < steps and found.plays >= 3

    def test_without_chance_one_play_is_enough_and_has_more_steps(self):
        found = affordable(every(HAND), self.configs(1000, 64, 60), 1.0)
        assert found.plays == 1
        assert found.steps == 1_200_000 // (64 * 60)

    def test_a_shortened_run_is_one_of_all_of_training(self):
        """Groups take four times as long at the end as in the beginning."""
        run = RunConfig(max_steps=400, prompts_per_optim_step=8)
        pool = [
            Work(work.generate_s * (1 + place / 80), 100, 100) for place, work in enumerate(drawn().pool * 5)
        ]
        progress = [run.optim.lr * 400 * place / 240 for place in range(240)]
        costs = replace(drawn(), progress=progress, pool=pool)
        shortened = Trials(every(costs), plays=8, steps=40).of(run).prediction
        assert shortened.prompts_per_s == pytest.approx(predict(run, costs, 3).prompts_per_s, rel=0.03)
        first = predict(run.model_copy(update={"max_steps": 40}), costs, 3)
        assert first.prompts_per_s > 1.5 * shortened.prompts_per_s

    def test_whole_sync_cycles_are_played_and_it_is_said(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(trials, "_GROUPS", 10_000)
        plan = plan_of(
            tmp_path,
            "base: {max_steps: 400, max_staleness: 2, prompts_per_optim_step: 4, "
            "prompts_per_rollout_sync: 12}\n",
        )
        played = []
        monkeypatch.setattr(trials, "play", _recording(trials.play, played))
        found = recommended(plan, every(HAND))
        assert 20 <= found.simulated_steps < 400
        for config in played:
            assert config.max_steps % config.schedule.sync_interval_steps == 0
            assert found.simulated_steps <= config.max_steps < found.simulated_steps + 5
        print_recommendation(found)
        assert f"simulated as runs of about {found.simulated_steps} steps that change" in _text(capsys)


def test_what_it_prints(tmp_path, capsys):
    plan = plan_of(tmp_path, "base: {max_staleness: 0}\n")
    print_recommendation(recommended(plan, every(HAND)))
    out = _text(capsys)
    assert "next knob, from Exp1: max_staleness 0 -> 1, 0.557 prompts/s (+48%); waiting for groups" in out
    assert "or: prompts_per_optim_step 16 -> 32, prompts_per_rollout_sync 32, 0.453 prompts/s (+21%)" in out
    assert "; it also changes what a step learns from" in out
    assert "then" not in out


def test_without_a_run_that_can_be_played_there_is_nothing_to_recommend(tmp_path):
    plan = plan_of(tmp_path, "base: {max_steps: 20}\n")
    outlook = look_ahead(plan, every(HAND))
    useless = replace(HAND, pool=(Work(1.0, fate=Fate.FILTERED),))
    with pytest.raises(ConfigError, match="most simulated runs of Exp1, the fastest, find too few groups"):
        recommend(plan, replace(outlook, known=every(useless)))


def _recording(play, played):
    def recorded(config, *arguments):
        played.append(config)
        return play(config, *arguments)

    return recorded


def _speeds(config, costs, plays, durations=None):
    prompts = config.max_steps * config.prompts_per_optim_step
    return [prompts / run.wall_s for run in play(config, costs, plays, durations)]


def _text(capsys):
    return " ".join(capsys.readouterr().out.split())
