"""A run's configuration: what decides its identity, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.config import _NO_IDENTITY, RunConfig
from trainer.evaluation_config import Evaluation
from trainer.settings import EngineSettings


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
    assert RunConfig().run_id() == "2eefd6fdcb67"
    assert parse(task="gsm8k", optim={"lr": 2e-6}, max_staleness=3).run_id() == "e8095a905b4b"


# A default is not part of the identity, so changing one would give two different runs the same id: a test
# that fails here asks for a new `_IDENTITY` in trainer/config.py, unless a key was only added.
DEFAULTS = {
    "completions_per_prompt": 8,
    "correction": {"cap": 2.0, "high": 5.0, "low": 0.5, "name": "none"},
    "engine": {"deterministic": False, "dtype": "bfloat16", "max_model_len": 1024, "name": "auto"},
    "in_flight": "wait",
    "learner": {"compute_dtype": "bfloat16"},
    "lora": {"alpha": 32.0, "rank": 0, "target_modules": "all-linear"},
    "loss": {"beta": 0.0, "clip": 0.2, "clip_high": None, "name": "grpo"},
    "max_inflight_groups": None,
    "max_staleness": 0,
    "max_steps": 100,
    "model": "builtin:tiny",
    "optim": {
        "betas": [0.9, 0.95],
        "lr": 1e-06,
        "max_grad_norm": 1.0,
        "warmup_steps": 0,
        "weight_decay": 0.0,
    },
    "prompts_per_forward_backward": None,
    "prompts_per_optim_step": 16,
    "prompts_per_reference_sync": None,
    "prompts_per_rollout_sync": None,
    "sampling": {"max_completion_tokens": 128, "temperature": 1.0, "truncated": "keep"},
    "seed": 0,
    "staleness_policy": "admission",
    "task": {
        "answer_column": "answer",
        "name": "arithmetic",
        "path": None,
        "problems": None,
        "question_column": "question",
        "reward": None,
        "split": "train",
        "stop": None,
        "subset": None,
        "template": "Q: {question}\nA:",
    },
    "updates_per_batch": 1,
}


def test_no_default_that_decides_what_is_computed_has_changed():
    assert RunConfig().model_dump(mode="json", exclude=dict(_NO_IDENTITY)) == DEFAULTS


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rollouts.keep", 1.0),
        ("checkpoint.every_steps", 5),
        ("engine.memory_utilization", 0.9),
        ("engine.timeout_s", 5.0),
        ("learner.tokens_per_micro_batch", 4096),
        ("learner.gradient_checkpointing", True),
        ("held_out.every_steps", 5),
        ("held_out.problems", 5),
        ("max_useless_batches", 3),
        ("task.reward_timeout_s", 3.0),
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
        ("loss.name", "dapo"),
        ("loss.clip_high", 0.28),
        ("correction.name", "token_tis"),
        ("correction.cap", 3.0),
        ("staleness_policy", "evict_requeue"),
        ("in_flight", "keep"),
        ("prompts_per_forward_backward", 4),
        ("updates_per_batch", 2),
        ("lora.rank", 8),
        ("sampling.truncated", "mask"),
        ("task.reward", "exact_match"),
        ("task.template", "{question}"),
        ("engine.deterministic", True),
        ("optim.lr", 5e-7),
        ("optim.betas", [0.9, 0.99]),
        ("optim.weight_decay", 0.1),
        ("optim.warmup_steps", 5),
        ("optim.max_grad_norm", 0.5),
        ("learner.compute_dtype", "float32"),
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
        ({"optim": {"betas": [0.9, 1.0]}}, "optim.betas.1\n.*less than 1"),
        ({"completions_per_prompt": 1}, "greater than or equal to 2"),
        ({"max_staleness": -1}, "greater than or equal to 0"),
        ({"task": "gsm9k"}, "gsm9k"),
        ({"engine": {"dtype": "int8"}}, "int8"),
        ({"sampling": {"temperature": 0}}, "greater than 0"),
        ({"prompts_per_forward_backward": 3}, "must divide prompts_per_optim_step, found 3 and 16"),
        ({"max_inflight_groups": 32}, "only for staleness_policy: evict_requeue"),
        (
            {"staleness_policy": "evict_requeue", "max_inflight_groups": 15},
            "infeasible: max_inflight_groups = 15 < prompts_per_optim_step = 16",
        ),
        (
            {"updates_per_batch": 2, "prompts_per_forward_backward": 8},
            "updates_per_batch > 1 .* must be prompts_per_optim_step = 16, found 8",
        ),
        (
            {"max_staleness": 1, "prompts_per_rollout_sync": 32, "held_out": {"every_steps": 3}},
            "held_out.every_steps must be a multiple of the sync interval P / B = 2, found 3",
        ),
        ({"loss": {"clip": 1.0}}, "loss.clip must be below 1, found 1.0"),
        ({"correction": {"name": "decoupled"}}, "decoupled with updates_per_batch: 1 is the plain ratio"),
        ({"loss": {"name": "gspo"}, "correction": {"name": "token_tis"}}, "gspo weighs whole completions"),
        ({"loss": {"name": "gspo"}, "correction": {"name": "icepop"}}, "icepop, which weighs tokens"),
        ({"loss": {"name": "cispo"}, "correction": {"name": "token_tis"}}, "would only take its place"),
        ({"correction": {"low": 2.0, "high": 3.0}}, "must have 1, .* between them; found 2.0 and 3.0"),
        ({"correction": {"cap": 0.5}}, "cap must be at least 1, .*; found 0.5"),
        ({"prompts_per_reference_sync": 64}, "needs a reference model"),
        (
            {"prompts_per_reference_sync": 24, "loss": {"beta": 0.1}},
            "prompts_per_reference_sync must be a multiple of prompts_per_optim_step, found 24 and 16",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_was_found(fields, message):
    with pytest.raises(ValidationError, match=message):
        parse(**fields)


def test_an_evaluation_is_identified_by_weights_and_settings_and_not_by_where_it_goes(tmp_path):
    data = tmp_path / "t.jsonl"
    data.touch()
    first = Evaluation(label="base", model="m", task="gsm8k_cot", num_fewshot=4, output="a.json")
    same = Evaluation(label="s1", model="n", task="gsm8k_cot", num_fewshot=4, output="b.json")
    how = ("vllm 1", EngineSettings())
    assert first.evaluation_id("w", *how) == same.evaluation_id("w", *how)
    others = [{"num_fewshot": 8}, {"limit": 5}, {"max_completion_tokens": 64}, {"data": str(data)}]
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
