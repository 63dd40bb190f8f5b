"""A small sweep's spec, and directories as trainers and sweepctl leave them beside it."""

import json
from collections.abc import Sequence
from pathlib import Path

from sweepctl.attempts import append_attempt
from sweepctl.plan.plan import Plan, PlannedRun, load_plan
from sweepctl.running.prepare import prepare
from trainer.config import RunConfig, RunFile
from trainer.paths import RunPaths
from trainer.records import RunState, RunStatus

SPEC = """\
version: 1
name: planned
base: {max_steps: 40, completions_per_prompt: 2}
parameters:
  optim.lr: [1e-6, 5e-7]
  max_staleness: [0, 1]
run_name: "s{max_staleness}_lr{optim.lr}"
"""
NAMES = ["s0_lr1e-6", "s1_lr1e-6", "s0_lr5e-7", "s1_lr5e-7"]


class PlannedSweep:
    """A spec and what earlier invocations left beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = folder / "planned.yaml"
        self.root = folder / "runs" / "planned"
        self.write(SPEC)

    def write(self, text: str) -> None:
        self.spec.write_text(text)

    def plan(self, *overrides: str, **options) -> Plan:
        return load_plan(self.spec, "auto", overrides, self.folder / "runs", **options)

    def run(self, index: int, **options) -> PlannedRun:
        return self.plan(**options).runs[index]

    def leave(self, name: str, run_id: str, state: RunState | None = None, **status) -> RunPaths:
        """A run's directory as a trainer and sweepctl leave it."""
        paths = RunPaths(self.root / name)
        paths.root.mkdir(parents=True)
        file = RunFile(sweep="planned", run_name=name, run_id=run_id, config=RunConfig())
        paths.config.write_text(file.model_dump_json())
        if state is not None:
            fields = {"attempt": 1, "heartbeat": 1.0, "max_steps": 40, **status}
            paths.status.write_text(RunStatus(state=state, **fields).model_dump_json())
        return paths

    def leave_run(self, index: int, state: RunState | None = None, **status) -> RunPaths:
        run = self.plan().runs[index]
        return self.leave(run.name, run.run_id, state, **status)

    def leave_set_aside(
        self, index: int, state: RunState | None, date: str = "20261123-101500", **status
    ) -> RunPaths:
        run = self.plan().runs[index]
        return self.leave(f"{run.name}.set-aside-{date}", run.run_id, state, **status)

    def leave_finished(self, index: int, code: str | None, environment: str | None) -> None:
        paths = self.leave_run(index, RunState.SUCCEEDED, step=40)
        append_attempt(paths, "started", code=code, environment=environment)
        append_attempt(paths, "ended", state=RunState.SUCCEEDED)

    def held(self) -> dict[str, str]:
        """The run_id that each directory holds."""
        files = self.root.glob("*/config.json")
        return {path.parent.name: json.loads(path.read_bytes())["run_id"] for path in files}


def ready(
    plan: Plan, todo: Sequence[PlannedRun] = (), *, retry_failed: bool = False, force: bool = False
) -> list[str]:
    """What `run` does before anything is trained; what it says."""
    said: list[str] = []
    prepare(plan, tuple(todo), said.append, retry_failed=retry_failed, force=force)
    return said


def fail(paths: RunPaths, times: int, *, retryable: bool = True) -> None:
    for _ in range(times):
        append_attempt(paths, "started")
        append_attempt(paths, "ended", state=RunState.FAILED, retryable=retryable)
