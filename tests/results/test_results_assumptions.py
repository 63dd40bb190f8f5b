"""Why a prediction was wrong: the cause is the figure that differs, and none is named without need."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.tables.assumptions import LARGE, judged

PREDICTED = {
    "step_s": 10.0,
    "wait_s": 4.0,
    "drain_s": 1.0,
    "learn_s": 4.0,
    "sync_s": 0.5,
    "checkpoint_s": 0.2,
    "other_s": 0.3,
    "dispatched_per_trained": 1.2,
    "latency_s": 5.0,
    "completion_tokens_per_prompt": 500.0,
}
PARTS = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
NAN = float("nan")


def row(*, chance=0.02, state="succeeded", predicted=None, **factors):
    """A run of which the measured figures are so many times those predicted."""
    foreseen = PREDICTED | (predicted or {})
    measured = {name: value * factors.get(name, 1.0) for name, value in foreseen.items()}
    measured["step_s"] = sum(measured[part] for part in PARTS)
    return {
        "label": "Exp3",
        "state": state,
        "steps_done": 40 if state == "succeeded" else 10,
        "max_steps": 40,
        "prompts_per_optim_step": 8,
        **{f"predicted_{name}": value for name, value in foreseen.items()},
        **{f"measured_{name}": value for name, value in measured.items()},
        "step_low_s": 10 * (1 - chance),
        "step_high_s": 10 * (1 + chance),
        "step_error": 10 / measured["step_s"] - 1,
    }


@pytest.mark.parametrize(
    ("factors", "assumption", "figures"),
    [
        (
            {"learn_s": 1.5},
            "learner speed",
            "1.50 ms of learning for each completion token (predicted 1.00 ms)",
        ),
        (
            {"learn_s": 1.5, "completion_tokens_per_prompt": 1.45, "latency_s": 1.45},
            "completion length",
            "725 completion tokens a prompt (predicted 500)",
        ),
        (
            {"wait_s": 1.6, "dispatched_per_trained": 1.5},
            "groups needed",
            "1.80 groups dispatched for each trained one (predicted 1.20)",
        ),
        (
            {"wait_s": 0.5, "latency_s": 0.6},
            "engine speed",
            "a group took 3.00 s from its dispatch to the end of its generation (predicted 5.00 s)",
        ),
        (
            {"wait_s": 1.6, "completion_tokens_per_prompt": 1.5, "latency_s": 1.5},
            "completion length",
            "750 completion tokens a prompt",
        ),
        ({"drain_s": 3.0, "latency_s": 1.4}, "engine speed", "a group took 7.00 s"),
        ({"sync_s": 4.0}, "syncs", "syncs (2.00 s a step, predicted 0.500 s)"),
        ({"checkpoint_s": 8.0}, "checkpoints", "checkpoints (1.60 s a step, predicted 0.200 s)"),
        ({"other_s": 6.0}, "the rest of a step", "(1.80 s a step, predicted 0.300 s)"),
        ({"wait_s": 1.6}, "waiting for groups", "measured of waiting for groups explains that: 1.20 groups"),
    ],
)
def test_the_cause_is_the_figure_that_differs(factors, assumption, figures):
    found = judged(row(**factors))
    assert found.assumption == assumption
    assert figures in found.sentence and found.sentence.startswith("Exp3: predicted 10.0 s a step, measured ")


class TestSeveralCauses:
    def test_all_that_differ_are_named_the_largest_first(self):
        longer = {"wait_s": 3.0, "dispatched_per_trained": 1.3, "completion_tokens_per_prompt": 1.5}
        found = judged(row(**longer, latency_s=1.8, learn_s=1.5))
        assert found.assumption == "completion length"
        assert found.sentence.endswith(
            "What differs: 750 completion tokens a prompt (predicted 500), "
            "1.56 groups dispatched for each trained one (predicted 1.20), "
            "a group took 9.00 s from its dispatch to the end of its generation "
            "(predicted 5.00 s, 7.50 s for as many tokens)."
        )

    def test_what_is_as_predicted_and_what_differs_the_other_way_is_told_apart(self):
        found = judged(row(wait_s=2.0, dispatched_per_trained=1.5, completion_tokens_per_prompt=0.8))
        assert found.assumption == "groups needed"
        assert found.sentence.endswith(
            "What differs: 1.80 groups dispatched for each trained one (predicted 1.20), "
            "a group took 5.00 s from its dispatch to the end of its generation "
            "(predicted 5.00 s, 4.00 s for as many tokens); "
            "the other way: 400 completion tokens a prompt (predicted 500)."
        )

    def test_another_part_that_explains_a_quarter_is_named_with_its_causes(self):
        found = judged(row(wait_s=2.0, dispatched_per_trained=1.5, learn_s=1.5))
        assert found.assumption == "groups needed"
        assert (
            "most of it is waiting for groups (9.00 s a step, predicted 5.00 s), "
            "33% learning (6.00 s a step, predicted 4.00 s). What differs: 1.80 groups" in found.sentence
        )
        assert "1.50 ms of learning for each completion token (predicted 1.00 ms)" in found.sentence

    def test_of_another_part_that_explains_less_nothing_is_said(self):
        found = judged(row(wait_s=2.0, dispatched_per_trained=1.5, learn_s=1.2))
        assert "learning" not in found.sentence

    def test_a_part_without_a_cause_hides_none_of_another_part(self):
        found = judged(row(wait_s=2.0, learn_s=1.5))
        assert found.assumption == "waiting for groups"
        assert "Nothing that is measured of waiting for groups explains that: 1.20 groups" in found.sentence
        assert found.sentence.endswith(
            "What differs: 1.50 ms of learning for each completion token (predicted 1.00 ms)."
        )


SLOWER = dict.fromkeys(("wait_s", "drain_s", "learn_s", "sync_s", "latency_s"), 1.4)


class TestOfAWholeMachine:
    @pytest.mark.parametrize("factor", [0.7, 1.4])
    def test_all_of_it_off_by_one_factor_is_the_machine(self, factor):
        found = judged(row(**dict.fromkeys(SLOWER, factor)))
        assert found.assumption == "machine speed"
        assert f"generation {factor:.2f}, learning {factor:.2f}, syncs {factor:.2f}" in found.sentence
        assert ("slower" if factor > 1 else "faster") in found.sentence

    @pytest.mark.parametrize("part", ["latency_s", "learn_s", "sync_s"])
    def test_not_where_one_of_them_was_as_predicted(self, part):
        assert judged(row(**(SLOWER | {part: 1.0}))).assumption != "machine speed"

    def test_nor_where_the_factors_are_unlike(self):
        assert judged(row(**(SLOWER | {"latency_s": 1.8, "wait_s": 1.8}))).assumption == "engine speed"

    def test_nor_where_another_figure_differs_more(self):
        more = SLOWER | {"dispatched_per_trained": 1.6, "wait_s": 2.0}
        assert judged(row(**more)).assumption == "groups needed"

    def test_syncs_that_take_next_to_nothing_say_nothing(self):
        short = row(**(SLOWER | {"sync_s": 1.0}), predicted={"sync_s": 0.05, "other_s": 0.75})
        assert judged(short).assumption == "machine speed"
        assert "syncs" not in judged(short).sentence

    def test_longer_completions_are_no_slower_machine(self):
        longer = SLOWER | {"completion_tokens_per_prompt": 1.4}
        assert judged(row(**longer)).assumption == "completion length"


class TestNoCauseIsNamed:
    def test_within_what_chance_does(self):
        found = judged(row(learn_s=1.5, chance=0.3))
        assert (
            found.assumption is None and "within 7.00–13.0 s, where chance alone puts 95 %" in found.sentence
        )

    def test_of_a_small_error(self):
        found = judged(row(learn_s=1.2))
        assert found.assumption is None and "no cause is looked for of an error below 10%" in found.sentence

    def test_before_all_steps_are_done(self):
        found = judged(row(learn_s=2.0, state="running"))
        assert found.assumption is None and "in the 10 of 40 steps that are done" in found.sentence

    def test_before_the_first_step(self):
        found = judged(row(state="pending") | {"measured_step_s": NAN})
        assert found.assumption is None and found.sentence.endswith("nothing is measured yet.")


def test_costs_without_tokens_are_judged_by_the_prompt():
    by_hand = row(learn_s=1.5) | {"predicted_completion_tokens_per_prompt": NAN}
    found = judged(by_hand)
    assert found.assumption == "learner speed"
    assert "0.750 s of learning for each prompt (predicted 0.500 s)" in found.sentence


def test_a_part_that_a_trace_does_not_have_is_no_cause():
    assert judged(row(learn_s=1.5) | {"measured_checkpoint_s": NAN}).assumption == "learner speed"


_FACTOR = st.floats(0.3, 3.0)


@given(st.fixed_dictionaries({name: _FACTOR for name in PREDICTED if name != "step_s"}), st.floats(0.0, 0.5))
def test_whatever_was_measured_a_cause_is_named_exactly_where_the_error_is_large(factors, chance):
    given_row = row(chance=chance, **factors)
    found = judged(given_row)
    measured = given_row["measured_step_s"]
    outside = not given_row["step_low_s"] <= measured <= given_row["step_high_s"]
    assert (found.assumption is not None) == (outside and abs(given_row["step_error"]) > LARGE)
    assert found.sentence.endswith(".") and "nan" not in found.sentence
    if found.assumption in ("completion length", "groups needed", "machine speed"):
        phase = sum(given_row[f"measured_{part}"] - given_row[f"predicted_{part}"] for part in PARTS)
        column = {
            "completion length": "completion_tokens_per_prompt",
            "groups needed": "dispatched_per_trained",
        }
        off = factors[column.get(found.assumption, "sync_s")] - 1
        assert off * phase > 0, "the cause must be off in the direction of the step time"
