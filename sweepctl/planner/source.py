"""Which costs a sweep is predicted from: those a user names, or the finished run that tells most."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from results.store import Store, records
from results.tables.arms import arm_label
from sweepctl.planner.costs import CostModel
from sweepctl.planner.fit import fit, measured
from sweepctl.provenance import environment
from sweepctl.watching.status import locate_seeds
from trainer.config import RunConfig
from trainer.paths import is_pilot, store_path

_MACHINE = ("cpu", "cores", "gpus", "gpu_names")
_SAME = ("model", "task", "sampling", "engine", "learner", "lora", "completions_per_prompt")
"""What two runs must share for the costs of one to be those of the other."""

_CANDIDATES = """
SELECT r.sweep, coalesce(r.arm_id, r.run_name) AS arm, any_value(r.config) AS config,
    any_value(s.environment) AS environment, min(r.position) AS place,
    list(DISTINCT r.run_name ORDER BY r.run_name) AS runs, count(*) AS measured
FROM runs AS r JOIN sweeps AS s USING (sweep) JOIN groups AS g USING (sweep, run_name)
WHERE r.state = 'succeeded' AND g.finished_s IS NOT NULL
GROUP BY r.sweep, arm, s.created_unix ORDER BY s.created_unix DESC NULLS LAST, place
"""


def named_costs(runs_dir: Path, given: str) -> CostModel:
    """Costs fitted to the run that a user names, or to all seeds of an arm that are done.

    Raises:
        ConfigError: there is no such run, or it has recorded too little.
    """
    found = locate_seeds(runs_dir, given)
    store, sweep = Store(runs_dir), found[0].sweep.name
    names = [each.planned["run_name"] for each in found]
    if len(names) > 1:
        done = store.query("SELECT run_name FROM runs WHERE sweep = ? AND state = 'succeeded'", [sweep])
        names = [name for name in names if name in set(done["run_name"])] or names[:1]
    return _fitted(store, sweep, names, arm=given.rpartition("/")[2])


def likely_costs(runs_dir: Path, sweep: str, configs: Sequence[RunConfig]) -> CostModel | None:
    """Costs fitted to the finished arm that has most to say of these, or None where none has.

    Only runs on such a machine with the same model, task, lengths, engine and learner count. Those of the
    same sweep come first, a pilot last; of equals the arm in which most groups were measured.
    """
    if not store_path(runs_dir).exists():
        return None
    store = Store(runs_dir)
    here, wanted = environment(), [_alike(config.model_dump(mode="json")) for config in configs]
    found = [
        row
        for row in records(_with_json(store.query(_CANDIDATES)))
        if _alike(row["config"]) in wanted and _machine(row["environment"]) == _machine(here)
    ]
    if not found:
        return None
    best = max(found, key=lambda row: (not is_pilot(row["sweep"]), row["sweep"] == sweep, row["measured"]))
    return _fitted(store, best["sweep"], list(best["runs"]), arm=arm_label(best["runs"][0]))


def _fitted(store: Store, sweep: str, names: Sequence[str], arm: str) -> CostModel:
    runs = [measured(store, sweep, name) for name in names]
    return fit(runs, runs[0].name if len(runs) == 1 else f"{sweep}/{arm}, {len(runs)} seeds")


def _with_json(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(
        **{name: [json.loads(text or "{}") for text in frame[name]] for name in ("config", "environment")}
    )


def _alike(config: dict[str, Any]) -> dict[str, Any]:
    known = RunConfig.model_validate(config).model_dump(mode="json") if config else {}
    return {key: known.get(key) for key in _SAME}


def _machine(found: dict[str, Any]) -> list[Any]:
    return [found.get(key) for key in _MACHINE]
