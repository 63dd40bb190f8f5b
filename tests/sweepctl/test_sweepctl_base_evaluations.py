"""`eval.base_evaluations`: the base model evaluated more than once, each time at a place of its own."""

import pytest

from results.files.evaluations import is_result
from sweepctl.plan.plan import load_plan
from sweepctl.spec.model import EvalSpec
from trainer.errors import SweepctlError
from trainer.evaluation_config import EvaluationFile


def evaluated(fake_sweep):
    return EvaluationFile.model_validate_json((fake_sweep.root / "evaluation.json").read_bytes()).evaluations


def repeat(fake_sweep, times):
    text = fake_sweep.spec.read_text()
    fake_sweep.spec.write_text(text.replace("[0, 4]}", f"[0, 4], base_evaluations: {times}}}"))


def test_repeats_come_last_with_the_same_settings_and_their_own_place(fake_sweep):
    repeat(fake_sweep, 3)
    assert fake_sweep.run() == 0
    every = evaluated(fake_sweep)
    again = every[-4:]
    labels = ["base, evaluation 2"] * 2 + ["base, evaluation 3"] * 2
    assert [each.label for each in again] == labels
    settings = [each.model_dump(exclude={"label", "output"}) for each in every]
    assert settings[-4:] == 2 * settings[:2]
    folder = fake_sweep.root / "base_models"
    assert {each.output for each in again} == {
        str(folder / f"builtin_tiny@repeat_{number}" / f"arithmetic_cot_{shots}shot.json")
        for number in (2, 3)
        for shots in (0, 4)
    }
    assert all(is_result(path) for path in folder.glob("*/*.json"))
    assert len({each.output for each in every}) == len(every)


def test_a_repeat_asked_for_later_trains_nothing_again(fake_sweep):
    assert fake_sweep.run() == 0
    before = fake_sweep.calls()
    repeat(fake_sweep, 2)
    assert fake_sweep.run() == 0
    assert fake_sweep.calls() == [*before, "evaluation"]
    assert fake_sweep.run() == 0
    assert fake_sweep.calls() == [*before, "evaluation"]


def test_without_a_base_model_nothing_is_repeated(fake_sweep):
    text = fake_sweep.spec.read_text()
    changed = text.replace("[0, 4]}", "[0, 4], base_model: false, base_evaluations: 2}")
    fake_sweep.spec.write_text(changed)
    assert fake_sweep.run() == 0
    assert not any(each.label.startswith("base") for each in evaluated(fake_sweep))


def test_once_by_default():
    assert EvalSpec().base_evaluations == 1


@pytest.mark.parametrize("times", ["0", "-1", "1.5", "two"])
def test_other_numbers_are_refused(fake_sweep, times):
    repeat(fake_sweep, times)
    with pytest.raises(SweepctlError, match=r"fake\.yaml:\d+: eval\.base_evaluations"):
        load_plan(fake_sweep.spec, "auto", [], fake_sweep.root.parent)
