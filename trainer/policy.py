"""The policy's model: loading it, what of it is trained, and its weights as others know them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_layers import GradientCheckpointingLayer

from trainer.attention import attention
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.lora import add_adapters, merged
from trainer.models import model_path
from trainer.out_of_memory import is_out_of_memory

CPU = torch.device("cpu")
_LEAST_PERTURBATION = 1e-3
_NAMES_SHOWN = 5


class Policy:
    """A causal language model in float32, without dropout.

    Args:
        config: the run's configuration.
        device: where it lies.

    Raises:
        ConfigError: there is no such device, or the model cannot be loaded or not be trained as configured.

    Attributes:
        tokenizer: the model's.
        model: the model, with adapters in it where `lora.rank` is above 0.
        trainable: the parameters that are trained, by their name in `model`.
    """

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        _require(device)
        self.tokenizer, self.model = _load(config.model, device)
        if config.lora.rank:
            add_adapters(self.model, config.lora)
        if config.learner.gradient_checkpointing is True:  # `auto` is settled by device_fit
            _recompute_activations(self.model)
        self.trainable = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        # In memory transformers joins some weights, such as those of experts, that checkpoints keep apart.
        # Whether it does so here comes out at the first conversion, which takes 10 ms with 28 layers.
        self._joined = True

    def copy(self) -> dict[str, Tensor]:
        """What is trained, as it is now."""
        return {name: parameter.detach().clone() for name, parameter in self.trainable.items()}

    @contextmanager
    def using(self, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Inside, the model computes with these in place of what is trained. Not inside autocast, which
        would go on with the casts it made of the others."""
        kept = {name: parameter.data for name, parameter in self.trainable.items()}
        for name, parameter in self.trainable.items():
            parameter.data = weights[name]
        try:
            yield
        finally:
            for name, parameter in self.trainable.items():
                parameter.data = kept[name]

    @contextmanager
    def perturbed(self) -> Iterator[None]:
        """Other weights inside: every tensor moved by noise of a third of its mean magnitude."""
        generator = torch.Generator(self.model.device).manual_seed(0)
        # In the machine's memory: on a GPU they would be what decides whether a run fits.
        kept = [parameter.detach().to(CPU, copy=True) for parameter in self.model.parameters()]
        try:
            with torch.no_grad():
                for parameter in self.model.parameters():
                    noise = torch.randn(parameter.shape, generator=generator, device=parameter.device)
                    parameter.add_(noise * (parameter.abs().mean() / 3).clamp_min(_LEAST_PERTURBATION))
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.model.parameters(), kept, strict=True):
                    parameter.copy_(value)

    @torch.no_grad()
    def weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Every weight by its name in the model's own checkpoint; tied ones once.

        What the model holds as its checkpoint does is no copy: float32, and other values after the next
        step. What has to be made, such as the sum of base and adapter, is of `dtype`, to take less memory.
        """
        state = dict(merged(self.model, dtype))
        for name, source in self.model.all_tied_weights_keys.items():
            if name in state and source in state and state[name].data_ptr() == state[source].data_ptr():
                del state[name]
        if self._joined:
            converted = dict(revert_weight_conversion(self.model, state))
            self._joined = any(converted.get(name) is not tensor for name, tensor in state.items())
            return converted
        return state


def dtype_in(dtype: torch.dtype, weight: Tensor) -> torch.dtype:
    """Of a weight in a model of this type: counters and the like keep their own."""
    return dtype if weight.is_floating_point() else weight.dtype


def _require(device: torch.device) -> None:
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        found = f"{count} CUDA device{'' if count == 1 else 's'}" if count else "no CUDA device"
        raise ConfigError(
            f"resources.device is {device}, but torch finds {found} here; give "
            f"{f'cuda:0 to cuda:{count - 1}' if count > 1 else 'cuda:0' if count else 'cpu'}, or see that "
            "the driver, CUDA_VISIBLE_DEVICES and the installed torch are right"
        )


def _load(model: str, device: torch.device) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    path = model_path(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        loaded, info = cast(
            tuple[PreTrainedModel, dict[str, Any]],
            AutoModelForCausalLM.from_pretrained(
                path,
                dtype=torch.float32,
                attn_implementation=attention(AutoConfig.from_pretrained(path), device.type),
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            ),
        )
    # Whatever may be wrong with a model's files has an exception of its own.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"model {model!r} could not be loaded: {type(error).__name__}: {error}\nGive a local folder in "
            "Hugging Face format, or a name that the hub or its local cache holds"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise ConfigError(
            f"model {model!r} has no weights for {_some(missing)}; they would be random. "
            "Check that its folder holds all of a causal language model"
        )
    if info["mismatched_keys"]:
        wrong = [
            f"{name} {list(found)} where config.json means {list(meant)}"
            for name, found, meant in sorted(info["mismatched_keys"])
        ]
        raise ConfigError(
            f"model {model!r} has weights of other shapes than its config.json says: {_some(wrong)}. "
            "Check that both come from the same model"
        )
    return tokenizer, loaded.to(device)  # type: ignore[arg-type] # transformers annotates a decorator


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _recompute_activations(model: PreTrainedModel) -> None:
    """Gradient checkpointing, which transformers does only for layers in training mode.

    Everything else stays in evaluation mode, so that dropout stays off; what a layer drops by itself is set
    to 0. The model's configuration, which checkpoints are saved with, keeps its values.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers or not model.supports_gradient_checkpointing:
        raise ConfigError(
            f"{type(model).__name__} does not support learner.gradient_checkpointing: true; set it to false"
        )
    model.gradient_checkpointing_enable()
    for layer in layers:
        layer.training = True
        for name, value in vars(layer).items():
            if "drop" in name and isinstance(value, float):
                setattr(layer, name, 0.0)
