"""From groups to micro-batches: every token once, little padding, masks."""

import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learner_factory import CPU, random_groups
from trainer_factory import completion, group

from trainer.batch import Trajectory, micro_batches, trajectories
from trainer.loss.advantages import group_advantages


def of_lengths(lengths, prompt_tokens=1):
    return [Trajectory([7] * n, prompt_tokens, [-1.0] * (n - prompt_tokens), 1.0) for n in lengths]


def padded_tokens(batches):
    return sum(batch.input_ids.numel() for batch in batches)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("tokens", [1, 30, 64, 100, 300, 10_000])
def test_micro_batches_hold_every_token_once_with_its_own_context(config, tokens, packed):
    sequences = trajectories(random_groups(count=5), config())
    found = []
    for batch in micro_batches(sequences, tokens, pad_token_id=1, device=CPU, packed=packed):
        length = batch.input_ids.shape[1]
        columns = torch.arange(length)[None] if batch.position_ids is None else batch.position_ids
        assert batch.completion.unique().tolist() == list(range(len(batch.sequences)))
        for i, (position, target) in enumerate(zip(batch.positions, batch.targets, strict=True)):
            row, column = divmod(int(position), length)
            start = column - int(columns[0, column])
            assert column >= batch.first
            assert batch.input_ids[row, column + 1] == target
            context = tuple(batch.input_ids[row, start : column + 1].tolist())
            assert context == tuple(batch.sequences[batch.completion[i]].token_ids[: column + 1 - start])
            values = (batch.generator_logprobs[i], batch.advantages[i])
            found.append((context, int(target), *(round(float(value), 5) for value in values)))
    wanted = [
        (
            tuple(s.token_ids[:p]),
            s.token_ids[p],
            round(s.generator_logprobs[p - s.prompt_tokens], 5),
            round(s.advantage, 5),
        )
        for s in sequences
        for p in range(s.prompt_tokens, len(s.token_ids))
    ]
    assert sorted(found) == sorted(wanted)


@given(
    lengths=st.lists(st.integers(2, 60), min_size=0, max_size=40),
    tokens=st.integers(1, 1000),
    packed=st.booleans(),
)
def test_no_micro_batch_exceeds_the_budget_but_those_of_one_long_sequence(lengths, tokens, packed):
    batches = micro_batches(of_lengths(lengths), tokens, pad_token_id=1, device=CPU, packed=packed)
    assert sum(len(batch.sequences) for batch in batches) == len(lengths)
    assert sum(len(batch.targets) for batch in batches) == sum(lengths) - len(lengths)
    for batch in batches:
        assert batch.input_ids.numel() <= tokens or len(batch.sequences) == 1
        assert len(batch.sequences) > 0


@given(lengths=st.lists(st.integers(2, 600), min_size=2, max_size=40), tokens=st.integers(256, 2000))
def test_a_packed_row_is_full_before_the_next_begins_and_keeps_the_order(lengths, tokens):
    sequences = of_lengths(lengths)
    batches = micro_batches(sequences, tokens, pad_token_id=1, device=CPU, packed=True)
    assert [s for batch in batches for s in batch.sequences] == sequences
    for batch, following in pairwise(batches):
        used = sum(len(s.token_ids) for s in batch.sequences)
        assert used + len(following.sequences[0].token_ids) > tokens - 128
    for batch in batches:
        rows, length = batch.input_ids.shape
        padding = length - sum(len(s.token_ids) for s in batch.sequences)
        assert rows == 1
        assert length % 128 == 0
        assert 0 < padding <= max(128, 256 - 2)


@given(lengths=st.lists(st.integers(2, 60), min_size=2, max_size=40), tokens=st.integers(1, 400))
def test_no_neighbours_fit_together_at_less_cost(lengths, tokens):
    # 256 tokens is what a pass is worth: see batch.py. Longest first, so the first one's length counts.
    batches = micro_batches(of_lengths(lengths), tokens, pad_token_id=1, device=CPU)
    for one, other in pairwise(batches):
        together = one.input_ids.shape[1] * (len(one.input_ids) + len(other.input_ids))
        assert together > tokens or together >= padded_tokens([one, other]) + 256


@pytest.mark.parametrize("packed", [False, True])
def test_padding_is_a_few_per_cent_of_a_real_step(packed):
    rng = random.Random(0)
    lengths = [
        prompt + rng.randint(30, 120) for prompt in (rng.randint(60, 120) for _ in range(16)) for _ in "8" * 8
    ]
    for tokens in (2048, 8192, 65536):
        padded = padded_tokens(micro_batches(of_lengths(lengths), tokens, 1, CPU, packed))
        assert padded < 1.06 * sum(lengths)


def test_a_masked_completion_counts_in_the_baseline_but_is_not_trained_on(config):
    rewards = [1.0, 0.0, 0.0, 1.0]
    answers = [completion([10 + i] * 3, truncated=i in (1, 3)) for i in range(4)]
    groups = [group(prompt=(5, 6), completions=answers, rewards=rewards)]
    kept = trajectories(groups, config())
    masked = trajectories(groups, config(sampling={"truncated": "mask"}))
    assert [s.token_ids[-1] for s in kept] == [10, 11, 12, 13]
    assert [s.token_ids[-1] for s in masked] == [10, 12]
    assert [s.advantage for s in masked] == [group_advantages(rewards, "grpo")[i] for i in (0, 2)]
