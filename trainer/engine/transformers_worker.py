"""The child process of the transformers engine: one batch after another of what is waiting.

Calls are looked at between any two tokens, so that a load of weights or an abort meets a batch half-way.
"""

import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.core_model_loading import revert_weight_conversion

from trainer.attention import attention
from trainer.engine.checksum import checksums, weight_files
from trainer.engine.limits import require_room
from trainer.engine.protocol import (
    UNKNOWN_VERSION,
    Completion,
    EngineCounters,
    GenerationAborted,
    GenerationError,
    GenerationRequest,
)
from trainer.engine.transformers_batch import Batch, Row, new_rows
from trainer.errors import EngineError
from trainer.orphans import end_with_parent
from trainer.settings import EngineSettings

_MAX_ROWS = 256  # completions in one batch


def serve(
    pipe: Connection, model: str, settings: EngineSettings, cores: tuple[int, ...], parent: int
) -> None:
    """Answer calls until the pipe closes. Runs in the child."""
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to us too; the run decides
    if cores:
        torch.set_num_threads(len(cores))
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
    worker = _Worker(pipe, model, settings)
    try:
        while True:
            worker.receive()
            worker.advance()
    except EOFError:
        return  # the other side has closed the pipe


@dataclass
class _Group:
    """A call of `generate` that is being served."""

    call: int
    request: GenerationRequest
    rows: list[Row]

    def completions(self, version: int) -> list[Completion]:
        return [row.completion(version) for row in self.rows]


class _Worker:
    def __init__(self, pipe: Connection, model: str, settings: EngineSettings) -> None:
        self._pipe = pipe
        self._settings = settings
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=getattr(torch, settings.dtype),
            attn_implementation=attention(AutoConfig.from_pretrained(model), self._device.type),
        )
        loaded.eval()
        self._model = loaded.to(self._device)  # type: ignore[arg-type] # transformers annotates a decorator
        self._version = UNKNOWN_VERSION
        self._answered = EngineCounters()
        self._queue: list[tuple[int, GenerationRequest]] = []
        self._groups: list[_Group] = []
        self._batch: Batch | None = None

    def receive(self) -> None:
        """Take every call that is waiting; when there is nothing else to do, wait for one."""
        while self._pipe.poll(0 if self._groups or self._queue else None):
            call, method, arguments = self._pipe.recv()
            try:
                if method == "generate":
                    self._enqueue(call, *arguments)
                else:
                    self._pipe.send((call, getattr(self, f"call_{method}")(*arguments)))
            except (GenerationError, EngineError) as error:
                self._pipe.send((call, error))
            except Exception as error:
                self._pipe.send((call, EngineError(f"{method}: {type(error).__name__}: {error}")))

    @torch.inference_mode()
    def advance(self) -> None:
        """Sample one token for every row of the batch; a group is answered when all its rows are done."""
        try:
            if not self._groups:
                self._groups = self._next_groups()
            if self._batch is None:
                rows = [row for group in self._groups for row in group.rows if not row.finished]
                self._batch = Batch(self._model, self._tokenizer, rows)
            self._batch.sample(self._version)
        except Exception as error:
            for group in self._groups:
                self._pipe.send((group.call, GenerationError(f"{type(error).__name__}: {error}")))
            self._groups, self._batch = [], None
        for group in [group for group in self._groups if all(row.finished for row in group.rows)]:
            self._groups.remove(group)
            completions = group.completions(self._version)
            self._answered = self._answered.plus(len(group.request.token_ids), completions)
            self._pipe.send((group.call, completions))
        if not self._groups:
            self._batch = None

    def call_ping(self) -> None:
        """Answer."""

    def call_counters(self) -> EngineCounters:
        """The work done so far, that on unfinished groups included."""
        counters = self._answered
        for group in self._groups:
            counters = counters.plus(len(group.request.token_ids), group.completions(self._version))
        return counters

    def call_abort_all(self) -> None:
        """End the batch and forget what waits; every group is answered with what was sampled of it."""
        self._answered = self.call_counters()
        waiting = [_Group(call, request, new_rows(request, self._device)) for call, request in self._queue]
        for group in [*self._groups, *waiting]:
            self._pipe.send((group.call, GenerationAborted(group.completions(self._version))))
        self._queue, self._groups, self._batch = [], [], None

    def call_load_weights(self, path: str, version: int) -> dict[str, str]:
        """Load, and return the checksums of what was handed to the model; a file that is refused changes
        nothing. The batch goes on with a cache of the new weights."""
        tensors = {
            name: tensor for part in weight_files(Path(path)) for name, tensor in load_file(part).items()
        }
        self._require_fit(path, tensors)
        handed_over = checksums(tensors)
        self._load(tensors)
        self._version = version
        self._batch = None
        return handed_over

    def _load(self, tensors: dict[str, torch.Tensor]) -> None:
        if tensors.keys() <= self._model.state_dict().keys():
            self._model.load_state_dict(tensors, strict=False)
            return
        # In memory transformers joins some weights, such as those of experts, that checkpoints keep apart.
        loaded: PreTrainedModel = type(self._model).from_pretrained(
            None,
            config=self._model.config,
            state_dict=tensors,
            dtype=self._model.dtype,
            attn_implementation=attention(self._model.config, self._device.type),
        )
        loaded.generation_config = self._model.generation_config  # some end tokens are named only there
        self._model = loaded.to(self._device)  # type: ignore[arg-type] # as above

    def _require_fit(self, path: str, tensors: dict[str, torch.Tensor]) -> None:
        in_checkpoint = revert_weight_conversion(self._model, dict(self._model.state_dict()))
        expected = {name: tensor.shape for name, tensor in in_checkpoint.items()}
        missing = expected.keys() - tensors.keys()
        if self._model.config.tie_word_embeddings:
            missing.discard("lm_head.weight")
        if missing:
            raise EngineError(f"{path} leaves parameters of the engine unloaded: {sorted(missing)}")
        if unexpected := tensors.keys() - expected.keys():
            raise EngineError(f"{path} holds tensors that the engine's model has not: {sorted(unexpected)}")
        if wrong := [name for name, tensor in tensors.items() if tensor.shape != expected[name]]:
            raise EngineError(f"{path} holds tensors of another shape than the engine's model's: {wrong}")

    def _enqueue(self, call: int, request: GenerationRequest) -> None:
        require_room(request, self._settings.max_model_len)
        self._queue.append((call, request))

    def _next_groups(self) -> list[_Group]:
        count, taken = 0, 0
        for _, request in self._queue:
            if taken and (self._settings.deterministic or count + request.n > _MAX_ROWS):
                break
            count += request.n
            taken += 1
        calls, self._queue = self._queue[:taken], self._queue[taken:]
        return [_Group(call, request, new_rows(request, self._device)) for call, request in calls]
