"""Synchronous GRPO, as plainly as it can be written: sample, score, one AdamW step, and so on.

Shares no code with the trainer but the engine that samples. Every completion is a forward pass of its own
without padding, its logprobs come from the model's full logits, and a KL penalty to the base model gives the
loss a value: without it, on policy, the advantages of a group add up to 0.
"""

import asyncio
import hashlib
import json
import random
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.engine.protocol import GenerationRequest


@dataclass
class Step:
    """What one step did: the questions it trained on in order, their completions, and the loss."""

    indices: list
    completions: list
    loss: float
    grad_norm: float


def train(
    model_path, problems, make_engine, directory, *, steps, prompts, completions, lr, beta, seed, max_tokens
):
    """The steps, and the weights after them."""
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    reference = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.float32, attn_implementation="eager"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
    rows = [json.loads(line) for line in problems.read_text().splitlines()]
    order = _shuffled(len(rows), seed)
    engine = make_engine()
    done = []

    async def run():
        await engine.attach()
        try:
            for version in range(steps):
                path = directory / "weights.safetensors"
                save_file({n: p.detach() for n, p in model.named_parameters()}, path)
                await engine.load_weights(path, version)
                groups = []
                while len(groups) < prompts:
                    index, epoch = next(order)
                    group = await _sample(engine, tokenizer, rows[index], index, epoch)
                    if len(set(group[3])) > 1:
                        groups.append(group)
                done.append(_update(model, reference, optimizer, groups, beta))
        finally:
            await engine.close()

    async def _sample(engine, tokenizer, row, index, epoch):
        prompt = tokenizer.encode(f"Q: {row['question']}\nA:")
        digest = hashlib.sha256(f"{seed}/gsm8k-{index}/{epoch}".encode()).digest()
        request = GenerationRequest(
            token_ids=prompt,
            n=completions,
            max_tokens=max_tokens,
            temperature=1.0,
            seed=int.from_bytes(digest[:8]) >> 2,
            stop=("Q:", "\n\n\n"),
        )
        answers = [completion.token_ids for completion in await engine.generate(request)]
        wanted = row["answer"].rpartition("#### ")[2]
        texts = [tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
        rewards = [float(text.rpartition("#### ")[2].strip() == wanted) for text in texts]
        return index, prompt, answers, rewards

    asyncio.run(run())
    return done, dict(model.named_parameters())


def _logprobs(model, prompt, answer):
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(answer)), answer]


def _update(model, reference, optimizer, groups, beta):
    optimizer.zero_grad()
    count = sum(len(answers) for _, _, answers, _ in groups)
    total = 0.0
    for _, prompt, answers, rewards in groups:
        mean, deviation = fmean(rewards), pstdev(rewards)
        for answer, reward in zip(answers, rewards, strict=True):
            advantage = (reward - mean) / (deviation + 1e-4)
            logprobs = _logprobs(model, prompt, answer)
            with torch.no_grad():
                apart = _logprobs(reference, prompt, answer)
            apart = apart - logprobs
            # On policy: the ratio is 1, so clipping decides nothing.
            terms = -(logprobs - logprobs.detach()).exp() * advantage + beta * (apart.exp() - 1 - apart)
            loss = terms.mean() / count
            loss.backward()
            total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return Step([group[0] for group in groups], [group[2] for group in groups], total, float(norm))


def _shuffled(count, seed):
    epoch = 0
    while True:
        order = list(range(count))
        random.Random(f"{seed}-{epoch}").shuffle(order)
        for index in order:
            yield index, epoch
        epoch += 1
