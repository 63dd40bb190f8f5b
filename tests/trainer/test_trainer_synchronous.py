"""With max_staleness 0 the trainer is synchronous GRPO: the same steps as a plain loop's."""

import pytest
from safetensors.torch import load_file
from synchronous_grpo import train
from trainer_factory import lines, run_loop

from trainer.engine.transformers_engine import TransformersEngine
from trainer.settings import EngineSettings

STEPS, PROMPTS, COMPLETIONS, LR, BETA = 5, 2, 4, 1e-3, 0.5
ENGINE = EngineSettings(name="transformers", dtype="float32", deterministic=True)


def test_five_steps_are_those_of_a_plain_synchronous_loop(tmp_path, config, digit_model, digit_problems):
    def engine():
        return TransformersEngine(str(digit_model), ENGINE, (0,))

    settings = config(max_steps=STEPS, engine=ENGINE.model_dump(), loss={"clip": 0.2, "beta": BETA})
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
        beta=BETA,
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
        assert (plain.loss > 1e-4) == (number > 0)  # the first step is where the reference is
        assert record["grad_norm"] == pytest.approx(plain.grad_norm, rel=1e-4)
    saved = load_file(paths.checkpoint(STEPS) / "model.safetensors")
    before = load_file(digit_model / "model.safetensors")
    for name, tensor in saved.items():
        # AdamW moves a weight by about lr a step whatever the size of its gradient, so one whose gradient is
        # rounding alone goes its own way. There are few: as vectors the moves of a tensor are the same.
        ours, theirs = tensor - before[name].float(), weights[name].detach() - before[name].float()
        assert theirs.norm() > 0
        assert (ours - theirs).norm() < 0.01 * theirs.norm(), name
