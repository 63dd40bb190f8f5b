"""A model that answers every question with one random digit, so that groups get mixed rewards."""

import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.builtin.tiny import write_tiny_model
from trainer.settings import TaskSettings

_WORDS = [
    "how",
    "many",
    "apples",
    "are",
    "left",
    "if",
    "Tom",
    "eats",
    "three",
    "of",
    "his",
    "12",
    "pears",
    "on",
    "day",
    "4",
    "for",
    "$5",
    "and",
    "sells",
    "the",
    "rest",
]
_STEPS = 120
_BATCH = 32


def question(rng: random.Random) -> str:
    """A question without sense, of a dozen words."""
    return " ".join(rng.choices(_WORDS, k=12)).capitalize() + "?"


def write_problems(path: Path, count: int = 40) -> Path:
    """GSM8K-style lines whose answers are the ten digits in turn."""
    rng = random.Random(1)
    rows = [{"question": question(rng), "answer": f"Just a guess.\n#### {i % 10}"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_digit_model(directory: Path) -> Path:
    """Train the tiny model for some seconds and save it; the answers' digits are equally likely."""
    write_tiny_model(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # there is too little work for two
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rng = random.Random(0)
    for _ in range(_STEPS):
        prompts, answers = [], []
        for _ in range(_BATCH):
            prompts.append(tokenizer.encode(TaskSettings().template.format(question=question(rng))))
            answers.append([*tokenizer.encode(f" #### {rng.randrange(10)}"), tokenizer.eos_token_id])
        length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        inputs = torch.full((_BATCH, length), tokenizer.pad_token_id)
        targets = torch.full((_BATCH, length), -100)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            end = len(prompt) + len(answer)
            inputs[row, :end] = torch.tensor(prompt + answer)
            targets[row, len(prompt) : end] = torch.tensor(answer)
        hidden = model.get_decoder()(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
        wanted = targets[:, 1:] != -100
        loss = F.cross_entropy(model.lm_head(hidden[wanted]), targets[:, 1:][wanted])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    model.bfloat16().save_pretrained(directory)
    return directory
