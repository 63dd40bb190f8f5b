"""The verdict in three lines: each line said when its evidence allows it, and no stronger."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import ingest
from results.report.build import build_report
from results.report.headline import headline
from results.store import Store
from sweepctl.commands.import_ import import_folder

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
RUN_TABLE = Path(__file__).parents[1] / "sweepctl" / "reference_runs.yaml"
SWEEPS = {
    "one": {"steps": 12},
    "three": {"seeds": (0, 1, 2), "arms": REFERENCE_ARMS[:2]},
    "two": {"seeds": (0, 1), "arms": REFERENCE_ARMS[:2]},
    "unlearned": {"learns": False, "seed": 5, "arms": REFERENCE_ARMS[:2]},
    "begun": {"finished": False, "arms": REFERENCE_ARMS[3:]},
    "partial": {"finished": False},
    "reference": {"steps": 24, "arms": (REFERENCE_ARMS[0], REFERENCE_ARMS[2])},
    "references": {"seeds": (0, 1, 2), "arms": (REFERENCE_ARMS[0], REFERENCE_ARMS[2])},
    "baseline": {"arms": (REFERENCE_ARMS[2], REFERENCE_ARMS[4])},
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    root = tmp_path_factory.mktemp("headline")
    for name, changes in SWEEPS.items():
        write_synthetic_sweep(root, name, **({"steps": 8, "questions": 60, "seed": 7} | changes))
    ingest(root)
    return {name: build_report(Store(root), name) for name in SWEEPS}


def of_the_reference(folder, runs):
    """A report on the reference's evaluations, with the table of its runs or without."""
    import_folder(folder, REFERENCE / "eval_results", name="gsm8k", runs=runs, as_json=False)
    ingest(folder)
    return build_report(Store(folder))


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return of_the_reference(tmp_path_factory.mktemp("imported") / "runs", RUN_TABLE)


@pytest.fixture(scope="module")
def evaluated_only(tmp_path_factory):
    return of_the_reference(tmp_path_factory.mktemp("evaluated") / "runs", None)


def arm_of(report, label):
    rows = report.experiments[report.experiments["label"].str.startswith(label)]
    return rows["arm_id"].iloc[0]


def with_rival(report, high):
    """The report with another upper end of Exp4's ratio to the reference run."""
    table = report.speedups.copy()
    table.loc[(table["label"] == "Exp4") & (table["against"] == "reference"), "prompts_per_s_high"] = high
    return replace(report, speedups=table)


def with_ratio(report, label, ratio, low, high):
    """The report with another ratio to the matched baseline of one arm, in both tables."""
    arm = arm_of(report, label)
    runs = set(report.experiments.loc[report.experiments["arm_id"] == arm, "run_name"])
    changed = {}
    for name, column, keys in (("speedups", "run_name", runs), ("arm_speedups", "arm_id", {arm})):
        table = getattr(report, name).copy()
        rows = table[column].isin(keys) & (table["against"] == "baseline")
        for end, value in (("speedup", ratio), ("low", low), ("high", high)):
            table.loc[rows, f"prompts_per_s_{end}"] = value
        changed[name] = table
    return replace(report, **changed)


def with_verdicts(report, label, *verdicts, against="baseline", **columns):
    """The report with other verdicts of one arm, by shots."""
    table = report.arm_deltas.copy()
    rows = table.index[
        (table["arm"] == arm_of(report, label))
        & (table["against"] == against)
        & (table["filter"] == "strict-match")
    ]
    for row, verdict in zip(rows, verdicts, strict=True):
        table.loc[row, "verdict"] = verdict
    for name, value in columns.items():
        table.loc[rows, name] = value
    return replace(report, arm_deltas=table)


class TestFastest:
    def test_it_is_the_one_with_the_most_prompts_a_second(self, reports):
        report = with_rival(reports["one"], 1.2)
        best = report.experiments.loc[report.experiments["prompts_per_s"].idxmax()]
        assert headline(report).fastest == (
            f"{best['label']} (max_staleness 1, prompts_per_optim_step 16, prompts_per_rollout_sync 16, "
            "optim.lr 0.0001) trained the most prompts a second of 5 finished settings: "
            f"{best['prompts_per_s']:.3f}."
        )

    def test_over_seeds_it_is_their_mean(self, reports):
        report = reports["three"]
        mean = report.experiments.groupby("arm_id")["prompts_per_s"].mean().max()
        assert headline(report).fastest.endswith(f"{mean:.3f}, mean over 3 seeds.")

    def test_a_run_that_has_not_finished_does_not_count(self, reports):
        fastest = headline(reports["partial"]).fastest
        assert "of 3 finished settings" in fastest

    def test_before_any_has_finished_nothing_is_said(self, reports):
        lines = headline(reports["begun"])
        assert lines.fastest == "No run has finished: which setting is the fastest is not known."
        assert lines.speedup == "There is no finished pair of runs to compare."

    def test_a_rival_whose_interval_overlaps_is_named(self, reports):
        assert "not tested" not in headline(with_rival(reports["one"], 1.2)).fastest
        near = headline(with_rival(reports["one"], 1.6)).fastest
        assert near.endswith(
            "; not tested against Exp4: the 95 % interval of its ratio to the reference run overlaps that of "
            "Exp2."
        )

    def test_where_a_prompt_is_not_the_same_work_none_is_called_the_fastest(self, reports):
        report = replace(reports["one"], varying=("completions_per_prompt", "max_staleness"))
        lines = headline(report)
        assert lines.fastest.startswith("The runs differ in completions_per_prompt: ")
        assert lines.fastest.endswith("so none is called the fastest.")
        twins = report.speedups[report.speedups["against"] == "baseline"]
        best = twins.loc[twins["prompts_per_s_speedup"].idxmax()]
        assert lines.speedup.startswith(f"Largest ratio to a matched baseline: {best['label']}, ")
        assert lines.accuracy.startswith(f"{best['label']} against its matched baseline, ")


class TestSpeedup:
    def test_of_one_seed_it_is_about_the_runs(self, reports):
        report = reports["one"]
        row = report.speedups.set_index(["label", "against"]).loc[("Exp2", "baseline")]
        assert headline(report).speedup == (
            f"Exp2: {row['prompts_per_s_speedup']:.2f}x the prompts a second of its matched baseline, Exp1 "
            f"(95 % {row['prompts_per_s_low']:.2f}–{row['prompts_per_s_high']:.2f}, within this run): shown "
            "to be faster than Exp1 for these runs, not for the setting; not adjusted for its having been "
            "picked from 5."
        )

    def test_of_three_it_is_about_the_setting(self, reports):
        said = headline(reports["three"]).speedup
        assert ", over 3 seeds): shown to be faster than Exp1; not adjusted" in said

    def test_two_seeds_are_no_interval_and_show_nothing(self, reports):
        said = headline(reports["two"]).speedup
        assert re.search(r"\(in its two seeds 1\.\d\d to 1\.\d\d, which is no interval\)", said)
        assert said.endswith("neither faster nor slower is shown.")

    @pytest.mark.parametrize(
        ("ratio", "low", "high", "words"),
        [
            (1.3, 1.01, 1.6, "shown to be faster than Exp1"),
            (1.3, 0.99, 1.7, "neither is shown"),
            (0.8, 0.7, 0.9, "shown to be slower than Exp1"),
            (1.3, np.nan, np.nan, "neither faster nor slower is shown"),
            (np.nan, np.nan, np.nan, "not compared with its matched baseline, Exp1"),
        ],
    )
    def test_only_an_interval_on_one_side_of_one_shows_anything(self, reports, ratio, low, high, words):
        assert words in headline(with_ratio(reports["one"], "Exp2", ratio, low, high)).speedup

    def test_without_a_baseline_it_is_against_the_reference(self, reports):
        report = reports["one"]
        kept = {
            name: table[table["against"] == "reference"]
            for name, table in (("speedups", report.speedups), ("arm_speedups", report.arm_speedups))
        }
        assert "of the reference run, Exp1" in headline(replace(report, **kept)).speedup

    def test_without_either_there_is_none(self, reports):
        report = reports["one"]
        none = replace(report, speedups=report.speedups.head(0), arm_speedups=report.arm_speedups.head(0))
        assert headline(none).speedup.endswith("so no speed-up to speak of.")


class TestAccuracy:
    def test_nothing_evaluated_is_not_tested(self, reports):
        report = reports["one"]
        none = replace(report, deltas=report.deltas.head(0), arm_deltas=report.arm_deltas.head(0))
        assert headline(none).accuracy == (
            "Nothing has been evaluated against anything: what speed costs in accuracy was not tested."
        )

    def test_not_evaluated_itself_is_said_of_it(self, reports):
        report = reports["one"]
        others = report.arm_deltas[report.arm_deltas["arm"] != arm_of(report, "Exp2")]
        assert headline(replace(report, arm_deltas=others)).accuracy.startswith(
            "Exp2 has not been evaluated against a matched baseline or the reference run"
        )

    def test_no_loss_says_nothing_where_nothing_was_learned(self, reports):
        assert headline(reports["unlearned"]).accuracy.endswith(
            "It is not shown to have learned anything, so that no loss is shown says nothing."
        )

    def test_nor_where_the_base_model_was_not_evaluated(self, reports):
        report = reports["one"]
        table = report.arm_deltas[report.arm_deltas["against"] != "base"]
        assert headline(replace(report, arm_deltas=table)).accuracy.endswith("is not known.")

    @pytest.mark.parametrize(
        ("verdicts", "said", "meaning"),
        [
            (
                ("worse", "equivalent", "inconclusive"),
                "worse at 0 shots, by -5.00 points; equivalent at 4 shots, within ±2 points; inconclusive at "
                "8 shots, where differences below about 3.5 points would have been missed one time in five "
                "or more",
                "A loss of accuracy is shown.",
            ),
            (
                ("equivalent", "inconclusive", "inconclusive"),
                "inconclusive at 4 and 8 shots",
                "No loss of accuracy is shown, nor is it ruled out.",
            ),
            (
                ("equivalent", "better", "equivalent"),
                "better at 4 shots, by -5.00 points; equivalent at 0 and 8 shots",
                "A loss of more than 2 points is ruled out where it was tested, at the 5 % level.",
            ),
        ],
    )
    def test_the_words_are_those_of_the_verdicts(self, reports, verdicts, said, meaning):
        changed = with_verdicts(reports["one"], "Exp2", *verdicts, delta_points=-5.0, detectable_points=3.5)
        accuracy = headline(changed).accuracy
        assert accuracy.startswith("Exp2 against its matched baseline, Exp1: ")
        assert said in accuracy
        assert accuracy.endswith(f" (about these checkpoints). {meaning}")

    def test_a_loss_against_another_opponent_is_no_less_said(self, reports):
        deltas = reports["one"].arm_deltas.copy()
        other = (deltas["label"] == "Exp2") & (deltas["against"] == "reference")
        deltas.loc[other, ["other_label", "verdict", "delta_points"]] = ["Exp3", "worse", -6.0]
        accuracy = headline(replace(reports["one"], arm_deltas=deltas)).accuracy
        assert accuracy.startswith("Exp2 against its matched baseline, Exp1: ")
        assert accuracy.endswith(
            " But against the reference run, Exp3, it is worse at 0, 4 and 8 shots, by -6.00 points."
        )

    def test_over_seeds_is_said(self, reports):
        assert " (over 3 seeds). " in headline(reports["three"]).accuracy

    def test_more_than_all_points_is_any_difference(self, reports):
        changed = with_verdicts(reports["one"], "Exp2", *["inconclusive"] * 3, detectable_points=480.0)
        assert "where differences of any size would have been missed" in headline(changed).accuracy

    def test_a_refused_comparison_says_why(self, reports):
        report = with_verdicts(reports["one"], "Exp2", *["refused"] * 3)
        deltas = report.deltas.assign(refusal="limit: None and 50")
        assert headline(replace(report, deltas=deltas)).accuracy == (
            "Exp2 may not be compared with its matched baseline, Exp1: limit: None and 50."
        )


class TestPublished:
    def test_published_figures_have_rounding_and_no_test(self, imported):
        lines = headline(imported)
        assert lines.fastest == (
            "By figures published elsewhere Exp2 (max_staleness 1, prompts_per_optim_step 16, "
            "prompts_per_rollout_sync 16, optim.lr 1e-06) trained the most prompts a second of 5 settings: "
            "0.550 (rounding allows 0.549–0.551)."
        )
        assert lines.speedup == (
            "Exp2: 1.46x the prompts a second of its matched baseline, Exp1 (rounding allows 1.460–1.468; "
            "published without steps, so there is no confidence interval and no test)."
        )
        assert not re.search(r"shown to be|95 %", lines.speedup)
        assert lines.accuracy.startswith(
            "Exp2 against its matched baseline, Exp1: inconclusive at 0, 4 and 8"
        )

    def test_what_rounding_cannot_tell_apart_is_named(self, imported):
        table = imported.published_speed.copy()
        table.loc[table["label"] == "Exp4", "prompts_per_s_high"] = 0.6
        said = headline(replace(imported, published_speed=table)).fastest
        assert said.endswith("; rounding cannot tell it from Exp4.")

    def test_a_run_without_a_pair_has_no_speedup(self, imported):
        alone = replace(imported, published_speedups=imported.published_speedups.head(0))
        assert headline(alone).speedup.endswith("so no speed-up to speak of.")


class TestWithoutSpeeds:
    def test_runs_that_succeeded_are_not_called_unfinished(self, evaluated_only):
        assert set(evaluated_only.experiments["state"]) == {"succeeded"}
        lines = headline(evaluated_only)
        assert lines.fastest == (
            "No finished run has a speed on record: which setting is the fastest is not known."
        )
        assert lines.speedup == "There are no two speeds to compare."

    def test_accuracy_is_told_against_the_base_model_and_no_stronger(self, evaluated_only):
        said = headline(evaluated_only).accuracy
        assert said.startswith("6 comparisons of 2 settings with their base models: 6 inconclusive, where ")
        assert said.endswith(
            "No setting has been evaluated against a matched baseline or the reference run: what speed costs "
            "in accuracy was not tested."
        )

    @pytest.mark.parametrize(
        ("verdict", "meaning"),
        [
            ("worse", "6 worse (about these checkpoints). A loss of accuracy is shown."),
            (
                "equivalent",
                "6 equivalent (about these checkpoints). No loss of accuracy is shown, which does not rule "
                "one out.",
            ),
            ("refused", "6 refused. What speed costs in accuracy was not tested."),
        ],
    )
    def test_against_an_opponent_it_says_what_was_shown(self, evaluated_only, verdict, meaning):
        table = evaluated_only.arm_deltas.assign(against="reference", verdict=verdict)
        said = headline(replace(evaluated_only, arm_deltas=table)).accuracy
        assert said == f"6 comparisons of 2 settings with the reference run: {meaning}"

    def test_nothing_evaluated_is_not_tested(self, evaluated_only):
        none = {name: getattr(evaluated_only, name).head(0) for name in ("deltas", "arm_deltas")}
        assert headline(replace(evaluated_only, **none)).accuracy.startswith("Nothing has been evaluated")


def fastest_one(report, label):
    """The report with one arm's speed above all others."""
    arms = report.arms.copy()
    arms.loc[arms["arm_id"] == arm_of(report, label), "prompts_per_s"] = 99.0
    return replace(report, arms=arms)


class TestTheFastestIsWhatOthersAreComparedWith:
    def test_the_reference_is_told_with_the_best_of_the_others(self, reports):
        report = reports["reference"]
        row = report.speedups.set_index(["label", "against"]).loc[("Exp3", "reference")]
        lines = headline(report)
        assert lines.speedup.startswith(
            "Exp1 is the reference run itself. The best of those compared with it, Exp3: "
            f"{row['prompts_per_s_speedup']:.2f}x the prompts a second of the reference run, Exp1 "
            f"(95 % {row['prompts_per_s_low']:.2f}–{row['prompts_per_s_high']:.2f}, within this run): "
        )
        assert lines.accuracy == (
            "Exp1 is the reference run itself: in accuracy, too, others are compared with it."
        )

    def test_over_seeds_too(self, reports):
        said = headline(fastest_one(reports["references"], "Exp1")).speedup
        assert said.startswith("Exp1 is the reference run itself. The best of those compared with it, Exp3: ")
        assert ", over 3 seeds): " in said

    def test_so_is_a_matched_baseline(self, reports):
        lines = headline(fastest_one(reports["baseline"], "Exp3"))
        assert lines.speedup.startswith("Exp3 is a matched baseline itself. The best of those ")
        assert lines.accuracy.startswith("Exp3 is a matched baseline itself: ")

    def test_both_are_told_and_each_setting_counted_once(self, reports):
        said = headline(fastest_one(reports["one"], "Exp1")).speedup
        assert said.startswith(
            "Exp1 is the reference run and a matched baseline itself. The best of those compared with it, "
            "Exp2: "
        )

    def test_where_the_others_have_no_speed_there_is_no_ratio(self, reports):
        report = fastest_one(reports["reference"], "Exp1")
        begun = report.experiments.assign(
            state=report.experiments["state"].where(report.experiments["label"] != "Exp3", "running")
        )
        said = headline(replace(report, experiments=begun, arm_speedups=report.arm_speedups.head(0))).speedup
        assert said == "Exp1 is the reference run itself, and no speed-up of another to it is known."

    @pytest.mark.parametrize(("high", "overlaps"), [(0.99, False), (1.0, True), (1.2, True)])
    def test_rivals_are_those_whose_ratio_to_it_may_be_one(self, reports, high, overlaps):
        report = fastest_one(reports["reference"], "Exp1")
        table = report.speedups.assign(prompts_per_s_high=high)
        said = headline(replace(report, speedups=table)).fastest
        assert (
            said.endswith(
                "; not shown to be faster than Exp3: the 95 % interval of its ratio to Exp1 reaches 1."
            )
            == overlaps
        )

    def test_of_published_figures_it_is_told_with_their_rounding(self, imported):
        table = imported.published_speed.copy()
        columns = ["prompts_per_s", "prompts_per_s_low", "prompts_per_s_high"]
        table.loc[table["label"] == "Exp1", columns] = 9.0
        lines = headline(replace(imported, published_speed=table))
        assert lines.speedup == (
            "Exp1 is the reference run and a matched baseline itself. The best of those compared with it, "
            "Exp2: 1.46x the prompts a second of its matched baseline, Exp1 (rounding allows 1.460–1.468; "
            "published without steps, so there is no confidence interval and no test)."
        )
        assert lines.accuracy.startswith("Exp1 is the reference run and a matched baseline itself: ")
