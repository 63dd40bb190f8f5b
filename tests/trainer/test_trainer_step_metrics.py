"""What a step says about itself, against numpy in float64, one completion and one token at a time."""

import json

import numpy as np
import pytest
import torch
from learner_factory import TEMPERATURE, learner_for, random_groups, step
from transformers import AutoModelForCausalLM

from trainer.loss.advantages import group_advantages
from trainer.step_metrics import importance_metrics

BETA, CLIP, CAP = 0.05, 0.2, 1.1


def exact(folder, learner=None):
    """The model in float64, with the learner's weights where one is given."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    if learner is not None:
        missing, unexpected = model.load_state_dict(learner.weights(torch.float32), strict=False)
        assert (missing, unexpected) == (["lm_head.weight"], [])  # tied to the embeddings
    return model.eval()


def scores(model, prompt, answer):
    """Logprobs of the answer's tokens and entropies of what they were drawn from, one array each."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].numpy()
    shifted = logits / TEMPERATURE - (logits / TEMPERATURE).max(axis=1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logprobs[np.arange(len(answer)), answer], -(np.exp(logprobs) * logprobs).sum(axis=1)


def expected_metrics(policy, reference, groups, correction):
    """Every field but the gradient's norm and the learning rate, of GRPO with the KL penalty."""
    columns = {name: [] for name in ("log_ratio", "entropy", "kl", "clipped", "cut")}
    losses = []
    for item in groups:
        for answer, advantage in zip(item.completions, group_advantages(item.rewards, "grpo"), strict=True):
            own, entropy = scores(policy, item.prompt_token_ids, answer.token_ids)
            drift = scores(reference, item.prompt_token_ids, answer.token_ids)[0] - own
            log_ratio = own - np.array(answer.logprobs)
            kl = np.exp(drift) - 1 - drift
            weight = np.exp(log_ratio)
            if correction == "none":
                ratio, cut = weight, np.zeros_like(weight, dtype=bool)
                terms = -np.minimum(ratio * advantage, ratio.clip(1 - CLIP, 1 + CLIP) * advantage)
                clipped = (ratio > 1 + CLIP) if advantage > 0 else (ratio < 1 - CLIP) & (advantage < 0)
            else:
                cut, clipped = weight > CAP, np.zeros_like(weight, dtype=bool)
                terms = -np.minimum(weight, CAP) * advantage
            losses.append((terms + BETA * kl).mean())
            for name, values in zip(columns, (log_ratio, entropy, kl, clipped, cut), strict=True):
                columns[name].append(values)
    found = {name: np.concatenate(values) for name, values in columns.items()}
    gaps, ratios = np.abs(found["log_ratio"]), np.exp(found["log_ratio"])
    assert len(gaps) > 1000  # so that the percentile is not the largest
    return {
        "loss": np.mean(losses),
        "entropy": found["entropy"].mean(),
        "kl": found["kl"].mean(),
        "clip_fraction": found["clipped"].mean(),
        "corrected_fraction": found["cut"].mean() if correction != "none" else None,
        "ratio_mean": ratios.mean(),
        "ratio_max": ratios.max(),
        "ratio_min": ratios.min(),
        "ess": ratios.sum() ** 2 / (len(ratios) * (ratios**2).sum()),
        "logprob_gap_mean": gaps.mean(),
        "logprob_gap_max": gaps.max(),
        "logprob_gap_p999": np.quantile(gaps, 0.999, method="inverted_cdf"),
    }


@pytest.mark.parametrize("correction", ["none", "token_tis"])
def test_every_metric_of_a_step_is_what_numpy_makes_of_it(config, digit_model, correction):
    learner = learner_for(
        config,
        loss={"name": "grpo", "clip": CLIP, "beta": BETA},
        correction={"name": correction, "cap": CAP},
        optim={"lr": 3e-3},
        learner={"compute_dtype": "float32", "tokens_per_micro_batch": 1500},
    )
    reference = exact(digit_model)
    step(learner, random_groups(reference, seed=1, count=2))  # away from the reference
    policy = exact(digit_model, learner)
    groups = random_groups(policy, seed=2, count=40, off=0.3)
    expected = expected_metrics(policy, reference, groups, correction)
    metrics = step(learner, groups)
    assert metrics.keys() - expected.keys() == {"grad_norm", "lr"}
    assert expected["kl"] > 1e-3
    assert 0.05 < expected["clip_fraction" if correction == "none" else "corrected_fraction"] < 0.45
    for name, value in expected.items():
        assert metrics[name] == (None if value is None else pytest.approx(value, rel=2e-3, abs=1e-6)), name


def test_gaps_that_no_float_ratio_can_hold_stay_finite():
    gaps = torch.tensor([900.0, float("inf"), 0.0, -900.0])
    metrics = importance_metrics(gaps.repeat(20_000))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["logprob_gap_max"] == metrics["logprob_gap_p999"] == 600
    assert metrics["ratio_max"] == pytest.approx(np.exp(600.0))
    assert metrics["ratio_mean"] == pytest.approx(np.exp(600.0) / 2)
    assert metrics["ess"] == pytest.approx(0.5)
