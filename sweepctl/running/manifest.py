"""`sweep.json`: what a sweep was meant to be, and where and from which code it was run."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from results.files.predictions import Prediction
from sweepctl.files import write_atomically
from sweepctl.git import GitState, git_state, git_state_of
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.provenance import environment
from sweepctl.running.engine import EngineKey, engine_key
from sweepctl.running.evaluate import base_names
from sweepctl.spec.keys import nest
from sweepctl.spec.model import EvalSpec
from sweepctl.spec.settings import Flat
from trainer.paths import PILOT, SweepPaths, is_pilot


def write_manifest(
    plan: Plan,
    *,
    trains: bool,
    command: Sequence[str] = (),
    predictions: Mapping[str, Prediction] | None = None,
) -> None:
    """Replace the sweep's manifest with this plan's, and beside it what the working tree had uncommitted.

    `command` is what to type to go on with the sweep, without `--runs-dir`; `predictions` say by name what
    runs will do. A run that has begun keeps what was predicted of it before.

    The same runs keep the date of their first plan. While none is trained again, they also keep the
    environment and the code they came from, which may not be today's.
    """
    new, earlier = manifest(plan) | {"command": list(command)}, _earlier(plan.paths.manifest)
    same = [run.get("run_id") for run in earlier.get("runs", [])] == [run["run_id"] for run in new["runs"]]
    if same and "created_unix" in earlier:
        new["created_unix"] = earlier["created_unix"]
    if same and not trains and "git" in earlier:
        new.update({key: earlier[key] for key in ("environment", "git") if key in earlier})
    else:
        new["git"] = _record_git(plan)
    _add_predictions(plan, new["runs"], earlier, predictions or {})
    _copy_spec(plan)
    write_atomically(plan.paths.manifest, json.dumps(new, indent=2))


def _add_predictions(
    plan: Plan,
    entries: Sequence[dict[str, Any]],
    earlier: Mapping[str, Any],
    predictions: Mapping[str, Prediction],
) -> None:
    """What is predicted after the first step is none: only runs that have not begun get a new prediction."""
    kept = {run["run_id"]: run["prediction"] for run in earlier.get("runs", []) if run.get("prediction")}
    for run, entry in zip(plan.runs, entries, strict=True):
        if run.name in predictions and run.state == "new":
            entry["prediction"] = predictions[run.name].model_dump(mode="json")
        elif run.run_id in kept:
            entry["prediction"] = kept[run.run_id]


def _copy_spec(plan: Plan) -> None:
    """Keep the spec as it was written: the file itself may change, or be in no repository."""
    with suppress(OSError):  # it was read a moment ago; what it said is in the manifest
        write_atomically(plan.paths.spec, Path(plan.resolved.file).read_text(encoding="utf-8"))


def _record_git(plan: Plan) -> dict[str, Any]:
    """The state of sweepctl's repository, and of the spec's where that is another; writes their diffs."""
    runs_dir = plan.paths.root.parent
    code = git_state_of(Path(__file__), without=runs_dir)
    found = _git_entry(code, plan.paths)
    spec = git_state(Path(plan.resolved.file).resolve().parent, without=runs_dir)
    other = spec if spec.root != code.root else GitState()
    entry = _git_entry(other, plan.paths)
    return {**found, "spec": entry} if other.commit else found


def _git_entry(state: GitState, paths: SweepPaths) -> dict[str, Any]:
    if not state.diff:
        return {"commit": state.commit, "dirty": state.dirty}
    digest = hashlib.sha256(state.diff).hexdigest()
    diff = paths.git_diff(digest)
    partial = diff.with_name(f".{diff.name}.partial")
    partial.write_bytes(state.diff)
    partial.replace(diff)
    return {"commit": state.commit, "dirty": True, "diff": {"file": diff.name, "sha256": digest}}


def _earlier(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def manifest(plan: Plan) -> dict[str, Any]:
    """The plan as `results` reads it, but for the state of git."""
    resolved = plan.resolved
    evaluation = resolved.evaluation
    models = dict.fromkeys(run.config.model for run in plan.feasible)
    baseline = resolved.baseline
    bases = base_names(plan)
    return {
        "version": 1,
        "name": plan.name,
        **({"pilot_of": plan.name.removesuffix(PILOT)} if is_pilot(plan.name) else {}),
        "profile": resolved.profile,
        "created_unix": time.time(),
        "spec": _spec(plan),
        "baseline": "synchronous" if baseline is None else _values(baseline),
        "reference": _values(resolved.reference[1]) if resolved.reference else None,
        "margin": (evaluation or EvalSpec()).margin,
        "base_models": list(models) if evaluation and evaluation.base_model else [],
        "runs": [_run(run, bases) for run in plan.runs],
        "environment": environment(),
    }


def _spec(plan: Plan) -> dict[str, Any]:
    """The spec with its profile and overrides worked in."""
    resolved = plan.resolved
    base = {**_values(resolved.base), **_values(resolved.overrides)}
    return {
        "file": resolved.file,
        "declared": resolved.spec.model_dump(mode="json", exclude_defaults=True),
        "base": nest(base),
        "axes": [[_values(row) for row in block.rows] for block in resolved.blocks],
        "exclude": [_values(pattern) for _, pattern in resolved.exclude],
        "run_name": resolved.run_name[1] if resolved.run_name else None,
        "set": list(plan.overrides),
        "overrides": _values(resolved.overrides),
        "eval": resolved.evaluation.model_dump(mode="json") if resolved.evaluation else None,
        "timeout": resolved.spec.timeout.model_dump(mode="json"),
        "stop_after_consecutive_failures": resolved.spec.stop_after_consecutive_failures,
    }


def _values(flat: Flat) -> dict[str, Any]:
    return {key: leaf.value for key, leaf in flat.items()}


def _run(run: PlannedRun, bases: Mapping[EngineKey, str]) -> dict[str, Any]:
    key = engine_key(run) if run.feasible else None
    return {
        "run_name": run.name,
        "run_id": run.run_id or None,
        "base_name": bases[key] if key else None,
        "tags": list(run.point.tags),
        "label": run.label,
        "state": "planned" if run.feasible else "infeasible",
        "reason": run.point.reason,
        "config": run.point.values(),
    }
