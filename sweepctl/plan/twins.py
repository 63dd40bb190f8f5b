"""Runs whose twin, the run that `baseline` compares them with, is not in the sweep."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sweepctl.plan.spans import spans
from sweepctl.spec.keys import flatten, nest
from sweepctl.spec.resolve import Resolved
from trainer.config import RunConfig

if TYPE_CHECKING:  # a plan has a note made here
    from sweepctl.plan.plan import PlannedRun

_BATCH, _PER_SYNC = "prompts_per_optim_step", "prompts_per_rollout_sync"


def twins_note(resolved: Resolved, runs: Sequence["PlannedRun"]) -> str | None:
    """Which selected ones of the feasible runs have no twin in the sweep, and what they are compared with."""
    without = without_twin(resolved, runs)
    lonely = [run for run in runs if run.selected and run.name in without]
    if not lonely:
        return None
    they = "it is" if len(lonely) == 1 else "they are"
    against = "the reference only" if resolved.reference else "nothing, since there is no reference"
    note = f"no twin in this sweep for {spans(runs, lonely)} (baseline: {_meaning(resolved)}, all else equal)"
    near = _near_miss(resolved, runs, lonely, without)
    return "; ".join([note, f"{they} compared with {against}", *near])


def without_twin(resolved: Resolved, runs: Sequence["PlannedRun"]) -> dict[str, RunConfig | None]:
    """The runs without a twin by name, with the configuration it would have; None where that is infeasible.

    A twin has the same values and seed but for those of `baseline`. It is found as reports find it
    (`results.files.comparisons`): by its `run_id`, among the runs that are feasible. A run can be its own.
    """
    there = {run.config.run_id() for run in runs}
    twins = {run.name: _twin(run.config, resolved) for run in runs}
    return {name: twin for name, twin in twins.items() if twin is None or twin.run_id() not in there}


def twins(resolved: Resolved, runs: Sequence["PlannedRun"]) -> dict[str, str]:
    """The twin of each feasible run that has one beside itself, by name; see `without_twin`."""
    by_id = {run.config.run_id(): run.name for run in runs}
    found = {run.name: _twin(run.config, resolved) for run in runs}
    names = {name: by_id.get(twin.run_id(), name) for name, twin in found.items() if twin is not None}
    return {name: twin for name, twin in names.items() if twin != name}


def _twin(config: RunConfig, resolved: Resolved) -> RunConfig | None:
    values = flatten(config.model_dump(mode="json"))
    if resolved.baseline is None:
        values |= {"max_staleness": 0, _PER_SYNC: config.prompts_per_optim_step}
    else:
        values |= {key: leaf.value for key, leaf in resolved.baseline.items()}
    try:
        return RunConfig.model_validate(nest(values))
    except ValidationError:
        return None


def _meaning(resolved: Resolved) -> str:
    if resolved.baseline is None:
        return "synchronous, that is max_staleness 0 and P = B"
    return ", ".join(f"{key} {leaf.text}" for key, leaf in resolved.baseline.items())


def _near_miss(
    resolved: Resolved,
    runs: Sequence["PlannedRun"],
    lonely: Sequence["PlannedRun"],
    without: Mapping[str, RunConfig | None],
) -> list[str]:
    """Why the run with the right values on every axis is still no twin: other keys follow, as by `when`."""
    baseline = resolved.baseline or ("max_staleness", _PER_SYNC)
    layers = (*(block.keys for block in resolved.blocks), *(given.settings for given in resolved.include))
    keys = dict.fromkeys([*baseline, *(key for layer in layers for key in layer)])

    def place(config: RunConfig) -> Hashable:
        values = _values(config)
        return tuple(repr(values[key]) for key in keys)

    at_place = {place(run.config): run for run in runs}
    for run in lonely:
        twin = without[run.name]
        if twin is not None and (found := at_place.get(place(twin))):
            wanted = _values(twin)
            differ = [key for key, value in _values(found.config).items() if value != wanted[key]]
            verb = "differs" if len(differ) == 1 else "differ"
            return [f"{found.label} is no twin of {run.label} since {', '.join(differ)} {verb}, too"]
    return []


def _values(config: RunConfig) -> dict[str, Any]:
    """By dotted key; P is B where nothing gives it."""
    values = flatten(config.model_dump(mode="json"))
    return values | {_PER_SYNC: values[_PER_SYNC] or values[_BATCH]}
