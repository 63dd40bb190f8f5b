"""What lies on a GPU while a run trains, counted before anything is put there. Torch-free.

    held      weights, optimizer state, reference, and the copy of the weights that the engine takes
    working   what a training step needs on top, or a sync, or the proof of the weights at the start: the
              largest of these
    engine    its share, where it lies on the same device

Weights, gradients and optimizer state are exact. Activations are an estimate, see `activation_bytes`, and so
is the reserve.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.config import RunConfig
from trainer.settings import WeightTransfer

GIB = 2**30
RESERVE_BYTES = 3 * GIB
"""An allowance, not a measurement: CUDA contexts and workspaces of two processes, fragmentation."""
ENGINE_WORK_BYTES = 2 * GIB
"""Likewise: what an engine needs besides weights and KV cache, such as activations and CUDA graphs."""
NCCL_BUFFER_BYTES = 2**28
"""Weights are broadcast in chunks of so many bytes and the tensor that fills them up, two at a time."""
LOGITS_BYTES = 2**28
"""Float32 logits that are in memory at once; `trainer.logprobs`, which needs torch, has the same number."""
_LOGITS_COPIES = 6
"""Of a part of the logits at its worst: in the computation's type, as float32, divided by the temperature,
its log-softmax, and the two that the entropy makes."""
_FLOAT32, _BFLOAT16 = 4, 2


@dataclass(frozen=True)
class ModelShape:
    """What of a model decides how much memory it takes.

    Attributes:
        parameters: all of them, tied ones once.
        largest: elements of its largest weight.
        adapter_parameters: of adapters of rank 1; those of rank r are r times as many.
        layers: decoder layers.
        hidden: width of the residual stream.
        query: width of the queries of all heads together.
        key: width of the keys, and of the values, of all heads together.
        mlp: width inside the MLP that a token meets.
        vocabulary: width of the logits.
    """

    parameters: int
    largest: int
    adapter_parameters: int
    layers: int
    hidden: int
    query: int
    key: int
    mlp: int
    vocabulary: int


@dataclass(frozen=True)
class Device:
    """A GPU: all of its memory, and what processes that have no part in the run use of it."""

    total_bytes: int
    others_bytes: int = 0


@dataclass(frozen=True)
class Split:
    """Who gets how much of a device, in bytes.

    Attributes:
        recompute: whether activations are recomputed in the backward pass.
        held: what the learner holds all the time.
        peak: when it needs most on top of that: in a step, a sync, or the proof of its weights at the start.
        working: what it needs then.
        engine: what the engine takes of this device.
    """

    device: Device
    recompute: bool
    held: Mapping[str, int]
    peak: str
    working: Mapping[str, int]
    engine: int

    @property
    def learner(self) -> int:
        """What the learner needs at its peak."""
        return sum(self.held.values()) + sum(self.working.values())

    @property
    def left(self) -> int:
        """What nobody needs; below 0 where the device is too small."""
        taken = self.learner + self.engine + self.device.others_bytes + RESERVE_BYTES
        return self.device.total_bytes - taken

    def table(self) -> str:
        """A line for each part, in GiB."""
        parts = {
            **self.held,
            **{f"{what}, {self.peak}": size for what, size in self.working.items()},
            "engine": self.engine,
            "other processes": self.device.others_bytes,
            "reserve": RESERVE_BYTES,
        }
        shown = {what: size for what, size in parts.items() if size}
        width = max(map(len, shown))
        return "\n".join(f"  {what:<{width}} {size / GIB:7.2f}" for what, size in shown.items())


def split(shape: ModelShape, config: RunConfig, device: Device, way: WeightTransfer) -> Split:
    """How a run divides its learner's device.

    With `gradient_checkpointing: auto` activations are recomputed where they would not fit else.

    Args:
        shape: of the run's model.
        config: the run's configuration.
        device: the learner's; the engine is on it too where `way` is `ipc`.
        way: how weights reach the engine.
    """
    wanted = config.learner.gradient_checkpointing
    kept = _split(shape, config, device, way, recompute=wanted is True)
    if wanted == "auto" and kept.left < 0:
        return _split(shape, config, device, way, recompute=True)
    return kept


def _split(
    shape: ModelShape, config: RunConfig, device: Device, way: WeightTransfer, *, recompute: bool
) -> Split:
    phases = {
        "in a step": _training(shape, config, recompute=recompute),
        "in a sync": _sync(shape, config, way),
        "in the proof": {"noise": _FLOAT32 * shape.largest},
    }
    peak = max(phases, key=lambda name: sum(phases[name].values()))
    return Split(
        device=device,
        recompute=recompute,
        held=_held(shape, config, way),
        peak=peak,
        working=phases[peak],
        engine=round(config.engine.memory_utilization * device.total_bytes) if way == "ipc" else 0,
    )


def _held(shape: ModelShape, config: RunConfig, way: WeightTransfer) -> dict[str, int]:
    trained = _trained(shape, config)
    return {
        "weights": _FLOAT32 * _all_weights(shape, config),
        "AdamW's two moments": 2 * _FLOAT32 * trained,
        "reference": _FLOAT32 * trained if config.loss.beta > 0 else 0,
        "weights for the engine": _handed_over(shape, config, way),
    }


def _training(shape: ModelShape, config: RunConfig, *, recompute: bool) -> dict[str, int]:
    """While the backward pass begins: all that the forward pass left is there."""
    tokens = micro_batch_tokens(config)
    trained = _trained(shape, config)
    in_bfloat16 = config.learner.compute_dtype == "bfloat16"
    logits = min(LOGITS_BYTES, _FLOAT32 * tokens * shape.vocabulary)
    return {
        "gradients": _FLOAT32 * trained,
        # The head's, of one part after another, is summed up in bfloat16 before it is cast.
        "one more gradient": 0 if config.lora.rank else (_FLOAT32 + 2 * _BFLOAT16) * shape.largest,
        "weights in bfloat16": _BFLOAT16 * _all_weights(shape, config) if in_bfloat16 else 0,
        "activations": activation_bytes(shape, tokens, in_bfloat16=in_bfloat16, recompute=recompute),
        "logits": _LOGITS_COPIES * logits,
    }


def _sync(shape: ModelShape, config: RunConfig, way: WeightTransfer) -> dict[str, int]:
    """Without adapters weights are cast straight into the engine's copy."""
    size = _engine_bytes(config)
    return {
        "merged weights": size * shape.parameters if config.lora.rank else 0,
        "NCCL's buffers": 2 * (NCCL_BUFFER_BYTES + size * shape.largest) if way == "nccl" else 0,
    }


def activation_bytes(shape: ModelShape, tokens: int, *, in_bfloat16: bool, recompute: bool) -> int:
    """What the forward pass over a micro-batch keeps for the backward pass.

    Counted as Korthikanti et al. 2022 (arXiv:2205.05198) do, for what transformers' decoders keep: RMSNorm,
    grouped queries, norms of queries and keys, a gated MLP, attention that keeps no matrix of scores. Under
    autocast the residual stream and the norms are float32, and every product casts its input anew. With
    recomputation each layer's input stays, and one layer is computed again; in both cases one layer's worth
    is added for the gradients that pass through it.

    Args:
        shape: of the model.
        tokens: of the micro-batch, padding included.
        in_bfloat16: whether autocast is on; else everything is float32.
        recompute: whether layers are computed again in the backward pass.
    """
    stream = 2 * (_FLOAT32 + _FLOAT32)  # what comes in, and normalized; before attention and before the MLP
    if in_bfloat16:
        compute, inputs = _BFLOAT16, 5 * _BFLOAT16  # of queries, keys, values, gate and up
    else:
        compute, inputs = _FLOAT32, 2 * _FLOAT32
    heads = _FLOAT32 + compute  # projected, as float32, and normalized
    fused = 2 * compute  # queries, keys, values, output
    layer = (stream + inputs) * shape.hidden
    layer += (heads + fused) * (shape.query + shape.key)
    layer += 4 * compute * shape.mlp  # gate, its activation, up, their product
    around = (stream + inputs) * shape.hidden  # the last norm, what meets the head
    layers = shape.layers * layer
    if recompute:
        layers = shape.layers * _FLOAT32 * shape.hidden + layer
    return tokens * (layers + layer + around)


def micro_batch_tokens(config: RunConfig) -> int:
    """Most tokens of a micro-batch; a sequence that is longer by itself gets one of its own."""
    longest = config.engine.max_model_len
    chunk = config.forward_backward_prompts * config.completions_per_prompt * longest
    return min(chunk, max(longest, config.learner.tokens_per_micro_batch))


def least_engine_bytes(shape: ModelShape, config: RunConfig) -> int:
    """What an engine needs at least: its weights, and the KV cache of one group, whose prompt is shared."""
    size = _engine_bytes(config)
    longest = config.engine.max_model_len
    completion = min(config.sampling.max_completion_tokens, longest)
    tokens = longest - completion + config.completions_per_prompt * completion
    return size * (shape.parameters + 2 * shape.layers * shape.key * tokens) + ENGINE_WORK_BYTES


def _trained(shape: ModelShape, config: RunConfig) -> int:
    return config.lora.rank * shape.adapter_parameters or shape.parameters


def _all_weights(shape: ModelShape, config: RunConfig) -> int:
    return shape.parameters + config.lora.rank * shape.adapter_parameters


def _handed_over(shape: ModelShape, config: RunConfig, way: WeightTransfer) -> int:
    """One copy of the weights as the engine holds them; a file is none on the device."""
    return 0 if way == "file" else _engine_bytes(config) * shape.parameters


def _engine_bytes(config: RunConfig) -> int:
    return _BFLOAT16 if config.engine.dtype == "bfloat16" else _FLOAT32
