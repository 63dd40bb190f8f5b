"""One run in full: what page Runs shows of the row that is chosen."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.explain import show_command
from dashboard.shown import Columns, escaped, number, show_table, text
from results.files.attempts import last_started
from results.files.log_tail import last_lines
from results.report.cells import Row, value_text
from results.report.knobs import flatten
from results.tables.runs import (
    attempts_table,
    configuration_table,
    environment,
    run_warnings_table,
)
from trainer.config import RunConfig
from trainer.paths import RunPaths, SweepPaths

LOG_LINES = 40
_LOG_HEIGHT_PX = 360


def show_run(view: View, row: Row) -> None:
    """Configuration, the end of its log, attempts, warnings and environment of a run.

    Args:
        view: what the page shows.
        row: of `results.tables.runs.runs_table`.
    """
    run = str(row["run_name"])
    st.subheader(escaped(run_title(row)))
    reasons = view.experiments.loc[view.experiments["run_name"] == run, "reason"].dropna()
    for reason in reasons:
        st.caption(escaped(f"{row['state']}: {reason}"))
    configuration, figures, log, attempts, environments = st.tabs(
        ["Configuration", "Results", "Log", "Attempts", "Environment"]
    )
    with configuration:
        _configuration(view, run)
    with figures:
        _figures(view, run)
    with log:
        _log(view, run, str(row["state"]))
    with attempts:
        _attempts(view, run)
    with environments:
        show_table(view, f"{run}-environment", _key_values(origin(view, run)), _KEY_VALUE)


def _configuration(view: View, run: str) -> None:
    flat = view.report.configurations.get(run, {})
    if not flat:
        st.info("The configuration of this run is not known: it has no config.json, and no plan names it.")
        return
    table = configuration_table(flat, _defaults(flat))
    wanted = st.text_input(
        "Search keys and values", key="configuration_text", placeholder="such as lr", width=320
    ).casefold()
    departs = st.toggle("Only what departs from the trainer's defaults", key="departs", bind="query-params")
    shown = table.assign(
        value=table["value"].map(value_text),
        default=table["default"].map(value_text).where(table["departs"].notna(), None),
        departs=table["departs"].map({True: "yes", False: "no"}),
    )
    kept = shown["key"].str.casefold().str.contains(wanted, regex=False)
    kept |= shown["value"].str.casefold().str.contains(wanted, regex=False)
    if departs:
        kept &= shown["departs"] != "no"
    if not kept.any():
        st.info("No setting is as asked for above.")
        return
    show_table(view, f"{run}-configuration", shown[kept], _CONFIGURATION)


def _defaults(flat: Mapping[str, Any]) -> Mapping[str, Any]:
    """The trainer's defaults by dotted key; a synchronisation that is left open is every step of this run."""
    defaults = RunConfig().model_dump(mode="json")
    return flatten({**defaults, "prompts_per_rollout_sync": flat.get("prompts_per_optim_step")})


def _figures(view: View, run: str) -> None:
    """What view `run_summary` has of a run, beside its settings."""
    summary = view.experiments[view.experiments["run_name"] == run]
    known = {name: summary[name].iloc[0] for name in _SUMMARY if summary[name].notna().all()}
    if "training_s" not in known:
        st.info("The run has not finished a step here.")
        return
    table = pd.DataFrame(
        {"key": [_SUMMARY[name] for name in known], "value": [f"{value:.6g}" for value in known.values()]}
    )
    show_table(
        view,
        f"{run}-results",
        table,
        _KEY_VALUE,
        "Times by part are sums over all steps. Overlap efficiency: prompts/s over what they would be if the "
        "busier of engine and learner never waited; the engine counts as busy while at least one request "
        "runs.",
    )


def _log(view: View, run: str, state: str) -> None:
    show_command(f"sweepctl logs -f {view.sweep}/{run}", view.runs_dir)
    try:
        lines = last_lines(_paths(view, run).log, LOG_LINES)
    except FileNotFoundError:
        st.info(f"There is no train.log: the run is {state}, or was made elsewhere and came without one.")
        return
    except OSError as error:
        st.info("The log cannot be read:")
        st.code(str(error), language=None, wrap_lines=True)
        return
    st.caption(f"The last {LOG_LINES} lines of train.log at most, as of this look at the page.")
    st.code(lines or "(nothing has been printed)", language=None, height=_LOG_HEIGHT_PX)


def _attempts(view: View, run: str) -> None:
    """When each attempt began, where it went on from, and what the run warned of."""
    attempts = attempts_table(view.store, view.sweep, run)
    if attempts.empty:
        st.info("No attempt is on record: the run has not begun, or has left no trace.")
        return
    began = pd.to_datetime(attempts["started_unix"], unit="s", utc=True, errors="coerce")
    here = datetime.now().astimezone().tzinfo
    show_table(
        view,
        f"{run}-attempts",
        attempts.assign(
            began=began.dt.tz_convert(here).dt.strftime("%Y-%m-%d %H:%M:%S"), minutes=attempts["t"] / 60
        ),
        _ATTEMPTS,
        "Steps: those that no later attempt superseded. Run time: training and start-up, downtime left out.",
    )
    warnings = run_warnings_table(view.store, view.sweep, run)
    if len(warnings):
        st.markdown("**Warnings**")
        show_table(view, f"{run}-warnings", warnings, _WARNINGS)
    else:
        st.caption("The run has warned of nothing.")


def origin(view: View, run: str) -> Mapping[str, Any]:
    """Versions, hardware and git of the sweep; engine, code and devices of the run's last attempt."""
    found = dict(flatten(environment(view.store, view.sweep)))
    engines = view.experiments.loc[view.experiments["run_name"] == run, "engine"].dropna()
    if len(engines):
        found["engine"] = engines.iloc[0]
    started = None
    with suppress(OSError):  # nobody knows then, as where nobody wrote it down
        started = last_started(_paths(view, run))
    if started is not None:
        fingerprints = {
            "environment_id": started.environment,
            "code_id": started.code,
            "devices": started.devices,
        }
        found |= {key: value for key, value in fingerprints.items() if value is not None}
    return found


def _key_values(values: Mapping[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        {"key": list(values), "value": [value_text(value) for value in values.values()]}, dtype=object
    )


def run_title(row: Row) -> str:
    """`Exp1: s0_opt16`; a run without a label by its name alone."""
    name, label = str(row["run_name"]), str(row["label"])
    return name if label == name else f"{label}: {name}"


def _paths(view: View, run: str) -> RunPaths:
    return SweepPaths(view.runs_dir / view.sweep).run(run)


_SUMMARY = {
    "steps_done": "steps done",
    "training_s": "training time (s)",
    "step_mean_s": "step, mean (s)",
    "step_std_s": "step, standard deviation (s)",
    "step_median_s": "step, median (s)",
    "step_min_s": "step, least (s)",
    "step_max_s": "step, greatest (s)",
    "prompts_per_s": "prompts trained a second (1/s)",
    "completion_tokens_per_s": "completion tokens trained a second (1/s)",
    "overlap_efficiency": "overlap efficiency",
    "wait_s": "waiting for groups (s)",
    "drain_s": "draining the engine (s)",
    "learn_s": "learning (s)",
    "sync_s": "syncs (s)",
    "checkpoint_s": "checkpoints (s)",
    "other_s": "the rest (s)",
    "off_policy_steps_mean": "age, mean (steps)",
    "off_policy_steps_max": "age, greatest (steps)",
    "truncated_fraction": "share of completions truncated",
    "reward_first_fifth": "reward, first fifth of the steps",
    "reward_last_fifth": "reward, last fifth of the steps",
    "groups_dispatched": "groups dispatched",
    "groups_trained": "groups trained",
    "groups_filtered": "groups filtered",
    "groups_lost": "groups evicted, aborted, failed or left over",
    "trained_token_share": "share of completion tokens trained",
}
"""Columns of view `run_summary`, in words."""
_CONFIGURATION: Columns = {
    "key": text("Setting"),
    "value": text("Value"),
    "default": text("Default"),
    "departs": text("Departs"),
}
_KEY_VALUE: Columns = {"key": text("What"), "value": text("Value")}
_ATTEMPTS: Columns = {
    "attempt": number("Attempt", "%d"),
    "began": text("Began"),
    "minutes": number("Run time then (min)", "%.1f"),
    "from_step": number("Resumed from step", "%d"),
    "steps": number("Steps", "%d"),
    "engine": text("Engine"),
}
_WARNINGS: Columns = {"message": text("Message", width="large"), "times": number("Times", "%d")}
