"""Which attention a model computes with, and whether sequences are packed with it."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available

from trainer.out_of_memory import is_out_of_memory

# Kinds of layers whose mask depends on the distance of two tokens only, not on where in a row they are.
_PACKABLE_LAYERS = {"full_attention", "sliding_attention"}
# The second is short: what a convolution lets through from the first reaches few of its tokens.
_PROBE_LENGTHS = (40, 8)
_PROBE_ROW = 256
# Of the differences between tokens, bfloat16 moves up to 0.04 and seeing another sequence at least 0.3, in a
# dozen models of random weights and the built-in one.
_PROBE_TOLERANCE = 0.1
# Flex attention is compiled for each mask, with and without gradient, and for lengths that vary. Beyond
# torch's limit of 8 it would go on uncompiled, and hold the scores of all pairs of tokens.
_FLEX_VARIANTS = 64


def attention(config: PretrainedConfig, device_type: str) -> str | None:
    """What learner and transformers engine both give `from_pretrained` as `attn_implementation`.

    Explicit attention on CPU, where for short sequences it is 1.5-2.5 times as fast as the fused kernel's
    backward, and everywhere for a model with a soft cap (Gemma 2), which the fused kernel leaves out.
    Otherwise transformers' default, which saves the memory of the attention matrix.

    Args:
        config: the model's, as transformers reads it.
        device_type: where it computes, such as `cpu` or `cuda`.
    """
    soft_capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return "eager" if device_type == "cpu" or soft_capped else None


def packing_attentions(device_type: str, compute_dtype: str) -> tuple[str, ...]:
    """What the learner tries to pack sequences with, best first; nothing where they are padded.

    These compute only the blocks of a row that hold a sequence's own tokens, soft cap and sliding window
    included. Any other attention would compute a whole row's square.

    Args:
        device_type: where it computes, such as `cpu` or `cuda`.
        compute_dtype: `learner.compute_dtype`. Flash attention has no float32.
    """
    if device_type != "cuda" or compute_dtype != "bfloat16":
        return ()
    return ("flash_attention_2", "flex_attention") if is_flash_attn_2_available() else ("flex_attention",)


def attend_packed(model: PreTrainedModel, names: Sequence[str]) -> bool:
    """Let the model attend by the first of these with which it keeps packed sequences apart.

    A few tokens forward and backward find that out, inside the caller's autocast. Says why where one
    does not do; where none does, the model stays as it was.

    Returns:
        Whether sequences can be packed.
    """
    before = model.config._attn_implementation
    for name in names:
        try:
            reason = _obstacle(model, name)
        # Model, compiler and kernel have exceptions of their own, and padding does without any of them.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            said = str(error).split("\n")[0]
            reason = f"{type(error).__name__}: {said}"
        if reason is None:
            return True
        model.set_attn_implementation(before)
        print(f"sequences are not packed with {name}: {reason}", flush=True)
    return False


def _obstacle(model: PreTrainedModel, name: str) -> str | None:
    """Switch to an attention; why sequences cannot be packed with it, or None."""
    config = model.config.get_text_config()
    if other := sorted(set(getattr(config, "layer_types", None) or ()) - _PACKABLE_LAYERS):
        return f"{type(model).__name__} has layers of {', '.join(other)}"
    if name == "flex_attention":
        torch._dynamo.config.recompile_limit = _FLEX_VARIANTS
    tokens = torch.arange(2, 2 + sum(_PROBE_LENGTHS), device=model.device) % config.vocab_size
    with torch.no_grad():
        alone = torch.cat([_hidden(model, part) for part in tokens.split(_PROBE_LENGTHS)])
    model.set_attn_implementation(name)
    if model.config._attn_implementation != name:
        return f"{type(model).__name__} cannot change its attention"
    bounds = (0, _PROBE_LENGTHS[0], len(tokens), _PROBE_ROW)
    positions = torch.cat([torch.arange(end - start, device=model.device) for start, end in pairwise(bounds)])
    row = torch.nn.functional.pad(tokens, (0, _PROBE_ROW - len(tokens)))
    with torch.enable_grad():
        packed = _hidden(model, row, positions)[: len(tokens)]
        trained = next(parameter for parameter in model.parameters() if parameter.requires_grad)
        torch.autograd.grad(packed.square().sum(), trained)
    spread = (alone - alone.mean(0)).norm()
    if not (gap := float((packed.detach() - alone).norm() / spread)) <= _PROBE_TOLERANCE:
        return f"{type(model).__name__} computes something else ({gap:.0%} off) of a packed sequence"
    return None


def _hidden(model: PreTrainedModel, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
    """The decoder's output [t, hidden size] of one row, in float32."""
    place = {} if positions is None else {"position_ids": positions[None]}
    output: Tensor = model.get_decoder()(input_ids=tokens[None], use_cache=False, **place)[0][0]
    return output.float()
