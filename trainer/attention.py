"""Which attention a model computes with."""

from transformers import PretrainedConfig


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
