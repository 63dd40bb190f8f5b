"""Who is compared with whom: each run's matched baseline, and the one reference run of the sweep."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

from results.files.sweeps import Config, RunRecord, identity

Baseline = Literal["synchronous"] | Config

OPPONENTS = {
    "base": "base model",
    "baseline": "matched baseline",
    "reference": "reference run",
    "chosen": "chosen run",
}
"""What each kind of opponent (`against`) is called wherever it is shown, in the order it is offered; the
chosen one is that of `sweepctl report --baseline`."""


def comparisons(
    runs: Sequence[RunRecord], baseline: Baseline | None, reference: Config | None
) -> list[dict[str, str]]:
    """Rows `run_name, against, other_run` of table `comparisons`.

    A run is never compared with itself. A run whose twin is not in the sweep has no `baseline` row.
    """
    rows: list[dict[str, str]] = []
    by_id = {key: run.name for run in runs if (key := identity(run.config)) and run.state != "infeasible"}
    references = _references(runs, reference) if reference else []
    for run in runs:
        if run.state == "infeasible" or not run.config:
            continue
        twin = by_id.get(identity(_overridden(run.config, baseline)) or "") if baseline else None
        if twin and twin != run.name:
            rows.append({"run_name": run.name, "against": "baseline", "other_run": twin})
        other = _of_same_seed(references, run)
        if other and other != run.name:
            rows.append({"run_name": run.name, "against": "reference", "other_run": other})
    return rows


def _overridden(config: Config, baseline: Baseline) -> Config:
    """The configuration of a run's twin: the same knobs and seed but for the baseline's keys."""
    if baseline == "synchronous":
        batch = config.get("prompts_per_optim_step")
        return {**config, "max_staleness": 0, "prompts_per_rollout_sync": batch}
    twin = copy.deepcopy(config)
    for dotted, value in baseline.items():
        *parents, last = dotted.split(".")
        target = twin
        for key in parents:
            target = target.setdefault(key, {})
        target[last] = value
    return twin


def _references(runs: Sequence[RunRecord], reference: Config) -> list[RunRecord]:
    """The runs that have the reference's values, in the order of the plan."""
    return [
        run
        for run in runs
        if run.state != "infeasible"
        and all(_lookup(run.config, key) == value for key, value in reference.items())
    ]


def _of_same_seed(references: Sequence[RunRecord], run: RunRecord) -> str | None:
    """The first reference of the run's seed, or the first of all where none is."""
    seed = run.config.get("seed")
    same_seed = (other for other in references if other.config.get("seed") == seed)
    found = next(same_seed, references[0] if references else None)
    return found.name if found else None


def _lookup(config: Config, dotted: str) -> Any:  # noqa: ANN401 - a JSON value
    """The value at a dotted key; `task` means its name, P without a value means B."""
    value: Any = config
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if dotted == "prompts_per_rollout_sync" and value is None:
        return config.get("prompts_per_optim_step")
    if dotted == "task" and isinstance(value, dict):
        return value.get("name")
    return value
