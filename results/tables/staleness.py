"""How old what was trained on was, and what the rest cost: ages, fates and waste of a sweep's runs."""

import pandas as pd

from results.store import Store
from trainer.records import Fate

WASTED = (Fate.FILTERED, Fate.EVICTED, Fate.ABORTED, Fate.FAILED, Fate.LEFTOVER)
"""Wasted is what was generated and never trained on, `filtered` groups among it; `discarded` is a cut-off
attempt's, not a setting's. `groups_lost` of view `run_summary` counts the wasted groups but the filtered."""
_ORDER = "ORDER BY position NULLS LAST, run_name"
NUMBERED_RUNS = f"""
    SELECT run_name, label, position, row_number() OVER ({_ORDER}) - 1 AS run FROM runs WHERE sweep = $sweep
"""
"""Runs of a sweep by their place in the plan: frames of many rows carry that number, not the name."""


def runs_of(store: Store, sweep: str) -> pd.DataFrame:
    """`run_name, label, position` of all runs; the index is `run` of `NUMBERED_RUNS`."""
    return store.query(f"{NUMBERED_RUNS} ORDER BY run", {"sweep": sweep}).drop(columns="run")


def staleness_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `staleness`: trained groups by age, one row per run and age.

    Columns: `run_name, label, position, max_staleness, off_policy_steps, groups, share, completion_tokens,
    token_share, in_flight_steps_mean, in_queue_steps_mean`. Shares are of the run's trained groups and of
    their completion tokens, in [0, 1]; the two means add up to the age, and are NaN in traces that do not
    tell when a group was finished.
    """
    return store.query(
        f"SELECT * EXCLUDE (sweep) FROM staleness WHERE sweep = ? {_ORDER}, off_policy_steps", [sweep]
    )


def fates_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `fates`: one row per run and fate, `trained` first, then by tokens.

    Columns: `run_name, label, position, fate, groups, share, completions, completion_tokens, token_share`.
    `share` is of all groups dispatched; `token_share` of the tokens of all fates but `discarded`.
    """
    return store.query(
        f"SELECT * EXCLUDE (sweep) FROM fates WHERE sweep = ? "
        f"{_ORDER}, fate <> 'trained', completion_tokens DESC, fate",
        [sweep],
    )


def ages_table(store: Store, sweep: str) -> pd.DataFrame:
    """Ages of trained groups against the bound, one row per run that trained any.

    Columns:
        run_name, label, position, max_staleness
        groups: trained.
        off_policy_steps_mean, off_policy_steps_token_mean: each group counts alike; each token does.
        off_policy_steps_median, off_policy_steps_p90, off_policy_steps_max: over groups, steps.
        at_bound_share: share of groups as old as the bound allows.
        over_bound_groups: groups older than it, which no correct trace has.
        in_flight_steps_mean, in_queue_steps_mean: their sum is the mean age; NaN where not recorded.
    """
    return store.query(
        f"""
        SELECT run_name, label, position, max_staleness, sum(groups)::BIGINT AS groups,
            sum(off_policy_steps * groups) / sum(groups) AS off_policy_steps_mean,
            sum(off_policy_steps * completion_tokens) / nullif(sum(completion_tokens), 0)
                AS off_policy_steps_token_mean,
            min(off_policy_steps) FILTER (reached >= 0.5) AS off_policy_steps_median,
            min(off_policy_steps) FILTER (reached >= 0.9) AS off_policy_steps_p90,
            max(off_policy_steps) AS off_policy_steps_max,
            coalesce(sum(share) FILTER (off_policy_steps = max_staleness), 0) AS at_bound_share,
            coalesce(sum(groups) FILTER (off_policy_steps > max_staleness), 0)::BIGINT AS over_bound_groups,
            sum(in_flight_steps_mean * groups) / sum(groups) FILTER (in_flight_steps_mean IS NOT NULL)
                AS in_flight_steps_mean,
            sum(in_queue_steps_mean * groups) / sum(groups) FILTER (in_queue_steps_mean IS NOT NULL)
                AS in_queue_steps_mean
        FROM (
            SELECT *, sum(groups) OVER up_to / sum(groups) OVER (PARTITION BY run_name) AS reached
            FROM staleness WHERE sweep = ?
            WINDOW up_to AS (PARTITION BY run_name ORDER BY off_policy_steps)
        )
        GROUP BY run_name, label, position, max_staleness {_ORDER}
        """,
        [sweep],
    )


def waste_table(fates: pd.DataFrame) -> pd.DataFrame:
    """Wasted completion tokens, those of the fates `WASTED`, one row per run that generated any group.

    Args:
        fates: `fates_table`.

    Columns:
        run_name, label, position
        generated_tokens: of all groups with a fate but `discarded`.
        trained_tokens, wasted_tokens: add up to `generated_tokens`.
        wasted_share: wasted / generated; NaN where nothing was generated.
        filtered_share, evicted_share, aborted_share, failed_share, leftover_share: add up to it.
        discarded_tokens: of attempts that were cut off and done again; in none of the above.
        discarded_share: discarded / (generated + discarded).
        unresolved_groups: dispatched and without a fate so far; their tokens are not known.
    """
    table = fates[["run_name", "label", "position"]].drop_duplicates("run_name", ignore_index=True)
    tokens = fates.pivot(index="run_name", columns="fate", values="completion_tokens")
    tokens = tokens.reindex(index=table["run_name"], columns=list(Fate)).fillna(0).astype("int64")
    tokens = tokens.reset_index(drop=True)
    generated = tokens[[Fate.TRAINED, *WASTED]].sum(axis=1)
    table["generated_tokens"] = generated
    table["trained_tokens"] = tokens[Fate.TRAINED]
    table["wasted_tokens"] = generated - tokens[Fate.TRAINED]
    table["wasted_share"] = table["wasted_tokens"] / generated
    for fate in WASTED:
        table[f"{fate}_share"] = tokens[fate] / generated
    table["discarded_tokens"] = tokens[Fate.DISCARDED]
    table["discarded_share"] = tokens[Fate.DISCARDED] / (generated + tokens[Fate.DISCARDED])
    unresolved = fates[fates["fate"] == "unresolved"].set_index("run_name")["groups"]
    table["unresolved_groups"] = table["run_name"].map(unresolved).fillna(0).astype("int64")
    return table
