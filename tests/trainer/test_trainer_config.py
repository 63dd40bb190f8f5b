"""A run's configuration: what decides its identity, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.config import EngineSettings, Evaluation, RunConfig


def parse(**fields):
    return RunConfig.model_validate(fields)


def with_default(path, value):
    """A configuration that differs from the default one in a dotted key."""
    *parents, last = path.split(".")
    fields = leaf = {}
    for parent in parents:
        leaf = leaf.setdefault(parent, {})
    leaf[last] = value
    return parse(**fields)


@given(st.permutations(sorted(RunConfig().model_dump())))
def test_the_identity_does_not_depend_on_the_order_of_keys_or_on_spelled_out_defaults(order):
    full = RunConfig().model_dump(mode="json")
    assert parse(**{key: full[key] for key in order}).run_id() == RunConfig().run_id()


def test_equal_ways_of_writing_a_configuration_have_one_identity():
    assert parse(task="gsm8k").run_id() == parse(task={"name": "gsm8k"}).run_id()
    assert parse(optim={"lr": 1}).run_id() == parse(optim={"lr": 1.0}).run_id()
    assert (
        parse(prompts_per_optim_step=8, prompts_per_rollout_sync=8).run_id()
        == parse(prompts_per_optim_step=8).run_id()
    )
    assert RunConfig.model_validate_json(RunConfig().model_dump_json()).run_id() == RunConfig().run_id()


def test_the_identity_is_twelve_hex_digits_that_stay_the_same_between_releases():
    assert RunConfig().run_id() == "925d8d474876"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rollouts.keep", 1.0),
        ("checkpoint.every_steps", 5),
        ("engine.memory_utilization", 0.9),
    ],
)
def test_what_does_not_change_the_computation_does_not_change_the_identity(path, value):
    assert with_default(path, value).run_id() == RunConfig().run_id()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model", "other"),
        ("task.name", "gsm8k"),
        ("task.problems", 7),
        ("seed", 1),
        ("max_steps", 99),
        ("max_staleness", 1),
        ("prompts_per_optim_step", 8),
        ("completions_per_prompt", 4),
        ("sampling.temperature", 0.6),
        ("sampling.max_completion_tokens", 64),
        ("loss.clip", 0.3),
        ("loss.beta", 0.05),
        ("optim.lr", 5e-7),
        ("optim.betas", [0.9, 0.99]),
        ("optim.weight_decay", 0.1),
        ("optim.warmup_steps", 5),
        ("optim.max_grad_norm", 0.5),
        ("learner.compute_dtype", "float32"),
        ("learner.tokens_per_micro_batch", 4096),
        ("engine.name", "transformers"),
        ("engine.dtype", "float32"),
        ("engine.max_model_len", 512),
    ],
)
def test_whatever_changes_the_computation_changes_the_identity(path, value):
    assert with_default(path, value).run_id() != RunConfig().run_id()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts_per_optim_step": 8, "prompts_per_rollout_sync": 12}, "multiple .*found 12 and 8"),
        (
            {"prompts_per_optim_step": 8, "prompts_per_rollout_sync": 16},
            r"infeasible: k - 1 > max_staleness: k = .*16 / 8 = 2, and 2 - 1 = 1 > 0",
        ),
        ({"max_stalness": 1}, "max_stalness"),
        ({"optim": {"learning_rate": 1}}, "optim.learning_rate"),
        ({"optim": {"lr": 0}}, "greater than 0"),
        ({"optim": {"lr": float("inf")}}, "finite"),
        ({"completions_per_prompt": 1}, "greater than or equal to 2"),
        ({"max_staleness": -1}, "greater than or equal to 0"),
        ({"task": "gsm9k"}, "gsm9k"),
        ({"engine": {"dtype": "int8"}}, "int8"),
        ({"sampling": {"temperature": 0}}, "greater than 0"),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_was_found(fields, message):
    with pytest.raises(ValidationError, match=message):
        parse(**fields)


def test_an_evaluation_is_identified_by_weights_and_settings_and_not_by_where_it_goes():
    first = Evaluation(label="base", model="m", task="gsm8k_cot", num_fewshot=4, output="a.json")
    same = Evaluation(label="s1", model="n", task="gsm8k_cot", num_fewshot=4, output="b.json")
    how = ("vllm 1", EngineSettings())
    assert first.evaluation_id("w", *how) == same.evaluation_id("w", *how)
    others = [{"num_fewshot": 8}, {"limit": 5}, {"max_completion_tokens": 64}, {"data": "t.jsonl"}]
    ids = {first.model_copy(update=other).evaluation_id("w", *how) for other in others}
    ids |= {first.evaluation_id("w", *how), first.evaluation_id("v", *how)}
    ids.add(first.evaluation_id("w", "vllm 2", EngineSettings()))
    ids.add(first.evaluation_id("w", "vllm 1", EngineSettings(dtype="float32")))
    assert len(ids) == 8


def test_a_configuration_survives_its_file():
    config = parse(max_staleness=2, prompts_per_optim_step=4, prompts_per_rollout_sync=12, task="gsm8k")
    again = RunConfig.model_validate(json.loads(config.model_dump_json()))
    assert again == config
    assert again.schedule.sync_interval_steps == 3
