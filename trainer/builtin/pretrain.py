"""Make the built-in model: two stages of supervised training on generated problems, on two CPU cores.

Stage 1 teaches worked answers. Stage 2 teaches that about half of all answers are terse (`#### N` and
nothing before it), a share that differs from template to template. The model then often blurts out a wrong
number although it could have worked the problem out, which is what GRPO undoes. A model that was merely
trained too little would leave GRPO far less to find.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from trainer.builtin.accuracy import Greedy, Solver
from trainer.builtin.problems import SEPARATOR, TEMPLATE_NAMES, Problem, generate
from trainer.builtin.tokenizer import CONTEXT_LENGTH, VOCAB_SIZE, train_tokenizer

logger = logging.getLogger(__name__)

TERSE_SHARES = (0.12, 0.80)
"""The smallest and the largest share of terse answers; the templates are spread evenly between them."""

_THREADS = 2
_TOKENIZER_PROBLEMS = 10_000
_BATCH_PROBLEMS = 64
_FEW_SHOT_BATCHES = 0.25
_FEW_SHOT_PROBLEMS = (3, 9)
_QUESTION_WEIGHT = 0.2
_WARMUP = 0.03
_REPORT_EVERY = 50
# Batches whose problems are sorted by length together, so that a batch needs little padding.
_SORTED_BATCHES = 16
_IGNORED = -100


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str
    steps: int
    lr: float
    terse_shares: tuple[float, float]


WORKED = Stage("worked", steps=1000, lr=4e-3, terse_shares=(0.0, 0.0))
MIXED = Stage("mixed", steps=300, lr=2e-3, terse_shares=TERSE_SHARES)


def model_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    """The built-in model's architecture: 853,376 parameters."""
    return Qwen3Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # vLLM's CPU build wants a multiple of 32
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def pretrain(out: Path, seed: int, first_stage: Path | None = None) -> Greedy:
    """Train the model in both stages and save it with its tokenizer, in bfloat16.

    `first_stage` names a folder for that stage's model: taken from there if it exists, kept there if not.
    Returns the first stage's accuracy, about the most that GRPO can bring back.
    """
    torch.set_num_threads(_THREADS)
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(problem.document for problem in generate("train", _TOKENIZER_PROBLEMS, seed))
    # Flash attention's backward pass takes two thirds of a step on CPU; plain matrix products do not.
    if first_stage is not None and first_stage.exists():
        logger.info("%s: taken from %s", WORKED.name, first_stage)
        model = Qwen3ForCausalLM.from_pretrained(first_stage, attn_implementation="eager")
    else:
        config = model_config(tokenizer)
        config._attn_implementation = "eager"
        model = Qwen3ForCausalLM(config)
        train(model, tokenizer, WORKED, seed)
        if first_stage is not None:
            model.save_pretrained(first_stage)
    ceiling = Solver(model, tokenizer).greedy(problems=500, shots=0)
    logger.info("%s: %.1f %% of held-out problems", WORKED.name, 100 * ceiling.accuracy)
    train(model, tokenizer, MIXED, seed)
    model.bfloat16().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return ceiling


def train(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, stage: Stage, seed: int) -> None:
    """Train the model in place for one stage."""
    optimizers, schedulers = _optimizers(model, stage)
    model.train()
    started, tokens, losses = time.monotonic(), 0, []
    for step, (inputs, targets, weights) in enumerate(batches(tokenizer, stage, seed), start=1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=inputs, use_cache=False).logits
        token_losses = F.cross_entropy(
            logits.float().flatten(0, 1), targets.flatten(), ignore_index=_IGNORED, reduction="none"
        )
        loss = (token_losses * weights.flatten()).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
        tokens += int((targets != _IGNORED).sum())
        losses.append(loss.item())
        if step % _REPORT_EVERY == 0 or step == stage.steps:
            elapsed = time.monotonic() - started
            logger.info(
                "%s: step %d/%d  loss %.4f  %.0f tokens/s  %.1f M tokens  %.0f s left",
                stage.name,
                step,
                stage.steps,
                sum(losses) / len(losses),
                tokens / elapsed,
                tokens / 1e6,
                elapsed / step * (stage.steps - step),
            )
            losses.clear()
    model.train(False)


def _optimizers(
    model: Qwen3ForCausalLM, stage: Stage
) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LambdaLR]]:
    """Muon for the hidden matrices, AdamW for embeddings and norms; both warm up and then decay to zero."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(hidden, lr=stage.lr, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=stage.lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    warmup = max(1, round(_WARMUP * stage.steps))

    def factor(step: int) -> float:
        return min((step + 1) / warmup, (stage.steps - step) / (stage.steps - warmup))

    return optimizers, [torch.optim.lr_scheduler.LambdaLR(each, factor) for each in optimizers]


# One training document: its tokens, what each of them should be followed by, and how much that counts.
_Document = tuple[list[int], list[int], list[float]]


def batches(
    tokenizer: PreTrainedTokenizerFast, stage: Stage, seed: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The stage's batches of padded inputs, targets and weights. Every problem is used once."""
    # A stage's data depends on its name and the seed alone, so stage 2 alone repeats what both would give.
    rng = random.Random(f"{stage.name}:{seed}")
    problems = iter(generate("train", stage.steps * _BATCH_PROBLEMS, rng.randrange(2**32)))
    terse = _terse_lottery(stage, rng)
    steps_left = stage.steps
    while steps_left:
        count = min(_SORTED_BATCHES, steps_left)
        few_shot = _BATCH_PROBLEMS * sum(rng.random() < _FEW_SHOT_BATCHES for _ in range(count))
        drawn = [next(problems) for _ in range(count * _BATCH_PROBLEMS)]
        # By the length with all steps, terse or not: batches of terse answers alone would have few tokens,
        # each would count for more, and the model would become far terser than its documents.
        drawn[few_shot:] = sorted(drawn[few_shot:], key=lambda problem: len(problem.document))
        encoded = _encode(tokenizer, drawn, terse)
        batched = [
            encoded[start : start + _BATCH_PROBLEMS] for start in range(0, len(encoded), _BATCH_PROBLEMS)
        ]
        for index in range(few_shot // _BATCH_PROBLEMS):
            batched[index] = _join(tokenizer, batched[index], rng.randint(*_FEW_SHOT_PROBLEMS))
        rng.shuffle(batched)
        yield from (_pad(tokenizer, batch) for batch in batched)
        steps_left -= count


def _terse_lottery(stage: Stage, rng: random.Random) -> Callable[[Problem], bool]:
    """Decides whether a problem's answer is to be terse, by its template's share."""
    low, high = stage.terse_shares
    shares = {
        name: low + (high - low) * index / (len(TEMPLATE_NAMES) - 1)
        for index, name in enumerate(TEMPLATE_NAMES)
    }
    return lambda problem: rng.random() < shares[problem.template]


def _encode(
    tokenizer: PreTrainedTokenizerFast, problems: list[Problem], terse: Callable[[Problem], bool]
) -> list[_Document]:
    """The documents of single problems: questions count little, answers fully."""
    eos = tokenizer.eos_token_id
    prompts = tokenizer([problem.prompt for problem in problems]).input_ids
    answers = tokenizer(
        [f" {problem.terse_answer if terse(problem) else problem.answer}" for problem in problems]
    ).input_ids
    return [
        (
            [*prompt, *answer],
            [*prompt[1:], *answer, eos],
            [_QUESTION_WEIGHT] * (len(prompt) - 1) + [1.0] * (len(answer) + 1),
        )
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _join(tokenizer: PreTrainedTokenizerFast, documents: list[_Document], size: int) -> list[_Document]:
    """Few-shot documents of `size` problems each; what is left over makes a shorter one.

    An answer's last token still has end-of-text for its target, though a separator follows it: otherwise
    the model, asked a single question, would go on to invent further ones.
    """
    separator = tokenizer(SEPARATOR).input_ids
    first_tokens = tokenizer("Question").input_ids
    joined: list[_Document] = []
    for start in range(0, len(documents), size):
        first = documents[start]
        inputs, targets, weights = first[0].copy(), first[1].copy(), first[2].copy()
        for next_inputs, next_targets, next_weights in documents[start + 1 : start + size]:
            inputs += separator + next_inputs
            targets += separator[1:] + first_tokens[:1] + next_targets
            weights += [_QUESTION_WEIGHT] * len(separator) + next_weights
        joined.append((inputs, targets, weights))
    return joined


def _pad(tokenizer: PreTrainedTokenizerFast, documents: list[_Document]) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of documents padded on the right, where causal attention needs no mask."""
    width = max(len(inputs) for inputs, _, _ in documents)
    pads = [width - len(inputs) for inputs, _, _ in documents]
    rows = list(zip(documents, pads, strict=True))
    return (
        torch.tensor([inputs + [tokenizer.pad_token_id] * pad for (inputs, _, _), pad in rows]),
        torch.tensor([targets + [_IGNORED] * pad for (_, targets, _), pad in rows]),
        torch.tensor([weights + [0.0] * pad for (_, _, weights), pad in rows]),
    )
