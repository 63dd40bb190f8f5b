"""Runs inside vLLM's worker: loads weights and says exactly what was loaded.

vLLM's own `reload_weights` only warns about parameters it did not find, and drops some tensors that the
model does not have without a word. This extension (`vllm serve --worker-extension-cls`) reads the file
itself, takes a checksum of every tensor as it is handed to the model, and returns the parameters that
stayed unloaded and the tensors that nothing was made of, so that the caller can refuse to go on.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding

from trainer.engine.checksum import tensor_checksum, weight_files

Weights = Iterable[tuple[str, torch.Tensor]]
_HEAD = "lm_head.weight"


class WeightLoading:
    """Mixed into the worker class by vLLM; `model_runner` is the worker's."""

    model_runner: Any
    _accepted: frozenset[frozenset[str]] = frozenset()
    """The tensor names of each file that was taken as a whole."""

    def load_policy_weights(self, path: str) -> dict[str, dict[str, str] | list[str]]:
        """Load a safetensors file, or a folder of them, into the running model.

        Returns:
            `checksums`: tensor name -> checksum as handed to the model; `missing`: parameters of
            the model that nothing, or not all of them, was loaded into; `refused`: tensor name -> why the
            model did not take it.
        """
        parts = weight_files(Path(path))
        names = frozenset(_names(parts))
        model = self.model_runner.get_model()
        checksums: dict[str, str] = {}
        refused: dict[str, str] = {}
        loaded: set[str] = set()
        incomplete: set[str] = set()
        original = model.load_weights

        def observed(weights: Weights) -> set[str]:
            # To see which tensor the model drops, they are handed over one by one, which takes half a second
            # with 28 layers: not again for names that were all taken before.
            if names in self._accepted:
                loaded.update(original(weights))
                return loaded
            lacking = _elements(model)
            for name, tensor in weights:
                for parameter in _taken(original, name, tensor, refused):
                    loaded.add(parameter)
                    lacking[parameter] = lacking.get(parameter, 0) - tensor.numel()
            incomplete.update(p for p in loaded if lacking[p] > 0)
            return loaded

        model.load_weights = observed
        try:
            self.model_runner.reload_weights(weights_iterator=_checked(parts, checksums))
        finally:
            del model.load_weights
        _refresh_heads(model)
        if self.model_runner.model_config.hf_text_config.tie_word_embeddings:
            refused.pop(_HEAD, None)  # some checkpoints hold it although it is the embedding
        # Not before: a load that failed half-way leaves parameters untied until the next one.
        expected = {name for name, _ in model.named_parameters()}
        missing = sorted((expected - loaded) | {f"a part of {name}" for name in incomplete})
        if not refused and not missing:
            self._accepted |= {names}
        return {"checksums": checksums, "missing": missing, "refused": refused}


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


def _checked(parts: list[Path], checksums: dict[str, str]) -> Iterator[tuple[str, torch.Tensor]]:
    for part in parts:
        with safe_open(part, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
                tensor = file.get_tensor(name)
                checksums[name] = tensor_checksum(tensor)
                yield name, tensor
