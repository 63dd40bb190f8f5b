"""What is put on record beside the runs.

`sweep.json`: what a sweep was meant to be, and where and from which code it was run. `timings.json`: how
long it took.
"""

import json
import time
from pathlib import Path
from typing import Any

from sweepctl.files import write_atomically
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.provenance import environment, git_state
from sweepctl.spec.keys import nest
from sweepctl.spec.model import EvalSpec
from sweepctl.spec.settings import Flat


def write_manifest(plan: Plan, *, trains: bool) -> None:
    """Replace the sweep's manifest with this plan's.

    The same runs keep the date of their first plan. While none is trained again, they also keep the
    environment and the code they came from, which may not be today's.
    """
    new, earlier = manifest(plan), _earlier(plan.paths.manifest)
    if [run.get("run_id") for run in earlier.get("runs", [])] == [run["run_id"] for run in new["runs"]]:
        kept = ["created_unix"] if trains else ["created_unix", "environment", "git"]
        new.update({key: earlier[key] for key in kept if key in earlier})
    write_atomically(plan.paths.manifest, json.dumps(new, indent=2))


def _earlier(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def manifest(plan: Plan) -> dict[str, Any]:
    """The plan as `results` reads it."""
    resolved = plan.resolved
    evaluation = resolved.evaluation
    models = dict.fromkeys(run.config.model for run in plan.feasible)
    baseline = resolved.baseline
    return {
        "version": 1,
        "name": plan.name,
        "profile": resolved.profile,
        "created_unix": time.time(),
        "spec": _spec(plan),
        "baseline": "synchronous" if baseline is None else _values(baseline),
        "reference": _values(resolved.reference[1]) if resolved.reference else None,
        "margin": (evaluation or EvalSpec()).margin,
        "base_models": list(models) if evaluation and evaluation.base_model else [],
        "runs": [_run(run) for run in plan.runs],
        "environment": environment(),
        "git": git_state(Path(__file__).parent),
    }


def _spec(plan: Plan) -> dict[str, Any]:
    """The spec with its profile and overrides worked in."""
    resolved = plan.resolved
    base = {**_values(resolved.base), **_values(resolved.overrides)}
    return {
        "file": resolved.file,
        "base": nest(base),
        "axes": [[_values(row) for row in block.rows] for block in resolved.blocks],
        "exclude": [_values(pattern) for _, pattern in resolved.exclude],
        "run_name": resolved.run_name[1] if resolved.run_name else None,
        "overrides": _values(resolved.overrides),
        "eval": resolved.evaluation.model_dump(mode="json") if resolved.evaluation else None,
        "timeout": resolved.spec.timeout.model_dump(mode="json"),
        "stop_after_consecutive_failures": resolved.spec.stop_after_consecutive_failures,
    }


def _values(flat: Flat) -> dict[str, Any]:
    return {key: leaf.value for key, leaf in flat.items()}


def _run(run: PlannedRun) -> dict[str, Any]:
    return {
        "run_name": run.name,
        "run_id": run.point.config.run_id() if run.point.config else None,
        "label": run.label,
        "state": "planned" if run.feasible else "infeasible",
        "reason": run.point.reason,
        "config": run.point.values(),
    }


class Timings:
    """`timings.json`: how long the parts of each invocation took, for whoever plans the next sweep.

    The record of this invocation is added to those of earlier ones, and written after every entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._earlier = _invocations(path)
        self._this: dict[str, Any] = {
            "started_unix": time.time(),
            "engine_starts_s": [],
            "runs": [],
            "evaluation_s": None,
        }

    def engine_starts(self, seconds: list[float]) -> None:
        """How long each start of the engine took."""
        if seconds:
            self._this["engine_starts_s"] = [round(each, 3) for each in seconds]
            self._write()

    def run(self, name: str, state: str, seconds: float) -> None:
        """How long a run's process took, its start included."""
        self._this["runs"].append({"run_name": name, "state": state, "seconds": round(seconds, 3)})
        self._write()

    def evaluation(self, seconds: float) -> None:
        """How long all evaluations took."""
        self._this["evaluation_s"] = round(seconds, 3)
        self._write()

    def _write(self) -> None:
        content = {"version": 1, "invocations": [*self._earlier, self._this]}
        write_atomically(self._path, json.dumps(content, indent=2))


def _invocations(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_bytes())["invocations"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return found if isinstance(found, list) else []
