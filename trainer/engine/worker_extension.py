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
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

from trainer.engine.checksum import tensor_checksum, weight_files

Weights = Iterable[tuple[str, torch.Tensor]]


class WeightLoading:
    """Mixed into the worker class by vLLM; `model_runner` is the worker's."""

    model_runner: Any
    _accepted_names: frozenset[str] = frozenset()

    def load_policy_weights(self, path: str) -> dict[str, dict[str, str] | list[str]]:
        """Load a safetensors file, or a folder of them, into the running model.

        Returns:
            `checksums`: tensor name -> checksum as handed to the model; `missing`: parameters of
            the model that nothing was loaded into; `refused`: tensor name -> why the model did not take it.
        """
        parts = weight_files(Path(path))
        model = self.model_runner.get_model()
        checksums: dict[str, str] = {}
        refused: dict[str, str] = {}
        loaded: set[str] = set()
        original = model.load_weights
        # To see which tensor the model drops, they are handed over one by one, which takes half a second
        # with 28 layers: not again when all the names are known to be taken.
        known = self._accepted_names.issuperset(_names(parts))

        def observed(weights: Weights) -> set[str]:
            loaded.update(original(weights) if known else _one_by_one(original, weights, refused))
            return loaded

        model.load_weights = observed
        try:
            self.model_runner.reload_weights(weights_iterator=_checked(parts, checksums))
        finally:
            del model.load_weights
        _refresh_heads(model)
        if not refused:
            self._accepted_names |= checksums.keys()
        # Not before: a load that failed half-way leaves parameters untied until the next one.
        expected = {name for name, _ in model.named_parameters()}
        return {"checksums": checksums, "missing": sorted(expected - loaded), "refused": refused}


def _one_by_one(
    load: Callable[[Weights], set[str]], weights: Weights, refused: dict[str, str]
) -> Iterator[str]:
    """Load each tensor by itself: yields the parameters it went to, and notes in `refused` why to none."""
    for name, tensor in weights:
        try:
            taken = load([(name, tensor)])
        except Exception as error:  # whatever the model raises, its caller is told
            refused[name] = f"{type(error).__name__}: {error}"
            continue
        if not taken:
            refused[name] = "the model has no such tensor"
        yield from taken


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
