"""Low-rank adapters (LoRA, arXiv:2106.09685), put into a model in place by peft."""

import re
from collections.abc import Iterator

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import PreTrainedModel

from trainer.errors import ConfigError
from trainer.settings import LoraSettings

_ADAPTER = "default"


def add_adapters(model: PreTrainedModel, settings: LoraSettings) -> None:
    """Give the model adapters that change nothing yet, and freeze everything else.

    Raises:
        ConfigError: `lora.target_modules` names no module that can have one, or one whose weight is tied
            to another's: the merged weights could not be tied any more.
    """
    adapters = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type] # only ever divided by the rank
        target_modules=settings.target_modules,
    )
    shared: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        shared.setdefault(id(parameter), []).append(name)
    try:
        inject_adapter_in_model(adapters, model, _ADAPTER)
    except (ValueError, re.error) as error:
        raise ConfigError(
            f"lora.target_modules: {settings.target_modules!r} does not fit the model: {error}\n"
            "Give all-linear, or a regular expression that matches whole names of linear modules"
        ) from error
    adapted = _adapted(model)
    for names in shared.values():
        if len(names) > 1 and not adapted.keys().isdisjoint(names):
            raise ConfigError(
                f"lora.target_modules: {settings.target_modules!r} matches a weight that is shared: "
                f"{' and '.join(names)} are one tensor; leave it out"
            )


def merged(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Every weight by the name it has without adapters; where there is one, base + delta, made in float32 and
    rounded to `dtype`."""
    adapted = _adapted(model)
    for name, tensor in model.state_dict().items():
        if any(part in LoraLayer.adapter_layer_names for part in name.split(".")):
            continue
        plain = _plain(name)
        yield plain, (tensor + _delta(adapted[plain])).to(dtype) if plain in adapted else tensor


def _adapted(model: PreTrainedModel) -> dict[str, LoraLayer]:
    """The adapters, by the name of the weight that each belongs to."""
    return {
        # Of modules with several weights, such as experts, one names its own.
        f"{_plain(name)}.{getattr(module, 'parameter_name', 'weight')}": module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def _plain(name: str) -> str:
    return name.replace(".base_layer", "")


def _delta(layer: LoraLayer) -> Tensor:
    delta: Tensor = layer.get_delta_weight(_ADAPTER)  # type: ignore[attr-defined] # every kind of layer has it
    return delta
