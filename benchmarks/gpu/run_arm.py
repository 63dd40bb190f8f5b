"""One arm in a process of its own.

    python -m benchmarks.gpu.run_arm --config config.json --median-tokens 200 --sigma 0.5 [--engine SOCKET]

Imports little: the processes that compute rewards import it again.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gpu.lengths import LengthDistribution
from trainer.config import RunFile
from trainer.errors import SweepctlError
from trainer.paths import RunPaths


def main(
    config: Annotated[Path, typer.Option(help="The arm's config.json.")],
    median_tokens: Annotated[float, typer.Option(help="Median of the completions' lengths.")],
    sigma: Annotated[float, typer.Option(help="Standard deviation of the logarithm of the lengths.")],
    engine: Annotated[Path | None, typer.Option(help="Unix socket of a running vllm serve.")] = None,
) -> None:
    """Train one arm; leaves a trace and an `ArmRecord`, and no checkpoint."""
    from benchmarks.gpu.arm import train_arm  # noqa: PLC0415 - imports torch

    file = RunFile.model_validate_json(config.read_bytes())
    paths = RunPaths(config.resolve().parent)
    try:
        train_arm(file, paths, engine, LengthDistribution(median_tokens, sigma)).write(paths.root)
    except SweepctlError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
