"""Sampling a batch of completions token by token with a transformers model."""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.engine.protocol import Completion, GenerationRequest


@dataclass
class Row:
    """One completion being sampled.

    Attributes:
        versions: policy version that sampled the first token, and the last.
    """

    request: GenerationRequest
    generator: torch.Generator
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: tuple[int, int] | None = None
    stopped: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be sampled."""
        return self.stopped or len(self.token_ids) >= self.request.max_tokens

    def append(self, token: int, logprob: float, version: int) -> None:
        """Note a sampled token."""
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        self.versions = (self.versions[0] if self.versions else version, version)

    def completion(self, version: int) -> Completion:
        """As far as it came; `version` is the engine's now, for a row without a token."""
        first, last = self.versions or (version, version)
        truncated = self.finished and not self.stopped
        return Completion(list(self.token_ids), list(self.logprobs), truncated, first, last)


def new_rows(request: GenerationRequest, device: torch.device) -> list[Row]:
    """A row for each completion of a request, each with a seeded generator of its own."""
    return [
        Row(request, torch.Generator(device=device).manual_seed(request.seed + i)) for i in range(request.n)
    ]


class Batch:
    """Rows that are sampled together, left-padded, with a KV cache.

    The cache starts empty and is filled from the full sequences, so a new `Batch` of the same rows is how
    sampling goes on under other weights. Rows that are finished on the way stay in the batch and are ignored.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        rows: at least one, none of them finished.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[Row]) -> None:
        self.rows = rows
        self._model = model
        self._tokenizer = tokenizer
        self._end_tokens = _end_tokens(model, tokenizer)
        self._input_ids, self._mask = _padded(
            [[*row.request.token_ids, *row.token_ids] for row in rows], model.device
        )
        self._cache: Any = None

    def sample(self, version: int) -> None:
        """Append one token, sampled by policy `version`, to every row that is not finished."""
        output = self._model(
            input_ids=self._input_ids,
            attention_mask=self._mask,
            position_ids=(self._mask.cumsum(-1) - 1).clamp(min=0)[:, -self._input_ids.shape[1] :],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        self._input_ids = self._append(output.logits[:, -1].float(), version)
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(self.rows), 1))], dim=-1)

    def _append(self, logits: torch.Tensor, version: int) -> torch.Tensor:
        """Sample from logits [rows, vocabulary]; returns the next input [rows, 1]."""
        temperatures = torch.tensor(
            [[row.request.temperature or 1.0] for row in self.rows], device=logits.device
        )
        logprobs = (logits / temperatures).log_softmax(-1)
        following = logprobs.argmax(-1)
        for i, row in enumerate(self.rows):
            if row.finished:
                continue
            if row.request.temperature > 0:
                following[i] = torch.multinomial(logprobs[i].exp(), 1, generator=row.generator)
            token = int(following[i])
            row.append(token, float(logprobs[i, token]), version)
            row.stopped = token in self._end_tokens or self._matches_stop(row)
        return following[:, None]

    def _matches_stop(self, row: Row) -> bool:
        if not row.request.stop:
            return False
        text = self._tokenizer.decode(row.token_ids, skip_special_tokens=True)
        return any(stop in text for stop in row.request.stop)


def _padded(sequences: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Left-padded token ids [rows, longest] and their attention mask."""
    length = max(map(len, sequences))
    input_ids = torch.zeros((len(sequences), length), dtype=torch.long)
    mask = torch.zeros((len(sequences), length), dtype=torch.long)
    for i, sequence in enumerate(sequences):
        input_ids[i, length - len(sequence) :] = torch.tensor(sequence)
        mask[i, length - len(sequence) :] = 1
    return input_ids.to(device), mask.to(device)


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    found: set[int] = set()
    for source in (model.generation_config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return found
