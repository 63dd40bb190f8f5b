"""With max_staleness 0 the trainer is synchronous GRPO: the same steps as a plain loop's."""

import pytest
import torch
from safetensors.torch import load_file
from synchronous_grpo import train
from test_trainer_loop import run_loop
from trainer_factory import lines

from trainer.engine.transformers_engine import TransformersEngine
from trainer.settings import EngineSettings

STEPS, PROMPTS, COMPLETIONS, LR = 5, 2, 4, 1e-3
ENGINE = EngineSettings(name="transformers", dtype="float32", deterministic=True)


def test_five_steps_are_those_of_a_plain_synchronous_loop(tmp_path, config, digit_model, digit_problems):
    def engine():
        return TransformersEngine(str(digit_model), ENGINE, (0,))

    settings = config(max_steps=STEPS, engine=ENGINE.model_dump(), loss={"clip": 0.2})
    paths = run_loop(tmp_path / "run", settings, engine())
    steps, weights = train(
        digit_model,
        digit_problems,
        engine,
        tmp_path,
        steps=STEPS,
        prompts=PROMPTS,
        completions=COMPLETIONS,
        lr=LR,
        seed=settings.seed,
        max_tokens=settings.sampling.max_completion_tokens,
    )
    text = {line["group"]: line for line in lines(paths.rollouts)}
    for number, (record, plain) in enumerate(zip(lines(paths.trace, "step"), steps, strict=True)):
        trained = [r for r in lines(paths.trace, "group") if r["step"] == number]
        trained.sort(key=lambda r: r["group"])
        assert [r["prompt_id"] for r in trained] == [f"gsm8k-{index}" for index in plain.indices]
        sampled = [[c["token_ids"] for c in text[r["group"]]["completions"]] for r in trained]
        assert sampled == plain.completions
        # Padding changes the order of sums, so float32 agrees to some 1e-6 of the terms summed.
        assert record["loss"] == pytest.approx(plain.loss, abs=2e-6)
        assert record["grad_norm"] == pytest.approx(plain.grad_norm, rel=1e-4)
    saved = load_file(paths.checkpoint(STEPS) / "model.safetensors")
    for name, tensor in saved.items():
        # AdamW moves a weight by at most about lr a step whatever the gradient's size, and so turns
        # rounding of gradients near 0 into differences: a hundredth of all moves is far below any bug.
        torch.testing.assert_close(tensor, weights[name].detach(), rtol=0, atol=STEPS * LR / 100)
