"""What a gate asks about: rows of runs and of comparisons, the missing ones among them.

    speedup, published   run and opponent         accuracy  run, opponent, task, shots, metric and filter
    run, staleness, modes   run

A run that should have a row and has none gets one that says so: a gate never passes because something is
not there. Points of the plan that can never run are no runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.notices import lacks_steps
from results.report.rows.accuracy import DeltaRow
from results.report.rows.runs import ExperimentRow
from results.report.rows.speed import ModesRow
from results.statistics.proportions import Verdict
from results.store import records
from results.tables.accuracy import default_filter_rows
from trainer.records import RunState

DEFAULT_OPPONENT = "baseline"
"""Whom rows of a comparison are against where a gate does not say."""
STATES = tuple(state.value for state in RunState)
SELECTORS = ("label", "run", "state", "seed")
"""What `where` may ask of every row, beside configuration keys and the row's own names."""

_SPEEDUP = {
    "step_time": "step_time_speedup",
    "step_time_low": "step_time_low",
    "step_time_high": "step_time_high",
    "training_time": "training_time_ratio",
    "prompts_per_s": "prompts_per_s_speedup",
    "prompts_per_s_low": "prompts_per_s_low",
    "prompts_per_s_high": "prompts_per_s_high",
    "completion_tokens_per_s": "completion_tokens_per_s_speedup",
    "completion_tokens_per_s_low": "completion_tokens_per_s_low",
    "completion_tokens_per_s_high": "completion_tokens_per_s_high",
    "time_to_reward": "time_to_reward_speedup",
    "time_to_reward_s": "time_to_reward_s",
    "other_time_to_reward_s": "other_time_to_reward_s",
    "against": "against",
    "other_label": "other_label",
}
_PUBLISHED = {
    **{
        f"{name}{end}": f"{column}{end}"
        for name, column in (
            ("step_time", "step_time_speedup"),
            ("training_time", "training_time_ratio"),
            ("prompts_per_s", "prompts_per_s_speedup"),
        )
        for end in ("", "_low", "_high")
    },
    "against": "against",
    "other_label": "other_label",
}
_ACCURACY = (
    *("against", "other_label", "checkpoint", "task", "num_fewshot", "metric", "filter", "questions"),
    *("value_percent", "other_percent", "delta_points", "low_points", "high_points", "method"),
    *("p", "p_adjusted", "p_equivalent_adjusted", "verdict", "detectable_points", "refusal"),
)
_STALENESS = (
    *("off_policy_steps_mean", "off_policy_steps_max", "truncated_fraction", "trained_token_share"),
    *("groups_dispatched", "groups_trained", "groups_filtered", "groups_lost"),
)
_ALWAYS_KNOWN = {
    *("label", "run_name", "run_id", "arm_id", "state", "seed", "profile", "model", "task", "engine"),
    *("steps_done", "max_steps", "max_staleness", "prompts_per_optim_step", "prompts_per_rollout_sync"),
    *("sync_interval_steps", "completions_per_prompt", "lr"),
}
"""Of a run that has not finished, too."""
_IDENTITY = {*_ALWAYS_KNOWN, "against", "other_label", "task", "num_fewshot", "metric", "filter"}

NAMES: Mapping[str, tuple[str, ...]] = {
    "speedup": tuple(_SPEEDUP),
    "published": tuple(_PUBLISHED),
    "accuracy": tuple(name for name in DeltaRow.model_fields if name in _ACCURACY),
    "run": tuple(ExperimentRow.model_fields),
    "staleness": _STALENESS,
    "modes": tuple(
        name for name in ModesRow.model_fields if name in {"modes", "steps", "unimodality_p", "position_p"}
    ),
}
"""By prefix, what may be asked: `speedup.prompts_per_s`."""
COMPARISONS = ("speedup", "published", "accuracy")
"""Prefixes whose rows have an opponent."""
VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "speedup.against": tuple(name for name in OPPONENTS if name != "base"),
    "published.against": tuple(name for name in OPPONENTS if name != "base"),
    "accuracy.against": tuple(OPPONENTS),
    "accuracy.verdict": (*get_args(Verdict), "refused"),
    "run.state": STATES,
    "state": STATES,
    "against": tuple(OPPONENTS),
}
"""Names that hold one of a few words."""


@dataclass(frozen=True)
class GateRow:
    """One row that a condition is asked of."""

    name: str
    """`Exp4 against Exp3, 8-shot`."""
    values: Mapping[str, Any]
    """By name without prefix; None where there is none."""
    selectors: Mapping[str, Any]
    """`SELECTORS`, `against`, and the keys of the configuration."""
    missing: str | None = None
    """Why nothing that was measured can be known of it."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Of values that are None, why."""

    def why_missing(self, name: str) -> str | None:
        """Why a name has no value here; None where it has one."""
        if self.missing and name not in _IDENTITY:
            return self.missing
        if self.values.get(name) is None:
            return self.reasons.get(name) or self.missing or "it has no value"
        return None


def gate_rows(report: Report, prefix: str, *, every_filter: bool) -> list[GateRow]:
    """All rows of a prefix, whatever they are against.

    Args:
        report: what is asked about.
        prefix: of `NAMES`.
        every_filter: all of lm-eval's filters, not only the default one.
    """
    runs = _Runs(report)
    match prefix:
        case "speedup":
            return list(_speedups(runs))
        case "published":
            return list(_published(runs))
        case "accuracy":
            return list(_accuracies(runs, every_filter=every_filter))
        case "modes":
            by_run = {row["run_name"]: row for row in records(report.modes)}
            return [runs.row(run, _of_modes(by_run.get(run, {}))) for run in runs.by_name]
    return [runs.row(run, _chosen(row, prefix)) for run, row in runs.by_name.items()]


def _of_modes(row: Mapping[str, Any]) -> dict[str, Any]:
    """No number of modes where there were too few steps to look for any."""
    return {name: value if row["modes"] else None for name, value in _chosen(row, "modes").items()}


def _chosen(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name: row[name] for name in NAMES[prefix] if name in row}


class _Runs:
    """The runs that can run, and what all rows of one have in common."""

    def __init__(self, report: Report) -> None:
        self.report = report
        feasible = report.experiments[report.experiments["state"] != "infeasible"]
        self.by_name = {row["run_name"]: row for row in records(feasible)}

    def row(
        self,
        run: str,
        values: Mapping[str, Any],
        *,
        against: str | None = None,
        other_run: object = None,
        of_trace: bool = True,
        what: str = "",
        missing: str | None = None,
        reasons: Mapping[str, str] | None = None,
    ) -> GateRow:
        row = self.by_name[run]
        other = self.by_name.get(other_run) if isinstance(other_run, str) else None
        versus = f" against {other['label'] if other else OPPONENTS[against]}" if against else ""
        unfinished = [each for each in (row, other) if each and each["state"] != RunState.SUCCEEDED]
        if unfinished:
            missing = " and ".join(f"{each['label']} is {each['state']}" for each in unfinished)
        elif cut := [each for each in (row, other) if each and of_trace and lacks_steps(each)]:
            missing = " and ".join(
                f"{each['steps_done']:.0f} of {each['max_steps']:.0f} steps of {each['label']} are known"
                for each in cut
            )
        selectors = {
            **self.report.configurations[run],
            "label": row["label"],
            "run": run,
            "state": row["state"],
            "seed": _known(row["seed"]),
            **({"against": against} if against else {}),
        }
        plain = {name: _known(value) for name, value in values.items()}
        if row["state"] == RunState.SUCCEEDED and _known(row["training_s"]) is None:
            plain |= dict.fromkeys(
                plain.keys() & {"steps_done"}
            )  # it was made elsewhere, or its trace is gone
        return GateRow(f"{row['label']}{versus}{what}", plain, selectors, missing, reasons or {})

    def trained_alike(self, run: str, other: str) -> bool:
        """Whether two runs trained the same number of prompts."""
        mine, others = (_known(self.by_name.get(name, {}).get("prompts")) for name in (run, other))
        return mine is not None and mine == others

    def without_twin(self) -> Iterator[str]:
        """Runs whose matched baseline is not in the sweep; a run that is one itself needs none."""
        speedups = self.report.speedups
        compared = set(speedups.loc[speedups["against"] == "baseline", "run_name"])
        yield from (run for run in self.by_name if run not in compared and not self._is_baseline(run))

    def _is_baseline(self, run: str) -> bool:
        flat, baseline = self.report.configurations[run], self.report.baseline
        if isinstance(baseline, dict):
            return all(flat.get(key) == value for key, value in baseline.items())
        batch = flat.get("prompts_per_optim_step")
        return flat.get("max_staleness") == 0 and flat.get("prompts_per_rollout_sync") == batch


_NO_TWIN = "its matched baseline is not in the sweep"
_UNLIKE_STEPS = "the two runs' steps train different numbers of prompts"


def _speedups(runs: _Runs) -> Iterator[GateRow]:
    for row in records(runs.report.speedups):
        values = {name: row[column] for name, column in _SPEEDUP.items()}
        reasons = dict.fromkeys(values, "too few sync cycles for it")
        if not _known(row["step_time_comparable"]):
            unlike = dict.fromkeys(("step_time", "step_time_low", "step_time_high"))
            values |= unlike
            reasons |= dict.fromkeys(unlike, _UNLIKE_STEPS)
        if not runs.trained_alike(row["run_name"], row["other_run"]):
            values["training_time"] = None  # a ratio of total seconds is no speed-up of unequal work
            reasons["training_time"] = "the two runs did not train the same number of prompts"
        if row["time_to_reward_bound"] is not None:
            values["time_to_reward"] = None  # all that is known is a bound
        rewards = ("time_to_reward", "time_to_reward_s", "other_time_to_reward_s")
        reasons |= dict.fromkeys(rewards, "the reward was not reached")
        yield runs.row(
            row["run_name"], values, against=row["against"], other_run=row["other_run"], reasons=reasons
        )
    for run in runs.without_twin():
        yield runs.row(run, {"against": "baseline"}, against="baseline", missing=_NO_TWIN)


def _published(runs: _Runs) -> Iterator[GateRow]:
    """Ratios of published figures; a run that was measured here has none."""
    there = {(row["run_name"], row["against"]): row for row in records(runs.report.published_speedups)}
    for run, against, other in _opponents(runs):
        if against == "base":
            continue
        row = there.get((run, against))
        missing = None if row else "no speed of both was published" if other else _NO_TWIN
        values = {name: row[column] for name, column in _PUBLISHED.items()} if row else {"against": against}
        reasons = dict.fromkeys(_PUBLISHED, "it was not published of both")
        if row and not row["step_time_comparable"]:
            unlike = [name for name in _PUBLISHED if name.startswith(("step_time", "training_time"))]
            values |= dict.fromkeys(unlike)
            reasons |= dict.fromkeys(unlike, _UNLIKE_STEPS)
        yield runs.row(
            run,
            values,
            against=against,
            other_run=other,
            of_trace=False,
            missing=missing,
            reasons=reasons,
        )


def _accuracies(runs: _Runs, *, every_filter: bool) -> Iterator[GateRow]:
    """The comparisons made, and those that should have been: every run, opponent, task and shots."""
    deltas = runs.report.deltas if every_filter else default_filter_rows(runs.report.deltas)
    keys = ["task", "num_fewshot", "metric", "filter"]
    asked = [tuple(key) for key in deltas[keys].drop_duplicates().itertuples(index=False, name=None)]
    there = {(row["run_name"], row["against"], *(row[key] for key in keys)): row for row in records(deltas)}
    for run, against, other in _opponents(runs):
        for key in asked or [(None, None, None, None)]:
            row = there.get((run, against, *key))
            task, shots, _, filter_name = key
            what = "" if task is None else f", {task} {shots}-shot {filter_name}"
            missing = _NO_TWIN if against == "baseline" and other is None else None
            if row is None:
                row = {"against": against, **dict(zip(keys, key, strict=True))}
                missing = missing or "one of the two was not evaluated"
            values = {**row, "low_points": row.get("low"), "high_points": row.get("high")}
            reason = f"the comparison is refused ({row.get('refusal') or 'no standard error and no samples'})"
            refused = dict.fromkeys(DeltaRow.model_fields, reason) if row.get("verdict") == "refused" else {}
            yield runs.row(
                run,
                values,
                against=against,
                other_run=other,
                of_trace=False,
                what=what,
                missing=missing,
                reasons=refused,
            )


def _opponents(runs: _Runs) -> Iterator[tuple[str, str, str | None]]:
    """Run, kind of opponent, and the run it is where it is one and there is one."""
    yield from ((run, "base", None) for run in runs.by_name)
    speedups = runs.report.speedups
    columns = (speedups[name] for name in ("run_name", "against", "other_run"))
    yield from zip(*columns, strict=True)
    yield from ((run, "baseline", None) for run in runs.without_twin())


def _known(value: Any) -> Any:  # noqa: ANN401 - a cell of any type
    """A cell as Python's own; None where it is missing."""
    return None if pd.isna(value) else getattr(value, "item", lambda: value)()
