"""What `sweepctl import` writes, as it is read: unknown stays unknown, published stays published."""

import json

import pytest
from factories.sweep_factory import write_lm_eval
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from results.files.evaluations import evaluation_rows
from results.files.sweeps import Manifest, PublishedAccuracy, StepTimes, identity
from trainer.config import RunConfig
from trainer.paths import SweepPaths


def test_a_configuration_without_the_two_knobs_has_no_identity():
    whole = {"model": "m", "max_staleness": 0, "prompts_per_optim_step": 16}
    assert identity(whole) == RunConfig.model_validate(whole).run_id()
    assert identity({**whole, "max_steps": None}) == identity(whole), "unknown, and the default everywhere"
    for key in ("max_staleness", "prompts_per_optim_step"):
        assert identity({**whole, key: None}) is None
        assert identity({name: value for name, value in whole.items() if name != key}) is None


def test_a_file_named_after_one_of_its_tasks_counts_for_that_task_only(tmp_path):
    sweep = SweepPaths(tmp_path / "s")
    path = sweep.run("a").evaluation("step_000010", "gsm8k_cot", 4)
    write_lm_eval(path, "gsm8k_cot", 4, {"strict-match": [True, False]})
    content = json.loads(path.read_text())
    content["results"]["other"] = {"exact_match,none": 1.0}
    path.write_text(json.dumps(content))
    assert [(row["task"], row["value"]) for row in evaluation_rows(path, None, tmp_path)] == [
        ("gsm8k_cot", 0.5)
    ]
    renamed = path.rename(path.with_name("all_4shot.json"))
    assert {row["task"] for row in evaluation_rows(renamed, None, tmp_path)} == {"gsm8k_cot", "other"}


@given(questions=st.integers(1, 5000), data=st.data())
def test_a_published_percentage_gives_back_its_count(questions, data):
    correct = data.draw(st.integers(0, questions))
    found = PublishedAccuracy(
        task="t", num_fewshot=0, percent=round(100 * correct / questions, 2), questions=questions
    )
    assert found.exact_percent == 100 * correct / questions


def test_without_the_number_of_questions_a_percentage_is_what_was_published():
    assert PublishedAccuracy(task="t", num_fewshot=0, percent=56.1).exact_percent == 56.1


@pytest.mark.parametrize(
    "given",
    [
        {"min": 3.0, "mean": 2.0},
        {"max": 1.0, "median": 2.0},
        {"ranges": [{"min": 2.0, "max": 1.0, "steps": 3}]},
        {"mean": -1.0},
        {"max": float("inf")},
        {"avg": 1.0},
    ],
)
def test_step_times_that_cannot_be_are_refused(given):
    with pytest.raises(ValidationError):
        StepTimes.model_validate(given)


def test_the_manifest_says_where_a_sweep_came_from():
    found = Manifest.model_validate({"imported": {"from": "eval_results", "unix": 5.0}, "runs": []})
    assert (found.imported.source, found.imported.unix) == ("eval_results", 5.0)
    assert Manifest().imported is None
