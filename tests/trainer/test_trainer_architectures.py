"""Whole runs of other architectures than the built-in model's, over the transformers engine."""

import pytest
import torch
from learner_factory import write_model
from trainer_factory import lines, run_loop
from transformers import AutoModelForCausalLM

from trainer.conservation import violations
from trainer.engine.transformers_engine import TransformersEngine
from trainer.settings import EngineSettings


@pytest.mark.parametrize("name", ["gemma2", "qwen3_moe"])
def test_engine_and_learner_agree_at_every_step_and_the_checkpoint_loads(
    tmp_path, config, digit_problems, digit_model, monkeypatch, name
):
    (tmp_path / "parity_reward.py").write_text(
        "def reward(completion, answer, row):\n    return float(len(completion) % 2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = write_model(name, tmp_path / "model", digit_model)
    engine = EngineSettings(name="transformers", dtype="float32", max_model_len=256)
    settings = config(
        model=str(model),
        max_steps=3,
        engine=engine.model_dump(),
        optim={"lr": 1e-3},
        task={"name": "gsm8k", "path": str(digit_problems), "reward": "parity_reward:reward"},
    )
    paths = run_loop(tmp_path / "run", settings, TransformersEngine(str(model), engine, (0,)))
    assert violations(paths.trace, settings) == []
    for record in lines(paths.trace, "step"):
        assert record["logprob_gap_max"] < 2e-3  # weights of the step before would be 0.01 and more apart
        assert record["grad_norm"] > 0
    before = AutoModelForCausalLM.from_pretrained(model).state_dict()
    after = AutoModelForCausalLM.from_pretrained(paths.checkpoint(3)).state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)
