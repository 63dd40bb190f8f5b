"""Every generated sentence: said when its test allows it, and not said when it does not."""

import numpy as np
import pandas as pd
import pytest

from results.report.conclusions import shown_quality, shown_speed, still_missing
from results.report.knobs import differing_keys, flatten, objective, shared_settings, varying_keys
from results.report.observations import confounded, largest_speedup, several_modes, slower_runs
from results.report.quality import arm_verdicts, decided, equivalences, learning, noise, reach, undecided
from results.report.waste import age_matters, biased, most_wasted


def speedups(*rows, against="baseline", comparable=True):
    """Rows of (label, ratio, low, high)."""
    frame = pd.DataFrame(rows, columns=["label", "ratio", "low", "high"], dtype=object)
    numbers = {name: frame[name].astype(float) for name in ("ratio", "low", "high")}
    return pd.DataFrame(
        {
            "run_name": [f"run_{label}" for label in frame["label"]],
            "label": frame["label"],
            "against": against,
            "other_run": "run_Exp0",
            "other_label": "Exp0",
            "prompts_per_s_speedup": numbers["ratio"],
            "prompts_per_s_low": numbers["low"],
            "prompts_per_s_high": numbers["high"],
            "step_time_speedup": 2.8,
            "step_time_comparable": comparable,
            "interval_scope": "within this run",
        }
    )


def deltas(*rows, against="baseline", prompts=(100, 100)):
    """Rows of (label, verdict, detectable)."""
    return pd.DataFrame(
        [
            {
                "run_name": f"run_{label}",
                "label": label,
                "against": against,
                "other_label": "Exp0",
                "task": "t",
                "metric": "exact_match",
                "filter": "strict-match",
                "num_fewshot": 4,
                "delta_points": -5.0,
                "prompts_trained": prompts[0],
                "other_prompts_trained": prompts[1],
                "p_adjusted": 0.001,
                "verdict": verdict,
                "detectable_points": detectable,
                "noise_points": np.nan,
                "within_noise": False,
            }
            for label, verdict, detectable in rows
        ]
    )


def experiments(*labels, seeds=(0,), states=None):
    return pd.DataFrame(
        {
            "run_name": [f"run_{label}" for label in labels],
            "label": labels,
            "seed": (list(seeds) * len(labels))[: len(labels)],
            "state": states or "succeeded",
        }
    )


ONE_SEED_ARMS = pd.DataFrame({"scope": ["these checkpoints"]})


class TestSpeed:
    def test_the_largest_speedup_is_one_whose_interval_lies_above_one(self):
        (said,) = largest_speedup(speedups(("Exp1", 1.5, 0.8, 2.8), ("Exp2", 1.2, 1.1, 1.3)))
        assert said == (
            "Largest speed-up in prompts a second: 1.20x (95 % 1.10–1.30, within this run), "
            "Exp2 against its matched baseline, Exp0."
        )

    def test_without_such_an_interval_none_is_called_faster(self):
        (said,) = largest_speedup(speedups(("Exp1", 1.5, 0.8, 2.8)))
        assert said.startswith("No run is shown to be faster than its matched baseline: the best, Exp1, ")

    def test_without_any_interval_nothing_is_said(self):
        assert list(largest_speedup(speedups(("Exp1", 1.5, None, None)))) == []

    @pytest.mark.parametrize("comparable", [True, False])
    def test_step_times_are_set_right_where_they_are_not_comparable(self, comparable):
        said = list(largest_speedup(speedups(("Exp1", 1.5, 1.4, 1.6), comparable=comparable)))
        assert any("2.80x, is not that speed-up" in each for each in said) is not comparable

    def test_slower_needs_an_interval_below_one(self):
        said = list(slower_runs(speedups(("Exp1", 0.8, 0.7, 0.9), ("Exp2", 0.8, 0.5, 1.2))))
        assert len(said) == 1 and said[0].startswith("Exp1 is slower than its matched baseline, Exp0: 0.80x")
        assert said[0].endswith("(95 % 0.70–0.90, within this run; not adjusted for 2 runs).")
        (alone,) = slower_runs(speedups(("Exp1", 0.8, 0.7, 0.9)))
        assert "adjusted" not in alone

    def test_many_slower_runs_are_counted(self):
        rows = [(f"Exp{n}", 0.8 - n / 100, 0.5, 0.9) for n in range(6)]
        (said,) = slower_runs(speedups(*rows))
        assert said.startswith(
            "6 runs are slower than their matched baselines, each by its own 95 % interval, not adjusted "
            "for 6 runs; most of all Exp5: 0.75x"
        )

    def test_one_setting_that_differs_can_be_credited_two_cannot(self):
        known = {"run_Exp0": {"a": 1, "b": 1}, "run_Exp1": {"a": 1, "b": 2}, "run_Exp2": {"a": 2, "b": 2}}
        part = speedups(("Exp1", 1.5, 1.4, 1.6), ("Exp2", 1.5, 1.4, 1.6), against="reference")
        assert list(confounded(part, known, ("a", "b"))) == [
            "Exp2 differs from the reference run in `a`, `b` at once: "
            "what changed cannot be laid to one of them."
        ]

    def test_several_modes(self):
        modes = pd.DataFrame({"label": ["Exp1", "Exp2"], "modes": [1, 2]})
        (said,) = several_modes(modes)
        assert said.startswith("Exp2 has more than one step-time mode")
        assert list(several_modes(modes.head(1))) == []

    def test_seeds_are_told_together(self):
        labels = [f"{arm}-seed{seed}" for arm in ("A", "B", "C") for seed in range(3)]
        modes = pd.DataFrame({"label": labels, "modes": [1, 1, 2, 2, 2, 2, 2, 1, 2]})
        (said,) = several_modes(modes)
        assert said.startswith("A-seed2, B (3 seeds), C (2 of 3 seeds) have more than one step-time mode")
        known = {f"run_{label}": {"a": 1 + ("A" in label), "b": 1 + ("A" in label)} for label in labels}
        part = speedups(*((label, 1.5, 1.4, 1.6) for label in labels[:6]))
        part = part.assign(other_run="run_C-seed0")
        (said,) = confounded(part, known, ("a", "b"))
        assert said.startswith("A (3 seeds) differ from their matched baselines in `a`, `b` at once")


class TestQuality:
    @pytest.mark.parametrize(
        ("verdicts", "said"),
        [
            (("better", "better"), "All 2 evaluated runs are shown to be better than their base model"),
            (
                ("better", "inconclusive"),
                "1 of 2 evaluated runs are shown to be better than their base model; ",
            ),
            (("worse", "equivalent"), "No run is shown to be better than its base model (adjusted p < 0.05)"),
        ],
    )
    def test_learning(self, verdicts, said):
        rows = [(f"Exp{n}", verdict, 3.0) for n, verdict in enumerate(verdicts)]
        (sentence,) = learning(experiments("Exp0", "Exp1"), deltas(*rows, against="base"), ONE_SEED_ARMS)
        assert sentence.startswith(said)
        assert ("quality was not tested" in sentence) is ("better" not in verdicts)

    def test_what_is_not_shown_to_be_learned_is_not_said_not_to_be(self):
        rows = deltas(("Exp0", "inconclusive", 3.0), against="base")
        assert list(learning(experiments("Exp0"), rows, ONE_SEED_ARMS)) == [
            "No run is shown to be better than its base model (adjusted p < 0.05), so whether anything "
            "was learned is not shown, and quality was not tested."
        ]

    @pytest.mark.parametrize(
        ("verdicts", "said"),
        [
            (("better", "better"), "All 2 evaluated arms are shown"),
            (("better", "inconclusive"), "1 of 2 evaluated arms are shown"),
            (("worse", "inconclusive"), "No arm is shown to be better than its base model"),
        ],
    )
    def test_of_several_seeds_the_arms_learned_and_not_a_lucky_seed(self, verdicts, said):
        runs = [(f"Exp{n}-seed{seed}", "better", 3.0) for n in range(2) for seed in range(2)]
        arms = deltas(*((f"Exp{n}-seed0", word, 3.0) for n, word in enumerate(verdicts)), against="base")
        arms = arms.assign(arm=["a", "b"], scope="2 seeds")
        (sentence,) = learning(experiments("Exp0-seed0"), deltas(*runs, against="base"), arms)
        assert sentence.startswith(said)
        assert sentence.endswith("not shown: Exp1.") is ("1 of 2" in said)

    def test_without_a_base_model_learning_is_not_known(self):
        (sentence,) = learning(experiments("Exp1"), deltas(("Exp1", "better", 3.0)), ONE_SEED_ARMS)
        assert sentence.startswith("The base model was not evaluated")

    @pytest.mark.parametrize("word", ["better", "worse"])
    def test_only_decided_comparisons_are_named(self, word):
        part = deltas(("Exp1", word, 3.0), ("Exp2", "inconclusive", 3.0), ("Exp3", "equivalent", 3.0))
        (said,) = decided(part)
        assert said == (
            f"Exp1 is {word} than its matched baseline Exp0 at 4 shots: -5.00 points (adjusted p = 0.001)."
        )

    def test_unequal_training_is_said_beside_a_verdict(self):
        (said,) = decided(deltas(("Exp1", "worse", 3.0), prompts=(200, 100)))
        assert said.endswith("; it trained 200 prompts, the other 100.")

    def test_equivalent_comparisons_are_counted_among_all(self):
        part = deltas(("Exp1", "equivalent", 3.0), ("Exp2", "inconclusive", 3.0))
        assert list(equivalences(part, 2.0)) == [
            "1 of 2 comparisons with the matched baseline are equivalent within ±2 points."
        ]
        assert list(equivalences(part.tail(1), 2.0)) == []

    def test_inconclusive_comparisons_say_what_they_could_have_missed(self):
        part = deltas(("Exp1", "inconclusive", 3.0), ("Exp2", "inconclusive", 4.0), ("Exp3", "better", 9.0))
        (said,) = undecided(part)
        assert said.startswith("2 of 3 ") and "below about 3.0 to 4.0 points" in said
        assert list(undecided(part.tail(1))) == []

    def test_verdicts_over_seeds_are_about_the_arm(self):
        rows = deltas(("Exp1-seed0", "worse", 3.0), ("Exp2-seed0", "inconclusive", 3.0))
        arms = rows.assign(scope="3 seeds", low=-8.0, high=-2.0, other_seeds=3)
        (said,) = arm_verdicts(arms)
        assert said.startswith("Over 3 seeds, Exp1 is worse than its matched baseline Exp0 at 4 shots")
        assert list(arm_verdicts(arms.assign(scope="these checkpoints"))) == []
        (said,) = arm_verdicts(arms.assign(other_seeds=1))
        assert "baseline Exp0, of which there is one checkpoint, at 4 shots" in said

    def test_noise_is_mentioned_only_where_a_difference_is_within_it(self):
        known = deltas(("Exp1", "inconclusive", 3.0), ("Exp2", "worse", 3.0)).assign(noise_points=1.0)
        assert list(noise(known)) == []
        (said,) = noise(known.assign(within_noise=[True, False]))
        assert said.startswith("1 of 2 differences are within")

    @pytest.mark.parametrize(
        ("seeds", "scope", "others", "said"),
        [
            ((0,), "these checkpoints", {"baseline": 1}, "One seed: every verdict is about these"),
            ((0, 1), "these checkpoints", {"baseline": 1}, "Each accuracy verdict is about single"),
            (
                (0, 1),
                "2 seeds",
                {"baseline": 2, "base": 1},
                "A verdict over several seeds is about a setting; the others",
            ),
            (
                (0, 1),
                "2 seeds",
                {"baseline": 2, "reference": 1},
                "A verdict over several seeds is about a setting, or about an arm against one checkpoint",
            ),
            (
                (0, 1),
                "2 seeds",
                {"reference": 1, "base": 1},
                "A verdict over several seeds is about an arm against one checkpoint of its opponent;",
            ),
            ((0, 1), "2 seeds", {"base": 1}, "A verdict over several seeds is about an arm against one"),
        ],
    )
    def test_how_far_verdicts_reach(self, seeds, scope, others, said):
        arms = pd.DataFrame({"scope": scope, "against": list(others), "other_seeds": list(others.values())})
        (sentence,) = reach(experiments("Exp0", "Exp1", seeds=seeds), arms)
        assert sentence.startswith(said)


class TestConclusions:
    def test_speed_counts_what_each_interval_shows(self):
        part = speedups(
            ("A", 1.5, 1.4, 1.6), ("B", 0.8, 0.7, 0.9), ("C", 1.1, 0.9, 1.3), ("D", 2.0, None, None)
        )
        assert list(shown_speed(part)) == [
            "Of 4 runs compared with a matched baseline, 1 is shown to train more prompts a second (1.50x) "
            "and 1 fewer, each by its own 95 % interval, not adjusted for their number; "
            "of 2 neither is shown."
        ]
        over_seeds = list(shown_speed(part.head(2).assign(interval_scope="over 3 seeds")))
        assert over_seeds[0].startswith("Of 2 arms compared")
        assert list(shown_speed(part.head(0))) == []

    @pytest.mark.parametrize(
        ("verdicts", "learned", "said"),
        [
            (("worse", "inconclusive"), True, "A loss of accuracy is shown in 1 of 2 comparisons"),
            (("worse", "inconclusive"), False, "A loss of accuracy is shown in 1 of 2 comparisons"),
            (("equivalent", "equivalent"), False, "No run is shown to have learned anything"),
            (
                ("equivalent", "inconclusive"),
                True,
                "No loss of accuracy against a matched baseline is shown, nor",
            ),
            (
                ("equivalent", "better"),
                True,
                "In all 2 comparisons that could be made with a matched baseline, a",
            ),
            (("refused", "refused"), True, "What the settings cost in accuracy was not tested"),
        ],
    )
    def test_quality_is_never_stronger_than_its_verdicts(self, verdicts, learned, said):
        rows = deltas(*((f"Exp{n}", verdict, 3.0) for n, verdict in enumerate(verdicts)))
        (sentence,) = shown_quality(rows.assign(scope="these checkpoints"), learned, 2.0)
        assert sentence.startswith(said)
        shown = set(verdicts) <= {"equivalent", "better"} and learned
        assert ("ruled out for these checkpoints" in sentence) is shown
        (sentence,) = shown_quality(rows.assign(scope="3 seeds"), learned, 2.0)
        assert ("ruled out for these arms over their seeds, at" in sentence) is shown
        assert "No run" not in sentence

    def test_missing_runs_end_it(self):
        runs = experiments("A", "B", "C", states=["succeeded", "running", "infeasible"])
        assert list(still_missing(runs)) == ["1 of 2 runs have not finished: all of this may change."]
        assert list(still_missing(runs.head(1))) == []


class TestStaleness:
    def test_waste_is_said_where_there_is_some(self):
        shares = {f"{fate}_share": 0.0 for fate in ("evicted", "aborted", "failed", "leftover")}
        waste = pd.DataFrame(
            [
                {"label": "Exp1", "wasted_share": 0.0, "filtered_share": 0.0, **shares},
                {"label": "Exp2", "wasted_share": 0.3, "filtered_share": 0.1, **shares, "evicted_share": 0.2},
            ]
        )
        (said,) = most_wasted(waste)
        assert "between 0% and 30%" in said and "most in Exp2, where 20% were evicted." in said
        assert list(most_wasted(waste.head(1))) == []

    def test_bias_is_told_only_where_it_is_shown(self):
        rows = [
            {
                **{"label": "Exp1", "run_name": "a", "fate": "evicted", "quantity": "completion_tokens"},
                **{"scale": "ratio", "estimate": 1.31, "low": 1.2, "high": 1.4, "p": p, "p_adjusted": p},
                "compared_groups": 30,
            }
            for p in (0.01, 0.2)
        ]
        (said,) = biased(pd.DataFrame(rows))
        assert said.startswith("Exp1, length of completions, evicted against trained groups: 1.31x")

    def test_much_bias_is_counted_by_fate(self):
        row = {"run_name": "a", "fate": "evicted", "p": 0.01, "p_adjusted": 0.01}
        (said,) = biased(pd.DataFrame([row] * 6 + [{**row, "p": 0.5, "p_adjusted": 0.5}]))
        assert said.startswith(
            "Groups that were evicted are shown to be unlike trained ones in 6 of 7 comparisons"
        )

    def test_age_is_told_only_where_its_trend_is_shown(self):
        row = {"label": "Exp1", "run_name": "a", "metric": "ess", "rank_correlation": -0.4}
        trends = pd.DataFrame([{**row, "p_adjusted": 1e-9}, {**row, "p_adjusted": 0.06}])
        (said,) = age_matters(trends)
        assert said == (
            "Exp1: effective sample size (`ess`) falls with the age of what a step trains on "
            "(rank correlation -0.40, adjusted p < 0.0001)."
        )


class TestKnobs:
    def test_a_key_that_some_runs_do_not_give_does_not_vary_for_that(self):
        assert varying_keys([{"a": 1, "b": 2}, {"a": 1}, {"a": 3, "b": 2}]) == ["a"]

    def test_synchronisation_that_is_left_open_is_every_step(self):
        flat = flatten({"prompts_per_optim_step": 8, "prompts_per_rollout_sync": None, "optim": {"lr": 1e-6}})
        assert flat == {"prompts_per_optim_step": 8, "prompts_per_rollout_sync": 8, "optim.lr": 1e-6}

    def test_the_seed_is_no_setting_that_differs(self):
        assert differing_keys({"seed": 0, "a": 1, "b": 2}, {"seed": 1, "a": 2}, ("seed", "a", "b")) == ["a"]

    def test_many_values_are_given_by_their_ends(self):
        runs = [{"optim.lr": lr, "seed": seed} for lr in (1e-6, 2e-6, 3e-6, 4e-6, 5e-6) for seed in (0, 1)]
        said = objective(runs, varying_keys(runs))
        assert "`optim.lr` (5 values from 1e-06 to 5e-06), in 10 runs over 2 seeds" in said

    def test_one_setting_is_said_to_be_one(self):
        assert objective([{"a": 1}], []).startswith("To train one setting of asynchronous GRPO in 1 run")

    def test_shared_settings_leave_out_what_varies_and_what_is_not_set(self):
        runs = [{"model": "m", "max_steps": steps, "loss.name": None} for steps in (1, 2)]
        assert shared_settings(runs, varying_keys(runs)) == [("model", "m")]
