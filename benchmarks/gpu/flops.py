"""Floating-point operations of training, and what devices can do."""

from dataclasses import dataclass

from benchmarks.gpu.model import Architecture

# Dense bfloat16 with float32 sums, by the makers' data sheets, in TFLOP/s; a name in a line before wins.
_PEAKS = (
    ("B200", 2250),
    ("H200 NVL", 835),
    ("H200", 989),
    ("GH200", 989),
    ("H100 PCIe", 756),
    ("H100 NVL", 835),
    ("H100", 989),
    ("A100", 312),
    ("L40S", 362),
    ("RTX 4090", 165),
)


def peak_tflops(device: str) -> int | None:
    """Dense bfloat16 of a device by the name that CUDA gives it, in TFLOP/s; None for one not listed."""
    return next((peak for name, peak in _PEAKS if name in device), None)


@dataclass(frozen=True)
class Work:
    """What the learner had to do.

    Attributes:
        tokens: of prompts and completions, the prompt once for every completion.
        completion_tokens: those of them that the output embedding is applied for.
        mean_length_tokens: of a sequence, as a token meets it: sum of squares over sum.
    """

    tokens: float
    completion_tokens: float
    mean_length_tokens: float


def model_flops(architecture: Architecture, work: Work) -> float:
    """Floating-point operations that training on it takes, whatever is computed again.

    6 for each weight of the layers and 12 L H Q T for attention a token, as in appendix B of PaLM
    (arXiv:2204.02311): L layers, H heads of size Q, sequences of T tokens, the causal mask not taken off; and
    6 for each weight of the output embedding a completion token, since no other token needs its logits.
    """
    a = architecture
    attention = 12 * a.layers * a.heads * a.head_dim * work.mean_length_tokens
    return work.tokens * (6 * a.layer_parameters + attention) + work.completion_tokens * 6 * a.head_parameters
