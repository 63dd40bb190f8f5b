"""The five arms of sweeps/staleness.yaml on a model of random weights: make bench-gpu

    python -m benchmarks.gpu                  Qwen3-1.7B's architecture on the first GPU
    python -m benchmarks.gpu --devices 0,1    learner on the first, engine on the second
    python -m benchmarks.gpu --size tiny      two small layers, also on CPU: shows that it works

Nothing is downloaded. Every arm is the trainer's own loop, in a process of its own beside one warm engine.
docs/benchmarks.md says what the columns are.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.gpu.figures import arm_figures, logprob_gap
from benchmarks.gpu.lengths import LengthDistribution
from benchmarks.gpu.model import QWEN3_1_7B, SEED, TINY, Architecture, write_model
from benchmarks.gpu.record import ArmRecord
from benchmarks.gpu.show import notes, table
from results.ingest import ingest
from results.store import Store
from sweepctl.plan.plan import Plan, PlannedRun, load_plan
from sweepctl.running.engine import EngineKind, WarmEngine, engine_key
from sweepctl.running.manifest import write_manifest
from sweepctl.running.prepare import write_config
from sweepctl.running.slots import Slot, machine_devices, machine_kind, parse_devices
from trainer.errors import ConfigError, SweepctlError, TrainingError

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "sweeps" / "staleness.yaml"
PROFILE = "gpu"
LEAST_STEPS = 4  # two whole sync cycles of the arm that syncs every other step
_TAIL_LINES = 15

# What every arm has in place of GSM8K, which has to be downloaded, and of what is no training.
_SETTINGS = (
    "task.name=arithmetic",
    "task.stop=[]",
    "task.reward=benchmarks.gpu.reward:by_hash",
    "rollouts.keep=0",
    "checkpoint.every_steps=null",
)


class SizeName(StrEnum):
    """What `--size` takes."""

    QWEN3_1_7B = "1.7b"
    TINY = "tiny"


@dataclass(frozen=True)
class Size:
    """A model, how long its completions are, and what of the arms does not fit it."""

    architecture: Architecture
    lengths: LengthDistribution
    settings: tuple[str, ...] = ()


SIZES = {
    SizeName.QWEN3_1_7B: Size(QWEN3_1_7B, LengthDistribution(median_tokens=200, sigma=0.5)),
    SizeName.TINY: Size(
        TINY,
        LengthDistribution(median_tokens=20, sigma=0.5),
        ("completions_per_prompt=4", "sampling.max_completion_tokens=48", "engine.max_model_len=512"),
    ),
}


def main(
    *,
    size: Annotated[SizeName, typer.Option(help="The model's architecture.")] = SizeName.QWEN3_1_7B,
    work: Annotated[
        Path, typer.Option(help="Folder of the models and runs that are written.", file_okay=False)
    ] = Path("runs/bench-gpu"),
    steps: Annotated[int, typer.Option(min=LEAST_STEPS, help="Steps of each arm.")] = 12,
    devices: Annotated[str | None, typer.Option(help="GPUs: the learner's, then the engine's.")] = None,
    only: Annotated[str | None, typer.Option(help="Arms, such as Exp1,Exp5.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for every arm, as `sweepctl run` takes it.")
    ] = None,
) -> None:
    """Measure the five arms on a model of random weights."""
    if size is not SizeName.TINY and machine_kind() != "gpu":
        print("bench-gpu needs an NVIDIA GPU; `python -m benchmarks.gpu --size tiny` shows it on CPU")
        raise typer.Exit(2)
    chosen, work = SIZES[size], work.resolve()
    try:
        slot = _slot(devices)
        model = write_model(chosen.architecture, work / "models" / f"{size}-seed{SEED}")
        overrides = [*_SETTINGS, *chosen.settings, f"model={model}", f"max_steps={steps}", *(settings or [])]
        runs_dir = work / time.strftime("runs-%Y%m%d-%H%M%S")
        plan = load_plan(SPEC, PROFILE, overrides, runs_dir, only=only)
        arms = [run for run in plan.feasible if run.selected]
        _run(plan, arms, slot, chosen.lengths)
        _print(plan, arms, chosen)
    except (SweepctlError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


def _run(plan: Plan, arms: list[PlannedRun], slot: Slot, lengths: LengthDistribution) -> None:
    """Train the arms one after another, the engine warm."""
    plan.paths.root.mkdir(parents=True)
    write_manifest(plan, trains=True)
    with WarmEngine(slot, plan.paths.engine_log(), EngineKind(), _say) as engine:
        for arm in arms:
            socket = engine.socket_for(engine_key(arm), lambda: None)
            began = time.monotonic()
            _run_arm(plan, arm, slot, socket, lengths)
            _say(f"{arm.label}: {time.monotonic() - began:.0f} s")


def _slot(devices: str | None) -> Slot:
    """The GPUs that are asked for, by default the first; on CPU all cores.

    Raises:
        ConfigError: some are not there.
    """
    kind = machine_kind()
    there = machine_devices(kind)
    chosen = parse_devices(devices) if devices else there[:1] if kind == "gpu" else there
    if missing := [device for device in chosen if device not in there]:
        raise ConfigError(f"--devices {devices}: no {', '.join(missing)} here; there is {', '.join(there)}")
    return Slot(0, kind, chosen)


def _run_arm(
    plan: Plan, arm: PlannedRun, slot: Slot, socket: Path | None, lengths: LengthDistribution
) -> None:
    """Train an arm to its end.

    Raises:
        TrainingError: it failed.
    """
    resources = slot.learner_resources
    if socket is None:  # the transformers engine, which takes files only
        resources = resources.model_copy(update={"weight_transfer": "file"})
    write_config(plan, arm, resources)
    command = [sys.executable, "-m", "benchmarks.gpu.run_arm", "--config", str(arm.paths.config)]
    command += ["--median-tokens", str(lengths.median_tokens), "--sigma", str(lengths.sigma)]
    command += ["--engine", str(socket)] if socket else []
    with arm.paths.log.open("wb") as log:
        environment = os.environ | slot.learner_environment
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode:
        lines = arm.paths.log.read_text(errors="replace").splitlines()
        raise TrainingError(f"{arm.label} failed; {arm.paths.log} ends:\n" + "\n".join(lines[-_TAIL_LINES:]))


def _print(plan: Plan, arms: list[PlannedRun], size: Size) -> None:
    runs_dir = plan.paths.root.parent
    ingest(runs_dir)
    store = Store(runs_dir)
    # Wide enough for the whole table, whatever it is printed to.
    console = Console(highlight=False, soft_wrap=True, width=120)
    kept = [ArmRecord.read(arm.paths.root) for arm in arms]
    figures, device = arm_figures(store, plan.paths, size.architecture), kept[0].device
    console.print(table(figures, device))
    for note in notes(
        figures,
        logprob_gap(store, plan.paths),
        [completion for record in kept for completion in record.sampled],
        device=device,
        architecture=size.architecture,
        lengths=size.lengths,
    ):
        console.print(note)
    console.print(f"the whole report: sweepctl report {plan.name} --runs-dir {runs_dir}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    typer.run(main)
