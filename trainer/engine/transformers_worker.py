"""The child process of the transformers engine: batches of whatever is waiting, token by token."""

import os
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from trainer.engine.checksum import tensor_checksum, weight_files
from trainer.engine.protocol import Completion, EngineCounters, GenerationRequest
from trainer.orphans import end_with_parent

_MAX_ROWS = 256  # completions in one batch


def serve(pipe: Connection, model: str, dtype: str, cores: tuple[int, ...], parent: int) -> None:
    """Answer calls until the pipe closes. Runs in the child."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to us too; the run decides
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(max(1, len(cores)))
    worker = _Worker(pipe, model, getattr(torch, dtype))
    try:
        while True:
            worker.receive(block=not worker.queue)
            if worker.queue:
                worker.run_batch()
    except EOFError:
        return  # the other side has closed the pipe


@dataclass
class _Row:
    """One completion being sampled."""

    request: GenerationRequest
    generator: torch.Generator
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False

    @property
    def finished(self) -> bool:
        return self.stopped or len(self.token_ids) >= self.request.max_tokens


class _Worker:
    def __init__(self, pipe: Connection, model: str, dtype: torch.dtype) -> None:
        self._pipe = pipe
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        loaded.eval()
        self._model = loaded.to(device)  # type: ignore[arg-type] # transformers annotates a decorator
        self._device = torch.device(device)
        self._end_tokens = _end_tokens(self._model, self._tokenizer)
        self._version = -1
        self._counters = EngineCounters()
        self._aborted = False
        self.queue: list[tuple[int, GenerationRequest]] = []

    def receive(self, block: bool) -> None:
        """Take every call that is waiting; when `block`, wait for one."""
        while block or self._pipe.poll():
            block = False
            number, method, arguments = self._pipe.recv()
            if method == "generate":
                self.queue.append((number, arguments[0]))
                continue
            try:
                self._pipe.send((number, getattr(self, f"call_{method}")(*arguments), None))
            except Exception as error:
                self._pipe.send((number, None, (True, f"{method}: {type(error).__name__}: {error}")))

    def call_ping(self) -> None:
        """Answer."""

    def call_counters(self) -> EngineCounters:
        """The work done so far."""
        return self._counters

    def call_abort_all(self) -> None:
        """Forget what waits; the running batch ends at its next token."""
        for number, _ in self.queue:
            self._pipe.send((number, None, (False, "aborted")))
        self.queue.clear()
        self._aborted = True

    def call_load_weights(self, path: str, version: int) -> dict[str, str]:
        """Load, and return the checksums of what was handed to the model."""
        tensors = {
            name: tensor for part in weight_files(Path(path)) for name, tensor in load_file(part).items()
        }
        checksums = {name: tensor_checksum(tensor) for name, tensor in tensors.items()}
        missing = set(self._model.load_state_dict(tensors, strict=False).missing_keys)
        if self._model.config.tie_word_embeddings:
            missing.discard("lm_head.weight")
        if missing:
            raise ValueError(f"{path} leaves parameters unloaded: {sorted(missing)}")
        self._version = version
        return checksums

    @torch.inference_mode()
    def run_batch(self) -> None:
        """Sample the oldest waiting requests together; each is answered when all its rows are done."""
        self._aborted = False
        calls = self._next_calls()
        rows = {number: _rows(request, self._device) for number, request in calls}
        try:
            self._sample([row for group in rows.values() for row in group], rows)
        except Exception as error:
            for number in rows:
                self._pipe.send((number, None, (False, f"{type(error).__name__}: {error}")))

    def _next_calls(self) -> list[tuple[int, GenerationRequest]]:
        count, taken = 0, 0
        for _, request in self.queue:
            if taken and count + request.n > _MAX_ROWS:
                break
            count += request.n
            taken += 1
        calls, self.queue = self.queue[:taken], self.queue[taken:]
        return calls

    def _sample(self, rows: list[_Row], unanswered: dict[int, list[_Row]]) -> None:
        input_ids, mask = self._prompts(rows)
        cache: Any = None
        while unanswered:
            output = self._model(
                input_ids=input_ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            input_ids = self._append(rows, output.logits[:, -1].float())
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=-1)
            for number in [n for n, group in unanswered.items() if all(row.finished for row in group)]:
                self._answer(number, unanswered.pop(number))
            self.receive(block=False)
            if self._aborted:
                for number in unanswered:
                    self._pipe.send((number, None, (False, "aborted")))
                return

    def _append(self, rows: list[_Row], logits: torch.Tensor) -> torch.Tensor:
        """Sample one token for every row that is not finished; returns the next input [rows, 1]."""
        temperatures = torch.tensor([[row.request.temperature or 1.0] for row in rows], device=self._device)
        logprobs = (logits / temperatures).log_softmax(-1)
        following = logprobs.argmax(-1)
        for i, row in enumerate(rows):
            if row.finished:
                continue
            if row.request.temperature > 0:
                following[i] = torch.multinomial(logprobs[i].exp(), 1, generator=row.generator)
            token = int(following[i])
            row.token_ids.append(token)
            row.logprobs.append(float(logprobs[i, token]))
            row.stopped = token in self._end_tokens or self._matches_stop(row)
        return following[:, None]

    def _matches_stop(self, row: _Row) -> bool:
        if not row.request.stop:
            return False
        text = self._tokenizer.decode(row.token_ids, skip_special_tokens=True)
        return any(stop in text for stop in row.request.stop)

    def _prompts(self, rows: list[_Row]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(len(row.request.token_ids) for row in rows)
        input_ids = torch.zeros((len(rows), length), dtype=torch.long)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for i, row in enumerate(rows):
            prompt = torch.tensor(row.request.token_ids)
            input_ids[i, length - len(prompt) :] = prompt
            mask[i, length - len(prompt) :] = 1
        return input_ids.to(self._device), mask.to(self._device)

    def _answer(self, number: int, rows: list[_Row]) -> None:
        completions = [
            Completion(row.token_ids, row.logprobs, not row.stopped, self._version, self._version)
            for row in rows
        ]
        self._counters = self._counters.plus(len(rows[0].request.token_ids), completions)
        self._pipe.send((number, completions, None))


def _rows(request: GenerationRequest, device: torch.device) -> list[_Row]:
    return [
        _Row(request, torch.Generator(device=device).manual_seed(request.seed + i)) for i in range(request.n)
    ]


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    found: set[int] = set()
    for source in (model.generation_config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
    return found
