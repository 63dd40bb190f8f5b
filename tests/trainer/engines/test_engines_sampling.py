"""What engines sample: with which logprobs, seeds and limits, and what they count."""

import asyncio

import pytest
import torch
from engine_subject import CONTEXT, PROMPT, mean_gap, work
from transformers import AutoModelForCausalLM

from trainer.engine.protocol import GenerationError, GenerationRequest


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_the_loaded_weights_at_the_temperature(
    subject, tiny_model, exact, prompt, temperature
):
    subject.load(tiny_model, 1)
    for completion in subject.generate(prompt, n=4, temperature=temperature, seed=3):
        assert len(completion.logprobs) == len(completion.token_ids) > 0
        expected = exact(tiny_model, prompt, completion.token_ids, temperature)
        assert mean_gap(completion.logprobs, expected) < subject.tolerance


def test_seeds_make_completions_reproducible_and_different_from_each_other(subject, tiny_model, prompt):
    subject.load(tiny_model, 1)
    first = subject.generate(prompt, n=8, seed=41)
    again = subject.generate(prompt, n=8, seed=41)
    assert [c.token_ids for c in first] == [c.token_ids for c in again]
    assert len({tuple(c.token_ids) for c in first}) == 8
    shifted = subject.generate(prompt, n=2, seed=42)
    assert shifted[0].token_ids == first[1].token_ids


def test_groups_served_together_are_what_each_would_be_alone(subject, tiny_model, tokenizer, exact):
    subject.load(tiny_model, 1)
    prompts = [tokenizer.encode(text) for text in (PROMPT, "Q: 1?\nA:", PROMPT * 3)]

    async def together():
        requests = [GenerationRequest(p, 4, 6 + 3 * i, 1.0, seed=i) for i, p in enumerate(prompts)]
        return await asyncio.gather(*(subject.engine.generate(request) for request in requests))

    for number, group in enumerate(subject.call(together())):
        for completion in group:
            assert 0 < len(completion.token_ids) <= 6 + 3 * number
            expected = exact(tiny_model, prompts[number], completion.token_ids)
            assert mean_gap(completion.logprobs, expected) < subject.tolerance


def test_deterministic_completions_are_the_same_bit_for_bit_whatever_else_is_queued(
    deterministic_subject, prompt
):
    request = GenerationRequest(prompt, 4, 24, 1.0, seed=7)
    lengths = (9, 55, 101, 230)  # beside these the prompt is padded to another length
    others = [GenerationRequest(range(5, 5 + n), 3, 30, 1.0, seed=n) for n in lengths]
    engine = deterministic_subject.engine

    async def with_others():
        before = [asyncio.create_task(engine.generate(other)) for other in others[:2]]
        asked = asyncio.create_task(engine.generate(request))
        after = [asyncio.create_task(engine.generate(other)) for other in others[2:]]
        await asyncio.gather(*before, *after)
        return await asked

    alone = deterministic_subject.call(engine.generate(request))
    assert deterministic_subject.call(with_others()) == alone


def test_greedy_decoding_equals_transformers_own(transformers_subject, tiny_model, tokenizer):
    transformers_subject.load(tiny_model, 1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for text in (PROMPT, "Q: 1?\nA:", "Tom"):
        token_ids = tokenizer.encode(text)
        own = model.generate(torch.tensor([token_ids]), do_sample=False, max_new_tokens=40)
        found = transformers_subject.generate(token_ids, max_tokens=40, temperature=0)[0]
        assert found.token_ids == own[0, len(token_ids) :].tolist()


def test_completions_end_at_the_end_token_at_a_stop_string_or_cut_off(
    subject, digit_model, tokenizer, prompt
):
    subject.load(digit_model, 5)
    ended = [c for c in subject.generate(prompt, n=8, max_tokens=30) if not c.truncated]
    assert ended
    assert all(c.token_ids[-1] == tokenizer.eos_token_id for c in ended)
    for stopped in subject.generate(prompt, n=4, max_tokens=30, temperature=0.01, stop=("###",)):
        text = tokenizer.decode(stopped.token_ids)
        assert "###" in text
        assert "###" not in tokenizer.decode(stopped.token_ids[:-1])
        assert not stopped.truncated
        assert len(stopped.logprobs) == len(stopped.token_ids)
    for cut in subject.generate(prompt, n=4, max_tokens=2, temperature=0.01):
        assert cut.truncated
        assert len(cut.token_ids) == 2
    assert {(c.version_min, c.version_max) for c in ended} == {(5, 5)}


def test_counters_equal_what_was_generated(subject, tiny_model, prompt):
    subject.load(tiny_model, 1)
    before = subject.counters()
    groups = [subject.generate(prompt, n=3, max_tokens=9), subject.generate([7, 8], n=2, max_tokens=4)]
    done = subject.counters().since(before)
    assert done == work((prompt, groups[0]), ([7, 8], groups[1]))
    assert done.requests == 5


@pytest.mark.parametrize("tokens", [CONTEXT + 50, CONTEXT - 15])
def test_a_request_that_could_outgrow_the_context_fails_alone(subject, tiny_model, tokens):
    subject.load(tiny_model, 1)
    with pytest.raises(GenerationError, match=rf"{tokens} tokens and 16 new .* {CONTEXT}; raise engine"):
        subject.generate([5] * tokens, max_tokens=16)
    assert subject.generate([5] * (CONTEXT - 16), max_tokens=16)
