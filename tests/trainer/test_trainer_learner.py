"""From groups to an optimizer step, against one sequence at a time in float64."""

import random

import numpy as np
import pytest
import torch
from trainer_factory import completion, group
from transformers import AutoModelForCausalLM

from trainer.batch import group_advantages, micro_batches, trajectories
from trainer.errors import ConfigError, TrainingError
from trainer.learner import Learner
from trainer.logprobs import token_logprobs

CPU = torch.device("cpu")
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def exact_model(digit_model):
    model = AutoModelForCausalLM.from_pretrained(
        digit_model, dtype=torch.float64, attn_implementation="eager"
    )
    return model.eval()


def naive_logprobs(model, prompt, answer, temperature):
    """One sequence, no padding: the full log-softmax at every position, in numpy float64."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0].numpy() / temperature
    result = []
    for i, token in enumerate(answer):
        row = logits[len(prompt) - 1 + i]
        result.append(row[token] - row.max() - np.log(np.exp(row - row.max()).sum()))
    return result


def random_groups(model=None, seed=0, count=3, completions=4, off=0.0):
    """Groups of all lengths; with a model the generator's logprobs are its own, `off` by some noise."""
    rng = random.Random(seed)
    groups = []
    for number in range(count):
        prompt = [rng.randrange(2, 500) for _ in range(rng.randrange(3, 20))]
        answers = []
        for _ in range(completions):
            tokens = [rng.randrange(2, 500) for _ in range(rng.randrange(1, 15))]
            exact = naive_logprobs(model, prompt, tokens, TEMPERATURE) if model else [-1.0] * len(tokens)
            answers.append(completion(tokens, [value + rng.gauss(0, off) for value in exact]))
        rewards = [1.0] + [float(rng.random() < 0.5) for _ in range(completions - 2)] + [0.0]
        groups.append(group(number, prompt=prompt, completions=answers, rewards=rewards))
    return groups


def learner_for(config, **fields):
    return Learner(config(sampling={"temperature": TEMPERATURE}, **fields), CPU)


@pytest.mark.parametrize("tokens", [1, 30, 64, 100, 10_000])
def test_micro_batches_hold_every_token_once_with_its_own_context(tokens):
    sequences = trajectories(random_groups(count=5))
    batches = micro_batches(sequences, tokens, pad_token_id=1, device=CPU)
    found = []
    for batch in batches:
        rows, length = batch.input_ids.shape
        assert rows == 1 or rows * length <= tokens
        flat = batch.input_ids.flatten()
        kept = batch.attention_mask.flatten().bool()
        assert (flat[~kept] == 1).all()
        for i, (position, target) in enumerate(zip(batch.positions, batch.targets, strict=True)):
            row, column = divmod(int(position), length)
            assert batch.attention_mask[row, column + 1] == 1
            assert batch.input_ids[row, column + 1] == target
            context = tuple(batch.input_ids[row, : column + 1].tolist())
            values = (batch.generator_logprobs[i], batch.advantages[i], batch.weights[i])
            found.append((context, int(target), *(round(float(value), 5) for value in values)))
    wanted = [
        (
            tuple(s.token_ids[:p]),
            s.token_ids[p],
            round(s.generator_logprobs[p - s.prompt_tokens], 5),
            round(s.advantage, 5),
            round(1 / (len(s.token_ids) - s.prompt_tokens) / len(sequences), 5),
        )
        for s in sequences
        for p in range(s.prompt_tokens, len(s.token_ids))
    ]
    assert sorted(found) == sorted(wanted)
    assert sum(float(batch.weights.sum()) for batch in batches) == pytest.approx(1)


def test_micro_batches_waste_no_room():
    sequences = trajectories(random_groups(count=8, completions=8))
    padded = sum(b.input_ids.numel() for b in micro_batches(sequences, 256, 1, CPU))
    assert padded < 1.2 * sum(len(s.token_ids) for s in sequences)


@pytest.mark.parametrize("tokens", [1, 60, 10_000])
def test_logprobs_and_entropy_equal_those_of_every_sequence_alone(config, exact_model, tokens):
    learner = learner_for(config)
    for batch in micro_batches(trajectories(random_groups(count=4)), tokens, 1, CPU):
        with torch.no_grad():
            logprobs, entropy = token_logprobs(learner.model, batch, TEMPERATURE)
        rows = [row[: mask.sum()] for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
        with torch.no_grad():
            exact = [exact_model(row[None]).logits[0].numpy() / TEMPERATURE for row in rows]
        for i, position in enumerate(batch.positions.tolist()):
            row, column = divmod(position, batch.input_ids.shape[1])
            p = np.exp(exact[row][column] - exact[row][column].max())
            p /= p.sum()
            assert logprobs[i].item() == pytest.approx(np.log(p[batch.targets[i]]), abs=1e-4)
            assert entropy[i].item() == pytest.approx(-(p * np.log(p)).sum(), abs=1e-4)


def test_the_learners_logprobs_of_one_completion_equal_the_naive_ones(config, exact_model):
    learner = learner_for(config)
    prompt, answer = [5, 6, 7, 8], [9, 10, 0]
    expected = naive_logprobs(exact_model, prompt, answer, TEMPERATURE)
    assert learner.logprobs(prompt, answer) == pytest.approx(expected, abs=1e-4)


def exact_gradient(model, groups, clip):
    """The step's loss and gradient in float64, one completion after the other."""
    model.zero_grad()
    total, count = 0.0, sum(len(item.completions) for item in groups)
    for item in groups:
        for answer, advantage in zip(item.completions, group_advantages(item.rewards), strict=True):
            tokens = torch.tensor([[*item.prompt_token_ids, *answer.token_ids]])
            start = len(item.prompt_token_ids)
            logits = model(tokens).logits[0, start - 1 : -1] / TEMPERATURE
            chosen = logits.log_softmax(-1).gather(-1, tokens[0, start:, None])[:, 0]
            ratio = (chosen - torch.tensor(answer.logprobs, dtype=torch.float64)).exp()
            terms = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
            loss = -terms.mean() / count
            loss.backward()
            total += loss.item()
    return total, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("tokens", [1, 77, 10_000])
def test_a_steps_loss_and_gradient_are_the_exact_ones_however_it_is_split(config, exact_model, tokens):
    groups = random_groups(exact_model, off=0.2)
    loss, gradient = exact_gradient(exact_model, groups, clip=0.2)
    learner = learner_for(
        config,
        learner={"compute_dtype": "float32", "tokens_per_micro_batch": tokens},
        optim={"max_grad_norm": 1e9},
    )
    metrics = learner.step(groups)
    assert metrics["loss"] == pytest.approx(loss, abs=1e-6)
    norm = np.sqrt(sum((g.numpy() ** 2).sum() for g in gradient.values()))
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
    for name, parameter in learner.model.named_parameters():
        assert torch.allclose(parameter.grad.double(), gradient[name], rtol=1e-3, atol=1e-6 * norm), name


def test_a_step_makes_rewarded_completions_likelier_and_others_less_likely(config, exact_model):
    groups = random_groups(exact_model, count=2)
    learner = learner_for(config, optim={"lr": 1e-3})

    def totals():
        return [
            sum(learner.logprobs(item.prompt_token_ids, answer.token_ids)) / len(answer.token_ids)
            for item in groups
            for answer in item.completions
        ]

    before = totals()
    learner.step(groups)
    change = np.array(totals()) - np.array(before)
    advantages = np.array([a for item in groups for a in group_advantages(item.rewards)])
    assert (change * advantages).sum() > 0
    assert change[advantages > 0].mean() > change[advantages < 0].mean()


def test_a_gradient_that_is_not_finite_ends_the_run_and_leaves_the_weights_alone(config):
    learner = learner_for(config)
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    groups = random_groups(count=2)
    groups[0].completions[0].logprobs[0] = float("nan")
    with pytest.raises(TrainingError, match=r"not finite; lower optim\.lr"):
        learner.step(groups)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.model.state_dict().items())
    learner.step(random_groups(count=2, seed=1))
    assert not all(torch.equal(tensor, before[name]) for name, tensor in learner.model.state_dict().items())


def test_the_kl_to_the_base_model_is_zero_at_first_and_grows_with_training(config, exact_model):
    groups = random_groups(exact_model, count=2)
    learner = learner_for(config, loss={"beta": 0.05}, optim={"lr": 1e-2})
    values = [learner.step(groups)["kl"] for _ in range(4)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert all(value > 1e-4 for value in values[1:])


def test_a_strong_penalty_keeps_the_policy_nearer_to_the_base_model(config, exact_model):
    groups = random_groups(exact_model, count=2)
    ends = []
    for beta in (0.001, 10.0):
        learner = learner_for(config, loss={"beta": beta}, optim={"lr": 3e-3})
        ends.append([learner.step(groups)["kl"] for _ in range(8)][-1])
    assert ends[1] < ends[0] / 2


def test_the_learning_rate_warms_up_in_equal_parts_and_then_stays(config):
    learner = learner_for(config, optim={"lr": 4e-4, "warmup_steps": 3})
    rates = [learner.step(random_groups(count=1, seed=seed))["lr"] for seed in range(6)]
    assert rates == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4, 4e-4, 4e-4])
    assert learner_for(config, optim={"lr": 4e-4}).step(random_groups())["lr"] == pytest.approx(4e-4)


def test_the_gradient_is_clipped_to_its_norm_and_reported_unclipped(config):
    learner = learner_for(config, optim={"max_grad_norm": 1e-3})
    norm = learner.step(random_groups())["grad_norm"]
    grads = [parameter.grad.double().square().sum() for parameter in learner.model.parameters()]
    assert norm > 1e-2
    assert sum(grads).sqrt().item() == pytest.approx(1e-3, rel=1e-3)


def test_weights_for_the_engine_leave_out_what_is_tied_and_are_rounded_once(config, exact_model):
    learner = learner_for(config)
    weights = learner.weights(torch.bfloat16)
    names = {name for name, _ in exact_model.named_parameters()}
    assert set(weights) == names
    assert "lm_head.weight" not in weights
    for name, parameter in exact_model.named_parameters():
        assert torch.equal(weights[name], parameter.to(torch.bfloat16))


def test_perturbed_weights_differ_in_every_tensor_and_are_put_back_exactly(config):
    learner = learner_for(config)
    before = {name: tensor.clone() for name, tensor in learner.weights(torch.bfloat16).items()}
    with pytest.raises(ZeroDivisionError), learner.perturbed():
        inside = learner.weights(torch.bfloat16)
        assert not any(torch.equal(inside[name], tensor) for name, tensor in before.items())
        _ = 1 / 0
    after = learner.weights(torch.bfloat16)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("model", ["builtin:huge", "/no/such/folder", "nobody/no-such-model"])
def test_a_model_that_cannot_be_had_is_a_configuration_error_that_names_it(config, model):
    with pytest.raises(ConfigError, match=model):
        Learner(config(model=model), CPU)
