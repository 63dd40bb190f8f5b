"""From groups to an optimizer step, against one sequence at a time in float64 and plain torch."""

import io

import numpy as np
import pytest
import torch
from device_under_test import DEVICE
from learner_factory import (
    TEMPERATURE,
    gradients,
    largest_difference,
    learner_for,
    naive_logprobs,
    random_groups,
    step,
    trained,
    write_model,
)
from trainer_factory import completion, group
from transformers import AutoModelForCausalLM

from trainer.errors import ConfigError, TrainingError
from trainer.learner import Learner
from trainer.loss.advantages import group_advantages

# Sums of float32 in another order: some units in the last place of the largest addend.
REORDERED = 1e-5


@pytest.fixture(scope="module")
def exact_model(digit_model):
    model = AutoModelForCausalLM.from_pretrained(
        digit_model, dtype=torch.float64, attn_implementation="eager"
    )
    return model.eval()


def test_the_learners_logprobs_of_one_completion_equal_the_naive_ones(config, exact_model):
    prompt, answer = [5, 6, 7, 8], [9, 10, 0]
    expected = naive_logprobs(exact_model, prompt, answer)
    assert learner_for(config).logprobs(prompt, answer) == pytest.approx(expected, abs=1e-4)


def exact_gradient(model, groups, clip):
    """GRPO's loss and gradient in float64, one completion after the other."""
    model.zero_grad()
    total, count = 0.0, sum(len(item.completions) for item in groups)
    for item in groups:
        for answer, advantage in zip(item.completions, group_advantages(item.rewards, "grpo"), strict=True):
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
    loss, exact = exact_gradient(exact_model, groups, clip=0.2)
    learner = learner_for(config, learner={"compute_dtype": "float32", "tokens_per_micro_batch": tokens})
    before = {
        (item.number, place): learner.logprobs(item.prompt_token_ids, answer.token_ids)
        for item in groups
        for place, answer in enumerate(item.completions)
    }
    trained = learner.forward_backward(groups)
    assert trained.keys() == before.keys()
    for key, made in trained.items():
        assert made.learner_logprobs.tolist() == pytest.approx(before[key], abs=1e-5)
    completions = sum(len(item.completions) for item in groups)
    found = {name: gradient.double() / completions for name, gradient in gradients(learner).items()}
    metrics = learner.optimizer_step()
    assert metrics["loss"] == pytest.approx(loss, abs=1e-6)
    norm = np.sqrt(sum((g.numpy() ** 2).sum() for g in exact.values()))
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
    for name, gradient in found.items():
        assert torch.allclose(gradient, exact[name], rtol=1e-3, atol=1e-6 * norm), name


@pytest.mark.parametrize("loss", ["grpo", "dapo", "gspo"])
def test_streaming_a_step_in_pieces_is_the_same_as_all_at_once(config, exact_model, loss):
    groups = random_groups(exact_model, count=4, off=0.2)
    whole, streamed = (learner_for(config, loss={"name": loss}) for _ in range(2))
    whole.forward_backward(groups)
    for item in groups:
        streamed.forward_backward([item])
    assert largest_difference(gradients(streamed), gradients(whole)) < REORDERED
    wanted = whole.optimizer_step()
    assert {name for name, value in wanted.items() if value is None} == {"kl", "corrected_fraction"}
    for name, value in streamed.optimizer_step().items():
        assert value is wanted[name] or value == pytest.approx(wanted[name], rel=1e-4, abs=1e-7), name


def test_in_bfloat16_passes_are_those_of_autocast_and_gradients_stay_near_the_exact_ones(
    config, digit_model, exact_model
):
    groups = random_groups(exact_model, off=0.2)
    _, exact = exact_gradient(exact_model, groups, clip=0.2)
    learner = learner_for(config, learner={"compute_dtype": "bfloat16"})
    prompt, answer = groups[0].prompt_token_ids, [9, 10, 300, 40, 0]
    plain = AutoModelForCausalLM.from_pretrained(
        digit_model, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    plain.to(DEVICE)
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16):
        rounded = naive_logprobs(plain, prompt, answer)
    found = learner.logprobs(prompt, answer)
    assert found == pytest.approx(rounded, abs=1e-4)
    assert found != pytest.approx(naive_logprobs(plain, prompt, answer), abs=1e-3)
    learner.forward_backward(groups)
    completions = sum(len(item.completions) for item in groups)
    off = [g.double() / completions - exact[name] for name, g in gradients(learner).items()]
    norm = sum(gradient.square().sum() for gradient in exact.values()).sqrt()
    assert 1e-3 * norm < sum(o.square().sum() for o in off).sqrt() < 0.1 * norm  # 2^-9 is 0.002
    assert {gradient.dtype for gradient in gradients(learner).values()} == {torch.float32}


def plain_update(model, optimizer, groups, proximal, *, clip, max_norm):
    """One clipped update of GRPO with decoupled weights on a float32 model, one completion at a time."""
    optimizer.zero_grad()
    count = sum(len(item.completions) for item in groups)
    for g, item in enumerate(groups):
        for a, answer in enumerate(item.completions):
            advantage = group_advantages(item.rewards, "grpo")[a]
            tokens = torch.tensor([[*item.prompt_token_ids, *answer.token_ids]])
            start = len(item.prompt_token_ids)
            logits = model(tokens).logits[0, start - 1 : -1] / TEMPERATURE
            chosen = logits.log_softmax(-1).gather(-1, tokens[0, start:, None])[:, 0]
            before = proximal.setdefault((g, a), chosen.detach())
            weight = (before - torch.tensor(answer.logprobs)).exp()
            ratio = (chosen - before).exp()
            terms = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
            (-(weight * terms).mean() / count).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return norm.item()


def test_two_updates_of_a_batch_are_two_updates_by_plain_torch(config, digit_model, exact_model):
    groups = random_groups(exact_model, count=2, off=0.1)
    learner = learner_for(
        config,
        updates_per_batch=2,
        correction={"name": "decoupled"},
        optim={"lr": 3e-3, "max_grad_norm": 0.5, "weight_decay": 0.1},
    )
    metrics = step(learner, groups)
    model = AutoModelForCausalLM.from_pretrained(
        digit_model, dtype=torch.float32, attn_implementation="eager"
    )
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    proximal = {}
    norms = [
        plain_update(model.eval(), optimizer, groups, proximal, clip=0.2, max_norm=0.5) for _ in range(2)
    ]
    assert metrics["grad_norm"] == pytest.approx(np.mean(norms), rel=1e-3)
    # Of the distance that the weights went; Adam's first updates amplify the rounding of tiny gradients.
    went = {name: p.detach() - start[name] for name, p in model.named_parameters()}
    off = {name: trained(learner)[name] - p.detach() for name, p in model.named_parameters()}
    total = sum(w.square().sum() for w in went.values()).sqrt()
    assert sum(o.square().sum() for o in off.values()).sqrt() < 0.01 * total
    logprobs = torch.cat([proximal[g, a] for g in range(2) for a in range(4)])
    generator = torch.tensor([value for g in groups for answer in g.completions for value in answer.logprobs])
    ratios = (logprobs - generator).exp()
    assert metrics["ratio_mean"] == pytest.approx(ratios.mean().item(), rel=1e-4)
    assert metrics["ess"] == pytest.approx(
        (ratios.sum() ** 2 / len(ratios) / (ratios**2).sum()).item(), rel=1e-4
    )
    gaps = (logprobs - generator).abs()
    assert (
        metrics["logprob_gap_max"]
        == metrics["logprob_gap_p999"]
        == pytest.approx(gaps.max().item(), rel=1e-3)
    )
    assert metrics["lr"] == pytest.approx(3e-3)


def test_further_updates_go_further_and_advance_the_schedule_once(config, exact_model):
    groups = random_groups(exact_model, count=2)
    went = []
    for updates in (1, 3):
        learner = learner_for(config, updates_per_batch=updates, optim={"lr": 4e-3, "warmup_steps": 3})
        before = trained(learner)
        rates = [step(learner, groups)["lr"]]
        went.append(sum((trained(learner)[name] - before[name]).abs().sum() for name in before))
        rates.append(step(learner, groups)["lr"])
        assert rates == pytest.approx([1e-3, 2e-3])
    assert went[1] > 1.5 * went[0]


@pytest.mark.parametrize(
    "fields",
    [{}, {"loss": {"beta": 0.1}}, {"lora": {"rank": 2}, "loss": {"beta": 0.1}}, {"updates_per_batch": 2}],
    ids=["plain", "reference", "adapters", "two updates"],
)
def test_a_run_that_is_saved_and_resumed_continues_bit_for_bit(config, exact_model, fields):
    def build():
        return learner_for(config, optim={"lr": 1e-2, "warmup_steps": 3}, **fields)

    batches = [random_groups(exact_model, seed=seed, count=2, off=0.1) for seed in range(4)]
    straight = build()
    expected = []
    for number, groups in enumerate(batches):
        expected.append(step(straight, groups))
        if number == 0:
            straight.refresh_reference()
    first = build()
    step(first, batches[0])
    first.refresh_reference()
    step(first, batches[1])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    random_before = torch.rand(1)
    second = build()
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.rand(1) == random_before
    assert [step(second, groups) for groups in batches[2:]] == expected[2:]
    wanted = trained(straight)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in trained(second).items())


def test_a_state_of_another_model_is_refused(config, tiny_model):
    state = learner_for(config).state_dict()
    with pytest.raises(ConfigError, match="other weights than model"):
        learner_for(config, lora={"rank": 2}).load_state_dict(state)


@pytest.mark.parametrize("updates", [1, 2])
def test_a_step_that_was_abandoned_leaves_no_trace(config, exact_model, updates):
    groups, others = random_groups(exact_model, count=2), random_groups(exact_model, seed=1, count=2)
    clean, disturbed = (learner_for(config, updates_per_batch=updates) for _ in range(2))
    disturbed.forward_backward(others)
    disturbed.abandon_step()
    assert step(disturbed, groups) == step(clean, groups)
    wanted = trained(clean)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in trained(disturbed).items())


def test_masked_completions_do_not_move_the_weights_whatever_they_hold(config, exact_model):
    rewards = [1.0, 0.0, 0.0, 1.0]

    def groups(masked):
        answers = [completion([20 + i, 30], [-2.0, -2.0]) for i in range(3)]
        return [group(prompt=(5, 6), completions=[*answers, masked], rewards=rewards)]

    ends = []
    for tokens in ([40] * 8, [50] * 5):
        learner = learner_for(config, sampling={"truncated": "mask"})
        metrics = step(learner, groups(completion(tokens, truncated=True)))
        ends.append((metrics, learner.weights(torch.float32)))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(tensor, ends[1][1][name]) for name, tensor in ends[0][1].items())


def test_a_step_without_anything_to_train_on_says_so(config):
    learner = learner_for(config, sampling={"truncated": "mask"})
    answers = [completion([20, 30], truncated=True) for _ in range(2)]
    learner.forward_backward([group(completions=answers, rewards=[0.0, 1.0])])
    with pytest.raises(TrainingError, match=r"step 0 has no completion to train on.*max_completion_tokens"):
        learner.optimizer_step()


def test_a_step_makes_rewarded_completions_likelier_and_others_less_likely(config, exact_model):
    groups = random_groups(exact_model, count=2)
    learner = learner_for(config)

    def totals():
        return [
            sum(learner.logprobs(item.prompt_token_ids, answer.token_ids)) / len(answer.token_ids)
            for item in groups
            for answer in item.completions
        ]

    before = totals()
    step(learner, groups)
    change = np.array(totals()) - np.array(before)
    advantages = np.array([a for item in groups for a in group_advantages(item.rewards, "grpo")])
    assert (change * advantages).sum() > 0
    assert change[advantages > 0].mean() > change[advantages < 0].mean()


def test_a_gradient_that_is_not_finite_ends_the_run_and_leaves_the_weights_alone(config, exact_model):
    learner = learner_for(config)
    step(learner, random_groups(exact_model, count=1))
    before = trained(learner)
    groups = random_groups(count=2)
    groups[0].completions[0].logprobs[0] = float("nan")
    learner.forward_backward(groups)
    with pytest.raises(TrainingError, match=r"step 1: the loss \(nan\).*not finite.*Lower optim\.lr"):
        learner.optimizer_step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained(learner).items())
    step(learner, random_groups(count=2, seed=1))
    assert not all(torch.equal(tensor, before[name]) for name, tensor in trained(learner).items())


@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rank", [0, 2])
def test_the_kl_is_zero_at_first_grows_and_is_zero_after_a_refresh(config, exact_model, rank, compute_dtype):
    groups = random_groups(exact_model, count=2)
    learner = learner_for(
        config,
        loss={"beta": 0.05},
        optim={"lr": 1e-2},
        lora={"rank": rank},
        learner={"compute_dtype": compute_dtype},
    )
    values = [step(learner, groups)["kl"] for _ in range(3)]
    learner.refresh_reference()
    values += [step(learner, groups)["kl"] for _ in range(2)]
    assert [values[0], values[3]] == [0, 0]
    assert all(value > 1e-4 for value in (values[1], values[2], values[4]))


def test_a_strong_penalty_keeps_the_policy_nearer_to_the_base_model(config, exact_model):
    groups = random_groups(exact_model, count=2)
    ends = []
    for beta in (0.001, 10.0):
        learner = learner_for(config, loss={"beta": beta}, optim={"lr": 3e-3})
        ends.append([step(learner, groups)["kl"] for _ in range(8)][-1])
    assert ends[1] < ends[0] / 2


def test_the_gradient_is_clipped_to_its_norm_and_reported_unclipped(config, exact_model):
    # With plain momentumless Adam a scale would not show; its first moment after one step is 0.1 gradients.
    groups = random_groups(exact_model, off=0.1)
    learner = learner_for(config, optim={"max_grad_norm": 1e-3})
    norm = step(learner, groups)["grad_norm"]
    moments = [
        state["exp_avg"].cpu().double() / 0.1 for state in learner.state_dict()["optimizer"]["state"].values()
    ]
    assert norm > 1e-2
    assert sum(m.square().sum() for m in moments).sqrt().item() == pytest.approx(1e-3, rel=1e-3)


def test_gradients_with_recomputed_activations_are_the_same(config, exact_model):
    groups = random_groups(exact_model, off=0.2)
    found = []
    for checkpointing in (False, True):
        learner = learner_for(
            config, learner={"compute_dtype": "float32", "gradient_checkpointing": checkpointing}
        )
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: (kept.append(t.numel()), t)[1], lambda t: t
        ):
            learner.forward_backward(groups)
        found.append((gradients(learner), sum(kept)))
    assert largest_difference(found[1][0], found[0][0]) < REORDERED
    assert found[1][1] < 0.7 * found[0][1]  # the layer's activations were not kept


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_a_model_with_dropout_trains_without_noise_and_keeps_its_configuration(
    config, tiny_model, tmp_path, name, checkpointing
):
    folder = write_model(name, tmp_path / name, tiny_model)
    groups = random_groups()
    learner = learner_for(
        config,
        model=str(folder),
        learner={"compute_dtype": "float32", "gradient_checkpointing": checkpointing},
    )
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    for item in groups:  # as if the exact model had sampled them
        item.completions = [
            completion(a.token_ids, naive_logprobs(exact, item.prompt_token_ids, a.token_ids))
            for a in item.completions
        ]
    assert step(learner, groups)["logprob_gap_max"] < 1e-4
    rates = {key: value for key, value in learner.model.config.to_dict().items() if "drop" in key}
    assert 0.1 in rates.values()
    assert rates == {key: value for key, value in exact.config.to_dict().items() if "drop" in key}


@pytest.mark.parametrize("model", ["builtin:huge", "/no/such/folder", "nobody/no-such-model"])
def test_a_model_that_cannot_be_had_is_a_configuration_error_that_names_it(config, model):
    with pytest.raises(ConfigError, match=model):
        Learner(config(model=model), DEVICE)
