"""Gates: what they mean, that nothing missing lets one pass, and that mistakes are named with their place."""

import json
import re

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.expressions import ExpressionError
from results.ingest import ingest
from results.report.build import build_report
from results.report.gate import check_gate
from results.report.gate_reader import read_gate
from results.store import Store

KEYS = ("max_staleness", "prompts_per_optim_step", "optim.lr", "loss.name", "seed")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    runs = tmp_path_factory.mktemp("gate")
    write_synthetic_sweep(runs)
    ingest(runs)
    return build_report(Store(runs))


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """Exp4 is running and Exp5 pending; both would be compared with Exp3."""
    runs = tmp_path_factory.mktemp("partial")
    write_synthetic_sweep(runs, finished=False)
    ingest(runs)
    return build_report(Store(runs))


def outcome(text, report):
    return check_gate(read_gate(text, KEYS), report)


def evaluated(runs_dir):
    ingest(runs_dir)
    return build_report(Store(runs_dir))


def test_the_gate_of_the_manual_passes(report):
    text = "all(speedup.prompts_per_s > 1.3) and not any(accuracy.verdict == worse)"
    assert outcome(text, report).passed


def by_hand(frame, column, **chosen):
    for name, value in chosen.items():
        frame = frame[frame[name] == value]
    return frame[column]


@pytest.mark.parametrize("against", ["baseline", "reference"])
@pytest.mark.parametrize("limit", [0.5, 0.9, 1.4, 1.48, 3.0])
def test_all_any_count_and_extremes_agree_with_the_frame(report, against, limit):
    ratios = by_hand(report.speedups, "prompts_per_s_speedup", against=against)
    select = f"where=against == {against}"
    expected = {
        f"all(speedup.prompts_per_s > {limit}, {select})": (ratios > limit).all(),
        f"any(speedup.prompts_per_s > {limit}, {select})": (ratios > limit).any(),
        f"not any(speedup.prompts_per_s > {limit}, {select})": not (ratios > limit).any(),
        f"count(speedup.prompts_per_s > {limit}, {select}) >= 2": (ratios > limit).sum() >= 2,
        f"min(speedup.prompts_per_s, {select}) > {limit}": ratios.min() > limit,
        f"max(speedup.prompts_per_s, {select}) > {limit}": ratios.max() > limit,
        f"mean(speedup.prompts_per_s, {select}) > {limit}": ratios.mean() > limit,
    }
    assert {text: outcome(text, report).passed for text in expected} == expected


def test_comparisons_are_against_the_baseline_unless_the_selector_says_otherwise(report):
    assert outcome("count(speedup.prompts_per_s > 0) == 3", report).passed
    assert outcome("count(speedup.prompts_per_s > 0, where=against == reference) == 4", report).passed
    assert outcome(
        "count(speedup.prompts_per_s > 0, where=against in [baseline, reference]) == 7", report
    ).passed
    assert outcome("count(accuracy.delta_points > -100, where=against == base) == 15", report).passed


def test_accuracy_is_by_the_default_filter_unless_the_selector_says_otherwise(report):
    assert outcome("count(accuracy.delta_points > -100) == 9", report).passed
    text = "count(accuracy.delta_points > -100, where=accuracy.filter == 'flexible-extract') == 9"
    assert outcome(text, report).passed


def test_rows_are_selected_by_configuration_label_run_and_seed(report):
    name = report.experiments.set_index("label").loc["Exp3", "run_name"]
    for where, expected in {
        "max_staleness == 1": 3,
        "optim.lr < 6e-5 and max_staleness == 0": 1,
        "label in ['Exp1', 'Exp5']": 2,
        f"run == '{name}'": 1,
        "seed == 0": 5,
        "loss.name == 'grpo'": 5,
        "run.steps_done >= 40": 5,
    }.items():
        assert outcome(f"count(run.state == succeeded, where={where}) == {expected}", report).passed, where


def test_what_fails_is_named_with_its_value(report):
    failed = outcome("all(speedup.prompts_per_s > 1.3, where=against == reference)", report)
    values = report.speedups[report.speedups["against"] == "reference"].set_index("label")
    slow = values.loc[["Exp3", "Exp5"], "prompts_per_s_speedup"]
    assert failed.reasons == tuple(
        f"{label} against Exp1: speedup.prompts_per_s = {value:.4g}" for label, value in slow.items()
    )


def test_of_a_negated_any_those_are_named_that_hold(report):
    failed = outcome("not any(accuracy.verdict == inconclusive, where=label == 'Exp5')", report)
    assert failed.reasons[0].startswith(
        "Exp5 against Exp3, arithmetic_cot 0-shot strict-match: accuracy.verdict"
    )


def test_numbers_are_given_with_their_row(report):
    failed = outcome("max(staleness.off_policy_steps_max) < 1 and count(modes.modes > 1) == 0", report)
    assert failed.reasons == (
        "max(staleness.off_policy_steps_max) = 1, Exp2",
        "count(modes.modes > 1) = 1 of 5 rows",
    )


class TestNothingPassesVacuously:
    @pytest.mark.parametrize(
        "text",
        [
            "all(speedup.prompts_per_s > 0)",
            "not any(speedup.prompts_per_s < 0)",
            "all(accuracy.verdict != worse)",
            "not any(accuracy.verdict == worse)",
            "max(staleness.off_policy_steps_max) <= 1",
            "all(modes.modes < 3)",
            "count(run.step_mean_s > 1000) == 0",
        ],
    )
    def test_unfinished_runs_fail_a_gate_and_are_named(self, report, partial, text):
        assert outcome(text, report).passed
        failed = outcome(text, partial)
        assert not failed.passed
        assert any(re.search(r"Exp4.* is missing: .*Exp4 is running", reason) for reason in failed.reasons)
        assert any(re.search(r"Exp5.* is missing: .*Exp5 is pending", reason) for reason in failed.reasons)

    @pytest.mark.parametrize(
        "text",
        [
            "not any(accuracy.verdict == worse, where=accuracy.method == 'paired')",
            "not any(accuracy.verdict == worse, where=accuracy.questions == 200)",
            "not any(accuracy.verdict == worse, where=accuracy.questions >= 0)",
            "not any(accuracy.verdict == worse, where=not accuracy.questions != 200)",
            "count(accuracy.verdict == worse, where=accuracy.method in ['paired', 'unpaired']) == 0",
            "all(speedup.prompts_per_s > 0, where=speedup.prompts_per_s_low != None)",
        ],
    )
    def test_unfinished_runs_fail_a_gate_that_selects_by_what_they_have_not(self, report, partial, text):
        assert set(report.deltas["questions"]) == {200}
        assert outcome(text, report).passed
        failed = outcome(text, partial)
        assert not failed.passed
        for label, state in (("Exp4", "running"), ("Exp5", "pending")):
            expected = rf"{label}.* is missing: .*{label} is {state}, so where= cannot tell; to leave"
            assert any(re.search(expected, reason) for reason in failed.reasons)

    def test_a_run_that_was_not_evaluated_is_not_dropped_by_where(self, tmp_path):
        folder = write_synthetic_sweep(tmp_path, steps=6, questions=20, arms=REFERENCE_ARMS[:2])
        report = evaluated(tmp_path)
        checkpoint = report.deltas["checkpoint"].iloc[0]
        text = f"all(accuracy.low_points > -101, where=accuracy.checkpoint == '{checkpoint}')"
        assert outcome(text, report).passed
        for path in (folder / REFERENCE_ARMS[1].run_name(0, False) / "eval").rglob("*4shot*"):
            path.unlink()
        (reason,) = outcome(text, evaluated(tmp_path)).reasons
        assert reason.startswith("Exp2 against Exp1, arithmetic_cot 4-shot strict-match: accuracy.checkpoint")
        assert "one of the two was not evaluated" in reason

    def test_who_a_row_is_is_known_of_unfinished_runs_too(self, partial):
        for where in ("run.seed == 0", "run.max_staleness == 1", "run.lr > 0", "run.model != 'other'"):
            text = f"all(run.state in [succeeded, running, pending], where={where})"
            assert outcome(text, partial).passed, where
        text = "all(speedup.prompts_per_s > 0, where=state == succeeded and speedup.prompts_per_s_low > 0)"
        assert outcome(text, partial).passed

    def test_a_ratio_of_training_times_needs_equal_work(self, report):
        prompts = report.experiments.set_index("label")["prompts"].dropna()
        unlike = [label for label in prompts.index if prompts[label] != prompts["Exp1"]]
        failed = outcome("all(speedup.training_time > 0, where=against == reference)", report)
        assert [reason.split(" against")[0] for reason in failed.reasons] == unlike and unlike
        assert "speedup.training_time is missing: the two runs did not train the same" in failed.reasons[0]
        assert outcome("all(speedup.training_time > 0)", report).passed

    def test_a_run_of_which_steps_cannot_be_read_is_no_measurement(self, tmp_path):
        sweep = write_synthetic_sweep(tmp_path, steps=16, questions=10)
        trace = next(sweep.glob("s1_opt16*")) / "trace.jsonl"
        lines = trace.read_text().splitlines()
        broken = next(place for place, line in enumerate(lines) if '"step":9,"policy_version"' in line)
        lines[broken] = lines[broken][:40]
        trace.write_text("\n".join(lines) + "\n")
        report = evaluated(tmp_path)
        assert any(
            "Exp2 has succeeded, but only 15 of its 16 steps can be read" in it for it in report.notices
        )
        found = outcome("all(speedup.prompts_per_s > 0)", report)
        assert not found.passed and any("15 of 16 steps of Exp2 are known" in why for why in found.reasons)
        assert not any(
            "steps of" in why for why in outcome("all(accuracy.delta_points > -100)", report).reasons
        )

    def test_modes_that_were_not_looked_for_are_no_number(self, tmp_path):
        write_synthetic_sweep(tmp_path, steps=8, questions=10)
        assert not outcome("all(modes.modes <= 1)", evaluated(tmp_path)).passed

    def test_a_trace_that_is_gone_has_no_steps_to_count(self, tmp_path):
        sweep = write_synthetic_sweep(tmp_path, steps=8, questions=10)
        (next(sweep.glob("s1_opt16*")) / "trace.jsonl").unlink()
        report = evaluated(tmp_path)
        assert not outcome("all(run.steps_done < 200)", report).passed
        assert any("only 0 of its 8 steps" in it for it in report.notices)

    def test_they_can_be_left_out_by_name(self, partial):
        assert outcome("all(speedup.prompts_per_s > 1.3, where=state == succeeded)", partial).passed

    def test_their_state_is_known(self, partial):
        assert outcome("count(run.state == running) == 1", partial).passed

    def test_a_value_without_an_interval_fails(self, tmp_path):
        write_synthetic_sweep(tmp_path, steps=3, questions=5, arms=REFERENCE_ARMS[:2])
        ingest(tmp_path)
        failed = outcome("all(speedup.prompts_per_s_low > 0)", build_report(Store(tmp_path)))
        (reason,) = failed.reasons
        assert reason.startswith(
            "Exp2 against Exp1: speedup.prompts_per_s_low is missing: too few sync cycles"
        )

    def test_a_ratio_of_step_times_that_is_not_comparable_is_no_value(self, report):
        failed = outcome("all(speedup.step_time > 1, where=against == reference)", report)
        assert [reason.split(" against")[0] for reason in failed.reasons] == ["Exp3", "Exp4", "Exp5"]
        assert "different numbers of prompts" in failed.reasons[0]

    @pytest.mark.parametrize("call", ["all({})", "not any({})", "count({}) == 0"])
    def test_a_selector_that_selects_nothing_fails(self, report, call):
        condition = "speedup.prompts_per_s > 0, where=label == 'Exp9'"
        failed = outcome(call.format(condition), report)
        assert not failed.passed and "selects nothing" in failed.reasons[-1]

    def test_a_run_that_was_not_evaluated_fails(self, tmp_path):
        folder = write_synthetic_sweep(tmp_path, steps=6, questions=20)
        for path in (folder / REFERENCE_ARMS[3].run_name(0, False) / "eval").rglob("*4shot*"):
            path.unlink()
        ingest(tmp_path)
        failed = outcome("not any(accuracy.verdict == worse)", build_report(Store(tmp_path)))
        assert failed.reasons == (
            "Exp4 against Exp3, arithmetic_cot 4-shot strict-match: accuracy.verdict is missing: "
            "one of the two was not evaluated",
        )

    def test_a_run_without_its_baseline_fails_and_a_baseline_needs_none(self, tmp_path):
        write_synthetic_sweep(tmp_path, steps=6, questions=20, arms=[*REFERENCE_ARMS[:2], REFERENCE_ARMS[3]])
        ingest(tmp_path)
        failed = outcome("all(speedup.prompts_per_s > 0)", build_report(Store(tmp_path)))
        (reason,) = failed.reasons
        assert "its matched baseline is not in the sweep" in reason and reason.startswith("Exp4")

    def test_a_setting_that_is_not_known_of_a_run_fails(self, tmp_path):
        write_synthetic_sweep(tmp_path, steps=6, questions=20, arms=REFERENCE_ARMS[:2])
        ingest(tmp_path)
        report = build_report(Store(tmp_path))
        del report.configurations[REFERENCE_ARMS[1].run_name(0, False)]["optim.lr"]
        failed = outcome("all(run.state == succeeded, where=optim.lr < 1)", report)
        assert failed.reasons == ("Exp2: optim.lr is not known of it",)

    def test_a_part_that_does_not_decide_is_asked_all_the_same(self, partial):
        text = "any(run.state == succeeded) or all(speedup.prompts_per_s > 0)"
        assert not outcome(text, partial).passed


MISTAKES = {
    "": (1, "ends too early"),
    "all(speedup.prompts_per_s > 1": (4, "'(' was never closed"),
    "all(speedup.prompts_per_z > 1)": (5, "did you mean 'speedup.prompts_per_s'?"),
    "all(speed.prompts_per_s > 1)": (5, "did you mean 'speedup.prompts_per_s'?"),
    "not any(accuracy.verdict == wrose)": (29, "did you mean 'worse'?"),
    "not any(accuracy.verdict == 'wrose')": (29, "never 'wrose'; it is one of better, worse, "),
    "not any(accuracy.verdict == failed)": (29, "never 'failed'; it is one of better, worse, "),
    "not any(accuracy.verdict in [worse, 'wrose'])": (37, "never 'wrose'"),
    "all(run.state == succeeded, where=state == 'runing')": (44, "never 'runing'"),
    "al(run.seed == 0)": (1, "no function 'al'; did you mean 'all'?"),
    "min(speedup.prompts_per_s)": (1, "is a number, and a gate is true or false; compare it"),
    "all(speedup.prompts_per_s)": (5, "is no condition; compare it"),
    "min(speedup.prompts_per_s > 1) > 1": (5, "min() takes one name"),
    "all(run.seed == 0) > 1": (1, "all() is true or false already"),
    "run.seed == 0": (1, "stand inside all(), any()"),
    "all(speedup.prompts_per_s > 1 and accuracy.p > 0)": (5, "rows of different kinds: accuracy and speedup"),
    "all(1 > 0)": (5, "no row's name"),
    "all(run.seed == 0, run.seed == 1)": (1, "write all(CONDITION) or all(CONDITION, where=CONDITION)"),
    "all(run.seed == 0, when=run.seed == 1)": (1, "write all(CONDITION)"),
    "all(run.seed == 0, where=against == baseline)": (26, "unknown name 'against'"),
    "all(speedup.prompts_per_s > 1, where=accuracy.p > 0)": (38, "unknown name 'accuracy.p'"),
    "all(run.seed == 0, where=label == Exp1)": (
        35,
        "a text must be quoted: 'Exp1'; docs/report.md lists all",
    ),
    "all(prompts_per_s > 1)": (
        5,
        "did you mean 'speedup.prompts_per_s' or 'published.prompts_per_s' or 'run",
    ),
    "all(run.seed == 0, where=grpo == 1)": (26, "the nearest are run.prompts, run.profile; a text must"),
    "all(run.seed == 0, where=seed)": (26, "is no condition"),
    "open('x') == 1": (1, "no function 'open'"),
    "all(run.seed == open('x'))": (17, "is not understood here"),
    "not " * 5000 + "all(run.seed == 0)": (1, "this cannot be read"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_named_with_their_place(text):
    position, problem = MISTAKES[text]
    with pytest.raises(ExpressionError) as error:
        read_gate(text, KEYS)
    assert error.value.position == position
    assert problem in str(error.value)


@pytest.mark.parametrize("text", MISTAKES)
def test_no_mistake_is_answered_by_a_list_of_all_names(text):
    with pytest.raises(ExpressionError) as error:
        read_gate(text, KEYS)
    problem = str(error.value).removeprefix(f"`{text}`")
    assert len(problem) < 400 or text.startswith("not not")


def test_an_extreme_of_texts_is_refused(report):
    with pytest.raises(ExpressionError, match="which is no number"):
        outcome("max(run.label) > 1", report)


def test_a_refused_comparison_has_a_verdict_and_no_p(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=6, questions=20, arms=REFERENCE_ARMS[:2])
    path = next((folder / REFERENCE_ARMS[1].run_name(0, False) / "eval").rglob("*_0shot.json"))
    content = json.loads(path.read_text())
    content["versions"] = dict.fromkeys(content["versions"], 99)
    path.write_text(json.dumps(content))
    ingest(tmp_path)
    report = build_report(Store(tmp_path))
    assert outcome("count(accuracy.verdict == refused) == 1", report).passed
    failed = outcome("all(accuracy.p_adjusted >= 0)", report)
    assert "the comparison is refused (" in failed.reasons[0]
