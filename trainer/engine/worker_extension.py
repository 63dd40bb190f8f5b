"""Runs inside vLLM's worker: loads weights and says exactly what was loaded.

vLLM's own `reload_weights` only warns about parameters it did not find, and drops some tensors that the
model does not have without a word; so does its weight transfer. This extension (`vllm serve
--worker-extension-cls`) watches what the model is given, from a file that it reads or by vLLM's own transfer
between devices: it takes a checksum of every tensor, and returns the parameters that stayed unloaded and the
tensors that nothing was made of, so that the caller can refuse to go on.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors import safe_open
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

from trainer.engine.checksum import Checksums, weight_files

Weights = Iterable[tuple[str, torch.Tensor]]
_HEAD = "lm_head.weight"


class Report(TypedDict):
    """What became of the tensors that a model was given.

    Attributes:
        checksums: tensor name -> checksum as handed to the model.
        missing: parameters of the model that nothing, or not all of them, was loaded into.
        refused: tensor name -> why the model did not take it.
    """

    checksums: dict[str, str]
    missing: list[str]
    refused: dict[str, str]


class WeightLoading:
    """Mixed into the worker class by vLLM; `model_runner` is the worker's."""

    model_runner: Any
    _accepted: frozenset[frozenset[str]] = frozenset()
    """The tensor names of each load that was taken as a whole."""
    _observer: "_Observer | None" = None

    def load_policy_weights(self, path: str) -> Report:
        """Load a safetensors file, or a folder of them, into the running model."""
        parts = weight_files(Path(path))
        self.begin_policy_load(list(_names(parts)))
        try:
            self.model_runner.reload_weights(weights_iterator=_tensors(parts))
        except BaseException:
            self._end_observation()
            raise
        return self.end_policy_load()

    def begin_policy_load(self, names: list[str]) -> None:
        """Note what becomes of the tensors that the model is given from now on, whoever brings them.

        Args:
            names: of the tensors that will come.
        """
        self._end_observation()  # of a load that never came to its end
        model = self.model_runner.get_model()
        self._observer = _Observer(model, frozenset(names), one_by_one=frozenset(names) not in self._accepted)
        model.load_weights = self._observer.load

    def end_policy_load(self) -> Report:
        """What has become of the tensors since `begin_policy_load`."""
        observer = self._end_observation()
        if observer is None:
            raise RuntimeError("no load of weights has begun")
        model = self.model_runner.get_model()
        _refresh_heads(model)
        if self.model_runner.model_config.hf_text_config.tie_word_embeddings:
            observer.refused.pop(_HEAD, None)  # some checkpoints hold it although it is the embedding
        report = observer.report()
        if not report["refused"] and not report["missing"]:
            self._accepted |= {observer.names}
        return report

    def _end_observation(self) -> "_Observer | None":
        observer, self._observer = self._observer, None
        if observer is not None:
            del self.model_runner.get_model().load_weights
        return observer


class _Observer:
    """Takes the place of a model's `load_weights`.

    To see which tensor the model drops, they are handed over one by one, which takes half a second with 28
    layers: not again for names that were all taken before.
    """

    def __init__(self, model: torch.nn.Module, names: frozenset[str], *, one_by_one: bool) -> None:
        self.names = names
        self.refused: dict[str, str] = {}
        self._model = model
        load: Any = model.load_weights  # which torch's own modules do not have
        self._load: Callable[[Weights], set[str]] = load
        self._one_by_one = one_by_one
        self._lacking: dict[str, int] | None = None
        self._checksums = Checksums()
        self._loaded: set[str] = set()

    def load(self, weights: Weights) -> set[str]:
        """Load some of the tensors; returns the parameters they went to."""
        if not self._one_by_one:
            taken = self._load(self._with_checksums(weights))
        else:
            taken = self._load_one_by_one(weights)
        self._loaded |= taken
        return taken

    def _load_one_by_one(self, weights: Weights) -> set[str]:
        if self._lacking is None:  # not before a load: only then are all parameters as in a checkpoint
            self._lacking = _elements(self._model)
        taken = set()
        for name, tensor in self._with_checksums(weights):
            parameters = _taken(self._load, name, tensor, self.refused)
            for parameter in parameters:
                self._lacking[parameter] = self._lacking.get(parameter, 0) - tensor.numel()
            taken |= parameters
        return taken

    def report(self) -> Report:
        """Of all that was loaded; not before the load is over: until then some parameters are untied."""
        expected = {name for name, _ in self._model.named_parameters()}
        lacking = self._lacking or {}
        parts = {f"a part of {name}" for name in self._loaded if lacking.get(name, 0) > 0}
        never = {f"what {name} brings" for name in self.names if name not in self._checksums}
        missing = sorted((expected - self._loaded) | parts | never)
        return {"checksums": self._checksums.read(), "missing": missing, "refused": self.refused}

    def _with_checksums(self, weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in weights:
            self._checksums.add(name, tensor)
            yield name, tensor


def _elements(model: torch.nn.Module) -> dict[str, int]:
    """How many elements a checkpoint gives each parameter; vLLM makes one of several tensors, such as q, k
    and v. Embeddings, which have rows more than the vocabulary, are of one tensor and left out."""
    padded = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, VocabParallelEmbedding)
    }
    return {name: p.numel() for name, p in model.named_parameters() if name not in padded}


def _taken(
    load: Callable[[Weights], set[str]], name: str, tensor: torch.Tensor, refused: dict[str, str]
) -> set[str]:
    """Load a tensor: the parameters it went to; where there is none, why is noted in `refused`."""
    try:
        taken = load([(name, tensor)])
    except Exception as error:  # whatever the model raises, its caller is told
        refused[name] = f"{type(error).__name__}: {error}"
        return set()
    if not taken:
        refused[name] = "the model has no such tensor"
    return taken


def _refresh_heads(model: torch.nn.Module) -> None:
    """On CPU layers compute with packed copies of their weights. A head that is tied to the embedding
    is given no weights of its own, so vLLM 0.32 leaves its copy as it was: pack it again."""
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)


def _names(parts: list[Path]) -> Iterator[str]:
    for part in parts:
        with safe_open(part, framework="pt") as file:
            yield from file.keys()


def _tensors(parts: list[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    for part in parts:
        with safe_open(part, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                yield name, file.get_tensor(name)
