"""Requests that are running when weights are loaded, when all is aborted, when an owner has died."""

import asyncio

import httpx
import pytest
import torch
from engine_subject import CONTEXT, PROMPT, mean_gap, work
from safetensors.torch import load_file, save_file

from trainer.engine.protocol import GenerationAborted, GenerationRequest
from trainer.engine.vllm_client import VllmEngine
from trainer.errors import EngineError
from trainer.settings import EngineSettings


def switch_of(completion, old, new):
    """Index of the first token whose logprob is that of the new weights, as the logprobs tell it."""
    gaps_old = [abs(a - b) for a, b in zip(completion.logprobs, old, strict=True)]
    gaps_new = [abs(a - b) for a, b in zip(completion.logprobs, new, strict=True)]
    return min(range(len(old) + 1), key=lambda k: sum(gaps_old[:k]) + sum(gaps_new[k:]))


def test_what_runs_during_a_load_goes_on_under_the_new_weights_with_nothing_of_the_old_cache(
    subject, tiny_model, other_model, exact, tokenizer
):
    prompt = tokenizer.encode(PROMPT * 3)
    request = GenerationRequest(prompt, n=8, max_tokens=200, temperature=1.0, seed=0)
    subject.load(tiny_model, 1)
    before = subject.counters()

    async def switch():
        running = asyncio.create_task(subject.engine.generate(request))
        await subject.sampled(8 * 40)
        await subject.engine.load_weights(other_model, 2)
        return await running

    completions = subject.call(switch())
    switched = [c for c in completions if (c.version_min, c.version_max) == (1, 2)]
    assert len(switched) >= 4
    for completion in switched:
        tokens = completion.token_ids
        old, new = (exact(folder, prompt, tokens) for folder in (tiny_model, other_model))
        k = switch_of(completion, old, new)
        assert 20 < k < len(tokens)
        assert mean_gap(completion.logprobs[:k], old[:k]) < subject.tolerance
        assert mean_gap(completion.logprobs[k:], new[k:]) < subject.tolerance
    # The last line would notice keys and values of the old weights.
    longest = max(switched, key=lambda completion: len(completion.token_ids))
    tokens = longest.token_ids
    old, new = (exact(folder, prompt, tokens) for folder in (tiny_model, other_model))
    k = switch_of(longest, old, new)
    stale = exact.with_stale_cache(tiny_model, other_model, [*prompt, *tokens[:k]], tokens[k:])
    assert mean_gap(stale, new[k:]) > 2 * subject.tolerance
    assert subject.counters().since(before) == work((prompt, completions))


def test_what_waits_during_a_load_is_sampled_by_the_new_weights_alone(
    subject, tiny_model, other_model, exact, prompt
):
    request = GenerationRequest(prompt, n=4, max_tokens=12, temperature=1.0, seed=0)
    subject.load(tiny_model, 1)

    async def meanwhile():
        loading = asyncio.create_task(subject.engine.load_weights(other_model, 2))
        groups = []
        while not loading.done():
            groups.append(asyncio.create_task(subject.engine.generate(request)))
            await asyncio.sleep(0.01)
        return await asyncio.gather(*groups)

    seen = set()
    for completion in (c for group in subject.call(meanwhile()) for c in group):
        seen.add((completion.version_min, completion.version_max))
        if completion.version_min == 2:
            expected = exact(other_model, prompt, completion.token_ids)
            assert mean_gap(completion.logprobs, expected) < subject.tolerance
    assert (2, 2) in seen


def test_an_abort_hands_back_what_was_sampled_and_the_counters_agree(subject, tiny_model, exact, prompt):
    subject.load(tiny_model, 1)
    before = subject.counters()
    # More completions than either engine runs at once.
    requests = [
        GenerationRequest(prompt, n=100, max_tokens=CONTEXT - len(prompt), temperature=2.0, seed=1000 * i)
        for i in range(4)
    ]

    async def abort():
        running = [asyncio.create_task(subject.engine.generate(request)) for request in requests]
        await subject.sampled(500)
        await subject.engine.abort_all()
        return await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 20)

    aborted = subject.call(abort())
    assert [type(outcome) for outcome in aborted] == [GenerationAborted] * 4
    assert [len(outcome.completions) for outcome in aborted] == [100] * 4
    assert subject.counters().since(before) == work(*((prompt, o.completions) for o in aborted))
    begun = [c for outcome in aborted for c in outcome.completions if c.token_ids]
    assert begun[0].token_ids
    expected = exact(tiny_model, prompt, begun[0].token_ids, temperature=2.0)
    assert mean_gap(begun[0].logprobs, expected) < subject.tolerance
    never_begun = [c for outcome in aborted for c in outcome.completions if not c.token_ids]
    assert never_begun
    assert {(c.version_min, c.version_max) for c in never_begun} == {(1, 1)}
    assert subject.generate(prompt, max_tokens=2)


def test_an_abort_reaches_a_request_that_was_only_just_sent(subject, tiny_model, prompt):
    subject.load(tiny_model, 1)

    async def abort():
        request = GenerationRequest(prompt, 2, CONTEXT - len(prompt), 2.0, seed=0)
        running = asyncio.create_task(subject.engine.generate(request))
        await asyncio.sleep(0)  # it has begun to send, no more
        await subject.engine.abort_all()
        with pytest.raises(GenerationAborted):
            await asyncio.wait_for(running, 20)

    subject.call(abort())


def test_a_load_that_is_refused_ends_what_runs_under_weights_that_are_now_unknown(
    vllm_subject, tiny_model, prompt, tmp_path
):
    subject = vllm_subject
    subject.load(tiny_model, 1)
    weights = load_file(tiny_model / "model.safetensors")
    save_file({**weights, "bogus.weight": torch.zeros(2)}, tmp_path / "weights.safetensors")

    async def refuse():
        request = GenerationRequest(prompt, 2, CONTEXT - len(prompt), 2.0, seed=0)
        running = asyncio.create_task(subject.engine.generate(request))
        await subject.sampled(4)
        with pytest.raises(EngineError, match="bogus"):
            await subject.engine.load_weights(tmp_path / "weights.safetensors", 2)
        with pytest.raises(GenerationAborted):
            await asyncio.wait_for(running, 20)

    subject.call(refuse())
    subject.load(tiny_model, 3)
    assert subject.generate(prompt, max_tokens=2)


def test_a_new_owner_ends_what_the_last_one_left_and_sets_a_paused_engine_going(
    vllm_subject, vllm_server, tiny_model, prompt
):
    subject = vllm_subject
    subject.load(tiny_model, 1)

    async def take_over():
        request = GenerationRequest(prompt, 2, CONTEXT - len(prompt), 2.0, seed=0)
        left = asyncio.create_task(subject.engine.generate(request))
        await subject.sampled(4)
        transport = httpx.AsyncHTTPTransport(uds=str(vllm_server.socket))
        async with httpx.AsyncClient(transport=transport) as client:  # a load that was cut short
            await client.post("http://engine/pause?mode=keep")
        owner = VllmEngine(vllm_server.socket, EngineSettings())
        await owner.attach()
        with pytest.raises(GenerationAborted):
            await asyncio.wait_for(left, 20)
        assert await owner.generate(GenerationRequest(prompt, 1, 2, 1.0, seed=0))
        await owner.close()

    subject.call(take_over())
