"""Which costs a sweep is predicted from: those a user names, or the finished runs that tell most."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from results.store import Store, records
from results.tables.arms import arm_label
from sweepctl.machine import visible_gpus
from sweepctl.planner.costs import CostModel, KnownCosts
from sweepctl.planner.fit import fit
from sweepctl.planner.measured import LEAST_GROUPS, LEAST_STEPS, VERDICTS, measured
from sweepctl.provenance import environment
from sweepctl.watching.status import FoundRun, locate_seeds
from trainer.config import RunConfig
from trainer.paths import is_pilot, store_path

_MACHINE = ("cpu", "cores", "gpus", "gpu_names")
_SAME = (
    *("model", "task", "sampling", "engine", "learner", "lora", "completions_per_prompt"),
    "updates_per_batch",
)
"""Keys that two runs must share for the costs of one to be those of the other; `suits` has the rest."""

_CANDIDATES = """
WITH told AS (
    SELECT sweep, run_name, count(*) AS groups FROM groups
    WHERE finished_s IS NOT NULL AND list_contains($verdicts, fate)
    GROUP BY sweep, run_name HAVING count(*) >= $least_groups
), trained AS (
    SELECT sweep, run_name FROM steps GROUP BY sweep, run_name HAVING count(*) >= $least_steps
)
SELECT r.sweep, any_value(r.config) AS config, any_value(s.environment) AS environment,
    list(r.run_name ORDER BY r.run_name) AS runs, sum(t.groups) AS measured
FROM runs AS r
JOIN sweeps AS s USING (sweep)
JOIN told AS t USING (sweep, run_name)
JOIN trained USING (sweep, run_name)
WHERE r.state = 'succeeded'
GROUP BY r.sweep, coalesce(r.arm_id, r.run_name), s.created_unix
ORDER BY s.created_unix DESC NULLS LAST, min(r.position)
"""


@dataclass(frozen=True)
class _FinishedArm:
    """An arm that costs can be fitted to: the names of its runs, and their groups with a verdict together."""

    sweep: str
    runs: tuple[str, ...]
    config: RunConfig
    measured: int


def named_costs(runs_dir: Path, given: str) -> CostModel:
    """Costs fitted to the run that a user names, or to all seeds of an arm that are done.

    Raises:
        ConfigError: there is no such run, or it has recorded too little.
    """
    return costs_of(runs_dir, locate_seeds(runs_dir, given), given)


def costs_of(runs_dir: Path, found: Sequence[FoundRun], given: str) -> CostModel:
    """The same of runs that were located already, by the name that they go by together.

    Raises:
        ConfigError: they have recorded too little.
    """
    store, sweep = Store(runs_dir), found[0].sweep.name
    names = [each.planned["run_name"] for each in found]
    if len(names) > 1:
        done = store.query("SELECT run_name FROM runs WHERE sweep = ? AND state = 'succeeded'", [sweep])
        names = [name for name in names if name in set(done["run_name"])] or names[:1]
    return _fitted(store, sweep, names, arm=given.rpartition("/")[2])


def likely_costs(runs_dir: Path, sweep: str, configs: Sequence[RunConfig]) -> KnownCosts | None:
    """Costs of each run, fitted to the finished arm on such a machine that has most to say of it.

    Arms of the same sweep come first, a pilot last; of equals the one in which most groups were measured.
    None where nothing is known of any of these runs.

    Raises:
        StoreError: the store cannot be read.
    """
    if not store_path(runs_dir).exists():
        return None
    store = Store(runs_dir)
    arms = _finished_here(store)

    @cache
    def fitted(place: int) -> CostModel:
        arm = arms[place]
        return _fitted(store, arm.sweep, arm.runs, arm=arm_label(arm.runs[0]))

    def of(config: RunConfig) -> CostModel | None:
        suitable = [place for place, arm in enumerate(arms) if suits(arm.config, config)]
        return fitted(max(suitable, key=lambda place: _rank(arms[place], sweep))) if suitable else None

    known = [costs for config in configs if (costs := of(config)) is not None]
    if not known:
        return None
    return KnownCosts("; ".join(dict.fromkeys(costs.source for costs in known)), of)


def suits(known: RunConfig, wanted: RunConfig) -> bool:
    """Whether what one run costs tells what another one does.

    They must be alike in all that decides the work of a group and the time of a token. Where held-out
    problems are to be evaluated, that must have been measured.
    """
    if _alike(known) != _alike(wanted):
        return False
    evaluates, told = wanted.held_out, known.held_out
    return evaluates.every_steps is None or (
        told.every_steps is not None and told.problems == evaluates.problems
    )


def differs_in(known: RunConfig, wanted: RunConfig) -> tuple[str, ...]:
    """Keys in which runs must be alike for the costs of one to be those of the other, and are not."""
    found, asked = _alike(known), _alike(wanted)
    return tuple(key for key in found if found[key] != asked[key])


def config_of(found: FoundRun) -> RunConfig | None:
    """The configuration of a run that a user named; None where it is none of this release."""
    return _config(json.dumps(found.planned.get("config")))


def _alike(config: RunConfig) -> dict[str, Any]:
    streams = config.forward_backward_prompts < config.prompts_per_optim_step
    learner = config.learner
    if learner.gradient_checkpointing == "auto" and _without_gpu():
        learner = learner.model_copy(update={"gradient_checkpointing": False})  # as it is on CPU
    return {key: getattr(config, key) for key in _SAME} | {
        "learner": learner,
        "reference": config.loss.beta > 0,  # which makes a forward pass of its own
        "chunk": config.forward_backward_prompts if streams else None,  # short passes cost more for a token
    }


@cache
def _without_gpu() -> bool:
    return not visible_gpus()


def _rank(arm: _FinishedArm, sweep: str) -> tuple[bool, bool, int]:
    return not is_pilot(arm.sweep), arm.sweep == sweep, arm.measured


def _finished_here(store: Store) -> list[_FinishedArm]:
    """Arms with enough to fit costs to, from a machine like this one, the latest sweep first.

    One whose configuration is none of this release is passed over.
    """
    limits = {"verdicts": list(VERDICTS), "least_groups": LEAST_GROUPS, "least_steps": LEAST_STEPS}
    here = _machine(environment())
    return [
        _FinishedArm(row["sweep"], tuple(row["runs"]), config, int(row["measured"]))
        for row in records(store.query(_CANDIDATES, limits))
        if _machine(json.loads(row["environment"] or "{}")) == here
        and (config := _config(row["config"])) is not None
    ]


def _config(stored: str | None) -> RunConfig | None:
    try:
        return RunConfig.model_validate_json(stored) if stored else None
    except ValidationError:
        return None


def _fitted(store: Store, sweep: str, names: Sequence[str], arm: str) -> CostModel:
    runs = [measured(store, sweep, name) for name in names]
    return fit(runs, runs[0].name if len(runs) == 1 else f"{sweep}/{arm}, {len(runs)} seeds")


def _machine(found: dict[str, Any]) -> list[Any]:
    return [found.get(key) for key in _MACHINE]
