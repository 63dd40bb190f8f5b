"""Whether a run fits its GPU, found out before the model is loaded and the engine started."""

import warnings
from contextlib import suppress

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from trainer.config import Resources, RunConfig
from trainer.device_memory import GIB, RESERVE_BYTES, Device, ModelShape
from trainer.errors import ConfigError
from trainer.lora import add_adapters
from trainer.memory_advice import require_fit
from trainer.models import model_path
from trainer.settings import LoraSettings


def fitted(config: RunConfig, resources: Resources, *, engine_runs: bool) -> RunConfig:
    """The configuration with `gradient_checkpointing: auto` settled; on a GPU, who gets how much is printed.

    Args:
        config: the run's configuration.
        resources: the run's.
        engine_runs: whether the engine has been started already, and may be on the learner's device.

    Raises:
        ConfigError: the GPU is too small.
    """
    device = torch.device(resources.device)
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        return _settled(config, recompute=False)  # one that is not there is refused where the model is loaded
    try:
        shape = model_shape(config)
    except ConfigError:
        raise
    # Wrong files are explained where they are loaded, and what cannot be counted may train all the same.
    except Exception as error:
        print(f"memory of {device} is not counted: {type(error).__name__}: {error}", flush=True)
        return _settled(config, recompute=False)
    free, total = torch.cuda.mem_get_info(device)
    others = total - free
    if engine_runs and resources.weight_transfer == "ipc":
        # What is in use beyond the engine's share, and what it has in reserve, is somebody else's.
        others = max(0, others - round(config.engine.memory_utilization * total) - RESERVE_BYTES)
    split = require_fit(shape, config, Device(total, others), resources.weight_transfer, str(device))
    print(f"memory of {device}, {total / GIB:.1f} GiB:\n{split.table()}", flush=True)
    if config.learner.gradient_checkpointing == "auto":
        print(
            "learner.gradient_checkpointing: auto: activations are "
            + ("recomputed, since they would not fit" if split.recompute else "kept"),
            flush=True,
        )
    return _settled(config, recompute=split.recompute)


def model_shape(config: RunConfig) -> ModelShape:
    """Counted on a model without weights.

    Raises:
        ConfigError: the adapters do not fit the model.
        Exception: whatever transformers makes of a model that it cannot read, or that is no decoder.
    """
    whole = AutoConfig.from_pretrained(model_path(config.model))
    text = whole.get_text_config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(whole, dtype=torch.float32)
    sizes = [parameter.numel() for parameter in model.parameters()]
    if config.lora.rank:
        add_adapters(model, config.lora)
    else:
        _add_possible_adapters(model)
    adapters = sum(parameter.numel() for parameter in model.parameters()) - sum(sizes)
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelShape(
        parameters=sum(sizes),
        largest=max(sizes),
        adapter_parameters=adapters // max(1, config.lora.rank),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        query=heads * head_dim,
        key=(getattr(text, "num_key_value_heads", None) or heads) * head_dim,
        mlp=_mlp_width(text),
        vocabulary=text.vocab_size,
    )


def _add_possible_adapters(model: PreTrainedModel) -> None:
    """Those that a run without adapters could have, of rank 1; none where the model takes none."""
    with warnings.catch_warnings(action="ignore"), suppress(ConfigError):
        add_adapters(model, LoraSettings(rank=1))


def _mlp_width(config: PretrainedConfig) -> int:
    """Of a mixture of experts, those that one token is sent to together."""
    experts = getattr(config, "num_experts_per_tok", None)
    width = getattr(config, "moe_intermediate_size", None)
    if experts and width:
        return int(experts * width)
    return int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)


def _settled(config: RunConfig, *, recompute: bool) -> RunConfig:
    if config.learner.gradient_checkpointing != "auto":
        return config
    learner = config.learner.model_copy(update={"gradient_checkpointing": recompute})
    return config.model_copy(update={"learner": learner})
