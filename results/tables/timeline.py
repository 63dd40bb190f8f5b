"""What engine, learner, sync and verifier of one run did in a range of its steps.

Times are seconds of the range: 0 is where its first step begins. Only what lies within its steps is in it.
So where a run was resumed, nothing is left of the time of steps that were done again, nor of the start
after it, and the steps still follow each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.store import Store

IDLE = "idle:"
"""What names of spans begin with in which the engine worked on nothing; the reason follows."""
WAITED = ("wait", "drain")
"""Names of spans in which the learner waited: for groups, and for the engine before a sync."""
_WORKERS = ("learner", "engine")
_NAMED = 0.005
"""A share that is at least one per cent when rounded."""

# A stretch is what the range holds of one attempt; the steps of an attempt follow each other without a gap.
_STRETCHES = """
    WITH chosen AS (
        FROM steps WHERE sweep = $sweep AND run_name = $run AND step BETWEEN $first AND $last
    ),
    attempts_within AS (
        SELECT min(start_s) AS from_s, max(start_s + wall_s) AS to_s FROM chosen GROUP BY attempt
    ),
    stretches AS (
        SELECT from_s, to_s, from_s - coalesce(sum(to_s - from_s) OVER (
            ORDER BY from_s ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS zero_s FROM attempts_within
    ),
    done AS (FROM spans WHERE sweep = $sweep AND run_name = $run AND lane <> 'verify'),
    verified AS (
        SELECT finished_s AS start_s, verified_s AS end_s, group_id, fate
        FROM groups WHERE sweep = $sweep AND run_name = $run AND verified_s IS NOT NULL
    )
"""
_MEETS = "d.start_s < x.to_s AND d.end_s > x.from_s"
_CLIPPED = "greatest(d.start_s, x.from_s) - x.zero_s AS start_s, least(d.end_s, x.to_s) - x.zero_s AS end_s"


@dataclass(frozen=True)
class Timeline:
    """A range of steps of one run."""

    steps: pd.DataFrame
    """`step, start_s, end_s`, in order; those of the range that the run has done."""
    spans: pd.DataFrame
    """`lane, name, start_s, end_s, step, group_id, fate`, by lane and time. Lane `verify` has a span for each
    group, from the end of its generation to its verdict; the others are as in table `spans`."""
    in_flight: pd.DataFrame
    """`start_s, groups`: how many groups were generated at once, from then on, up to the next row."""

    @property
    def seconds(self) -> float:
        """How long the range is: the sum of its steps' times."""
        return float(self.steps["end_s"].max()) if len(self.steps) else 0.0


def timeline(store: Store, sweep: str, run: str, first: int, last: int) -> Timeline:
    """The steps from `first` to `last` of a run, both included; empty where it has not done any of them."""
    values: dict[str, object] = {"sweep": sweep, "run": run, "first": first, "last": last}
    steps = store.query(
        f"""
        {_STRETCHES}
        SELECT d.step, d.start_s - x.zero_s AS start_s, d.start_s + d.wall_s - x.zero_s AS end_s
        FROM chosen AS d JOIN stretches AS x ON d.start_s >= x.from_s AND d.start_s < x.to_s ORDER BY d.step
        """,
        values,
    )
    spans = store.query(
        f"""
        {_STRETCHES}
        SELECT d.lane, d.name, {_CLIPPED}, d.step, NULL::BIGINT AS group_id, NULL::VARCHAR AS fate
        FROM done AS d JOIN stretches AS x ON {_MEETS}
        UNION ALL
        SELECT 'verify', 'verify', {_CLIPPED}, NULL, d.group_id, d.fate
        FROM verified AS d JOIN stretches AS x ON {_MEETS}
        ORDER BY lane, start_s, end_s
        """,
        values,
    )
    # Without an end of its own, as where it was aborted, a group ended when its fate was written. One that
    # has no fate yet may still be running.
    generated = store.query(
        f"""
        {_STRETCHES},
        generated AS (
            SELECT coalesce(g.dispatched_s, d.t) AS start_s, coalesce(g.finished_s, g.t, 'inf') AS end_s
            FROM dispatches AS d LEFT JOIN groups AS g USING (sweep, run_name, group_id)
            WHERE d.sweep = $sweep AND d.run_name = $run
        )
        SELECT {_CLIPPED} FROM generated AS d JOIN stretches AS x ON {_MEETS}
        """,
        values,
    )
    return Timeline(steps, spans, _at_once(generated))


def count_spans(store: Store, sweep: str, run: str, first: int, last: int) -> int:
    """How many rows `Timeline.spans` of that range has; quicker than to load them."""
    found = store.query(
        f"{_STRETCHES} SELECT (SELECT count(*) FROM done AS d JOIN stretches AS x ON {_MEETS}) "
        f"+ (SELECT count(*) FROM verified AS d JOIN stretches AS x ON {_MEETS}) AS spans",
        {"sweep": sweep, "run": run, "first": first, "last": last},
    )
    return int(found["spans"].iloc[0])


def fitting_last(store: Store, sweep: str, runs: Sequence[str], *, first: int, last: int, most: int) -> int:
    """The last step up to which these runs have at most `most` spans together; `last` where they all fit.

    At least `first`, though that one step may have more.
    """
    while last > first:
        spans = sum(count_spans(store, sweep, run, first, last) for run in runs)
        if spans <= most:
            break
        # Never more than their share, and always less than before.
        last = max(first, min(last - 1, first + (last - first + 1) * most // spans - 1))
    return last


def lane_shares(of: Timeline) -> pd.DataFrame:
    """What the time of engine and learner went into: `lane, name, seconds, share`, shares of the range.

    Syncs hold up the learner and stand in its lane. What no span covers is `other` in the learner's lane,
    as in table `steps`, and `none`, not told, in the engine's. A lane without any span is not there; nor is
    `verify`: many groups are verified at once, so its seconds add up to no share.
    """
    spans = of.spans[of.spans["lane"] != "verify"]
    lanes = spans["lane"].replace("sync", "learner")
    seconds = (spans["end_s"] - spans["start_s"]).groupby([lanes, spans["name"]]).sum()
    for lane, rest in (("engine", "none"), ("learner", "other")):
        if (lanes == lane).any():
            seconds.loc[(lane, rest)] = max(0.0, of.seconds - float(seconds.loc[lane].sum()))
    table = seconds.rename("seconds").reset_index()
    return table.assign(share=table["seconds"] / of.seconds)


def lane_sentence(of: Timeline) -> str:
    """How long both waited: `the learner waited 49% of the time (wait 49%); the engine idled 35% (…)`."""
    shares = lane_shares(of)
    learner, engine = (shares[shares["lane"] == lane].set_index("name")["share"] for lane in _WORKERS)
    idle = engine[engine.index.str.startswith(IDLE)].rename(lambda name: str(name).removeprefix(IDLE))
    parts = [
        _said("learner waited", learner, learner[learner.index.isin(WAITED)]),
        _said("engine idled", engine, idle),
    ]
    if (untold := float(engine.get("none", 0.0))) >= _NAMED:
        parts.append(f"of {untold:.0%} the trace does not tell what the engine did")
    return "; ".join(parts)


def _said(what: str, lane: "pd.Series[float]", waits: "pd.Series[float]") -> str:
    if lane.empty:
        return f"the trace does not tell how long the {what}"
    named = [f"{name} {share:.0%}" for name, share in waits.items() if share >= _NAMED]
    reasons = f" ({', '.join(named)})" if named else ""
    return f"the {what} {waits.sum():.0%} of the time{reasons}"


def _at_once(generated: pd.DataFrame) -> pd.DataFrame:
    """How many of these intervals hold each moment, a row wherever that changes."""
    times = np.concatenate([generated["start_s"], generated["end_s"]])
    changes = np.repeat([1, -1], len(generated))
    moments, which = np.unique(times, return_inverse=True)
    groups = np.cumsum(np.bincount(which, changes, len(moments))).astype(np.int64)
    return pd.DataFrame({"start_s": moments, "groups": groups})
