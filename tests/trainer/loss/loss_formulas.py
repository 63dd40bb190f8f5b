"""The losses as their papers write them, in plain floats, one completion and one token after another."""

import math
from dataclasses import dataclass, replace

import torch

from trainer.loss.tokens import Tokens

MAX_COMPLETION_TOKENS = 16
STEP = 1e-6


@dataclass(frozen=True)
class Completion:
    """One completion's advantage and its tokens' log-probabilities."""

    advantage: float
    learner: list[float]
    generator: list[float]
    proximal: list[float]
    reference: list[float] | None


def completion(advantage, moved, mismatch, drift=None):
    """From ratios: learner / proximal, proximal / generator, and reference / learner."""
    learner = [-0.3 - 0.45 * position for position in range(len(moved))]
    proximal = [own - math.log(r) for own, r in zip(learner, moved, strict=True)]
    generator = [own - math.log(w) for own, w in zip(proximal, mismatch, strict=True)]
    reference = None
    if drift is not None:
        reference = [own + math.log(d) for own, d in zip(learner, drift, strict=True)]
    return Completion(advantage, learner, generator, proximal, reference)


def token_policy_losses(item, at, loss, correction):
    """One completion's policy terms; stop-gradients are taken `at`, the completion where one stands.

    Returns the losses, and which of them clipping decided.
    """
    old = item.generator if correction.name == "none" else item.proximal
    low = 1 - loss.clip
    high = 1 + (loss.clip if loss.clip_high is None else loss.clip_high)
    count, advantage = len(item.learner), item.advantage
    ratios = [math.exp(new - before) for new, before in zip(item.learner, old, strict=True)]
    if loss.name == "gspo":
        ratios = [math.prod(ratios) ** (1 / count)] * count
    if loss.name == "cispo":
        stopped = [math.exp(new - before) for new, before in zip(at.learner, old, strict=True)]
        kept = [min(max(r, low), high) for r in stopped]
        losses = [-w * advantage * new for w, new in zip(kept, item.learner, strict=True)]
        return losses, [not low < r < high and advantage != 0 for r in stopped]
    losses = [-min(r * advantage, min(max(r, low), high) * advantage) for r in ratios]
    return losses, [(advantage > 0 and r > high) or (advantage < 0 and r < low) for r in ratios]


def token_weights(item, correction):
    """One completion's weights, and which of them are not what importance sampling would have."""
    weights = [math.exp(p - g) for p, g in zip(item.proximal, item.generator, strict=True)]
    if correction.name == "none":
        return [1.0] * len(weights), [False] * len(weights)
    if correction.name == "token_tis":
        return [min(w, correction.cap) for w in weights], [w > correction.cap for w in weights]
    if correction.name == "sequence_tis":
        product = math.prod(weights)
        return [min(product, correction.cap)] * len(weights), [product > correction.cap] * len(weights)
    if correction.name == "icepop":
        inside = [correction.low <= w <= correction.high for w in weights]
        return [w if kept else 0.0 for w, kept in zip(weights, inside, strict=True)], [not k for k in inside]
    assert correction.name == "decoupled"
    return weights, [False] * len(weights)


def token_kls(item):
    """One completion's k3 estimates."""
    differences = [r - own for r, own in zip(item.reference, item.learner, strict=True)]
    return [math.exp(d) - 1 - d for d in differences]


def step_loss(completions, loss, correction, at=None):
    """The loss of a whole step; stop-gradients are taken `at`, by default where it is computed."""
    total = 0.0
    for item, where in zip(completions, at or completions, strict=True):
        losses, _ = token_policy_losses(item, where, loss, correction)
        weights, _ = token_weights(item, correction)
        terms = [w * value for w, value in zip(weights, losses, strict=True)]
        if item.reference is not None:
            terms = [term + loss.beta * kl for term, kl in zip(terms, token_kls(item), strict=True)]
        if loss.name in ("grpo", "gspo"):
            total += sum(terms) / len(terms)
        elif loss.name == "dr_grpo":
            total += sum(terms) / MAX_COMPLETION_TOKENS
        else:
            total += sum(terms)
    if loss.name in ("dapo", "cispo"):
        return total / sum(len(item.learner) for item in completions)
    return total / len(completions)


def step_gradient(completions, loss, correction):
    """Its gradient in the learner's log-probabilities by central differences, completion by completion."""
    slopes = []
    for which, item in enumerate(completions):
        for position in range(len(item.learner)):
            sides = []
            for step in (STEP, -STEP):
                learner = list(item.learner)
                learner[position] += step
                moved = [*completions]
                moved[which] = replace(item, learner=learner)
                sides.append(step_loss(moved, loss, correction, at=completions))
            slopes.append((sides[0] - sides[1]) / (2 * STEP))
    return slopes


def flat(completions, name):
    return [value for item in completions for value in getattr(item, name)]


def tokens(completions, dtype=torch.float64):
    """The same completions as the code under test wants them."""
    counts = [len(item.learner) for item in completions]

    def tensor(name):
        return torch.tensor(flat(completions, name), dtype=dtype)

    return Tokens(
        learner_logprobs=tensor("learner").requires_grad_(),
        generator_logprobs=tensor("generator"),
        proximal_logprobs=tensor("proximal"),
        reference_logprobs=None if completions[0].reference is None else tensor("reference"),
        advantages=torch.tensor([item.advantage for item in completions for _ in item.learner], dtype=dtype),
        completion=torch.repeat_interleave(torch.tensor(counts)),
        completions=len(completions),
    )
