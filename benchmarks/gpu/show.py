"""The figures as a table, and in words what they rest on."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from benchmarks.gpu.figures import ArmFigures, Gap
from benchmarks.gpu.flops import peak_tflops
from benchmarks.gpu.lengths import LengthDistribution, Sampled
from benchmarks.gpu.model import Architecture


def table(arms: Sequence[ArmFigures], device: str | None) -> Table:
    """One row an arm. The share of the peak is left out for a device whose peak is not known."""
    shown = Table(box=None, pad_edge=False)
    peak = peak_tflops(device) if device else None
    columns = ["generation tokens/s", "learner tokens/s", *(["of bf16 peak"] if peak else [])]
    columns += ["sync ms", "sync GB/s", "step s", "prompts/s", "overlap eff."]
    shown.add_column("arm")
    for column in columns:
        shown.add_column(column, justify="right")
    for arm in arms:
        shown.add_row(
            arm.label,
            f"{arm.generation_tokens_per_s:,.0f}",
            f"{arm.learner_tokens_per_s:,.0f}",
            *([f"{arm.learner_flops / (peak * 1e12):.1%}"] if peak else []),
            f"{arm.sync_s * 1e3:,.1f}",
            f"{arm.sync_bytes_per_s / 1e9:.2f}",
            f"{arm.step_s:.3f}",
            f"{arm.prompts_per_s:.3f}",
            f"{arm.overlap_efficiency:.0%}",
        )
    return shown


def notes(
    arms: Sequence[ArmFigures],
    gap: Gap,
    sampled: Sequence[Sampled],
    *,
    device: str | None,
    architecture: Architecture,
    lengths: LengthDistribution,
) -> Iterator[str]:
    """Lines below the table."""
    yield _device(device)
    a = architecture
    yield (
        f"model FLOPs: 6 x {a.layer_parameters:,} weights of the layers + 12 L H Q T for attention a token, "
        f"6 x {a.head_parameters:,} of the output embedding a completion token; what is computed again does "
        "not count"
    )
    yield _realised(sampled, lengths)
    yield (
        f"logprob gap at staleness 0: mean {gap.mean_nats:.4f} nats a token, 99.9 % within "
        f"{gap.p999_nats:.4f} ({gap.steps} steps; mean entropy {gap.entropy_nats:.2f} nats)"
    )
    yield from (f"{arm.label}: {arm.modes}" for arm in arms)


def _device(device: str | None) -> str:
    if device is None:
        return "on CPU: these figures show that the benchmark works, and nothing else"
    peak = peak_tflops(device)
    if peak is None:
        return f"{device}: its bf16 peak is not in benchmarks/gpu/flops.py, so the share of it is left out"
    return f"{device}: {peak} TFLOP/s dense bf16, as its maker has it"


def _realised(sampled: Sequence[Sampled], lengths: LengthDistribution) -> str:
    tokens = np.array([completion.got for completion in sampled])
    longest = max(completion.asked for completion in sampled)
    early = sum(completion.got < completion.asked for completion in sampled)
    low, middle, high = np.percentile(tokens, [5, 50, 95])
    return (
        f"completion tokens: log-normal of median {lengths.median_tokens:g} and sigma {lengths.sigma:g}, "
        f"realised {middle:.0f} ({low:.0f} to {high:.0f} for nine in ten), mean {tokens.mean():.0f}, "
        f"{np.mean(tokens == longest):.1%} the longest, {longest}; {early} of {len(tokens):,} ended early"
    )
