"""The verdict in three lines: the fastest setting, its speed-up, and what it cost in accuracy.

Each line says what kind of evidence it has, and none is stronger than its test: a setting over its seeds
where there are several, else one run; published figures by what their rounding allows, without a verdict.
Only runs that finished count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from results.report.build import Report
from results.report.cells import Row, counted, published_ratio, significant, span, unseen, value_text
from results.report.compared import compared_speeds
from results.report.observations import opponent_name
from results.store import records
from results.tables.accuracy import default_filter_rows
from results.tables.arms import arm_label
from results.tables.arms_accuracy import ONE_SEED, learned_arms
from results.tables.speed import ONE_RUN

_WORK = ("model", "task.name", "completions_per_prompt", "sampling.max_completion_tokens")
"""Where these differ, a prompt is not the same work."""
_KINDS = ("baseline", "reference")
"""Opponents by what they tell of a setting, the more first."""
_NAMED = 3
"""So many settings are named one by one; more are counted."""
_VERDICTS = ("worse", "better", "equivalent", "inconclusive", "refused")


@dataclass(frozen=True)
class Headline:
    """Three sentences, in plain text."""

    fastest: str
    speedup: str
    accuracy: str


@dataclass(frozen=True)
class _Setting:
    """An arm, or a run whose arm is not known."""

    key: str
    """`arm_id`, or else the run's name."""
    label: str


def headline(report: Report) -> Headline:
    """The three lines of a report."""
    measured = report.arms.dropna(subset=["prompts_per_s"])
    if measured.empty and report.published_speed["prompts_per_s"].notna().any():
        return _of_published(report)
    if measured.empty:
        nothing = "No run has finished: which setting is the fastest is not known."
        return Headline(nothing, "There is no finished pair of runs to compare.", "Nothing is known yet.")
    speeds = _finished_pairs(report)
    if unlike := [key for key in _WORK if key in report.varying]:
        fastest = (
            f"The runs differ in {', '.join(unlike)}: a prompt is not the same work in all of them, so none "
            "is called the fastest."
        )
        twins = speeds[speeds["against"] == "baseline"].dropna(subset=["prompts_per_s_speedup"])
        if twins.empty:
            return Headline(fastest, "No run has a matched baseline that finished.", _untested(report))
        best = max(records(twins), key=lambda row: row["prompts_per_s_speedup"])
        setting = _Setting(str(best["arm_id"]), arm_label(best["label"]))
        words = f"Largest ratio to a matched baseline: {setting.label}, "
    else:
        best = max(records(measured), key=lambda row: row["prompts_per_s"])
        setting, words = _Setting(best["arm_id"], best["label"]), f"{best['label']}: "
        fastest = _fastest(report, best, len(measured), speeds)
    against = _best_kind(speeds, "arm_id", setting)
    compared = speeds[(speeds["against"] == against) & (speeds["arm_id"] == setting.key)]
    speedup = words + (_speedup(records(compared)[0], len(measured)) if len(compared) else _ALONE)
    return Headline(fastest, speedup, _accuracy(report, setting, against))


_ALONE = "there is no matched baseline or reference run beside it that finished, so no speed-up to speak of."


def _finished_pairs(report: Report) -> pd.DataFrame:
    """Rows of `compared_speeds` whose runs all finished."""
    finished = set(report.finished["run_name"])
    runs = report.speedups
    runs = runs[runs["run_name"].isin(finished) & runs["other_run"].isin(finished)]
    return compared_speeds(report.experiments, runs, report.arm_speedups)


def _best_kind(rows: pd.DataFrame, column: str, setting: _Setting) -> str | None:
    """The first kind of opponent that a setting has; None where it has none."""
    there = set(rows.loc[rows[column] == setting.key, "against"])
    return next((against for against in _KINDS if against in there), None)


def _fastest(report: Report, best: Row, count: int, speeds: pd.DataFrame) -> str:
    """Which one trained the most prompts a second, its knobs, and whom it cannot be told from."""
    run = report.experiments.loc[report.experiments["arm_id"] == best["arm_id"], "run_name"].iloc[0]
    over = f", mean over {best['seeds']} seeds" if best["seeds"] > 1 else ""
    return (
        f"{best['label']}{_knobs(report, run)} trained the most prompts a second of "
        f"{counted(count, 'finished setting')}: {significant(best['prompts_per_s'], 3)}{over}"
        f"{_close(best, speeds)}."
    )


def _knobs(report: Report, run: str) -> str:
    """A run's values of what varies: ` (max_staleness 1, prompts_per_optim_step 16)`."""
    flat = report.configurations[run]
    words = [f"{key} {value_text(flat[key])}" for key in report.varying if key != "seed" and key in flat]
    return f" ({', '.join(words)})" if words else ""


def _close(best: Row, speeds: pd.DataFrame) -> str:
    """Settings whose interval against the reference run overlaps with the best one's."""
    intervals = speeds[speeds["against"] == "reference"].dropna(subset=["prompts_per_s_low"])
    mine = intervals[intervals["arm_id"] == best["arm_id"]]
    if mine.empty:
        return ""
    low = mine["prompts_per_s_low"].iloc[0]
    rivals = intervals[(intervals["prompts_per_s_high"] >= low) & (intervals["arm_id"] != best["arm_id"])]
    if rivals.empty:
        return ""
    names = _listed([arm_label(label) for label in rivals["label"]])
    said = "intervals of {} overlap its" if len(rivals) > 1 else "interval of {} overlaps its"
    return f"; the 95 % {said.format(names)}"


def _speedup(row: Row, count: int) -> str:
    """The ratio, its interval and its kind, and what that shows."""
    ratio, low, high = (row[f"prompts_per_s_{name}"] for name in ("speedup", "low", "high"))
    name = f"{opponent_name(row['against'])}, {arm_label(row['other_label'])}"
    if pd.isna(ratio):
        return f"not compared with {name}: one of the two has no whole sync cycle after its first."
    said = f"{ratio:.2f}x the prompts a second of {name}"
    if pd.isna(low) or pd.isna(high):
        kind = "no interval"
        if row["interval_scope"] != ONE_RUN:
            ends = span(row["prompts_per_s_least"], row["prompts_per_s_most"], ".2f")
            kind = f"in its two seeds {ends}, which is no interval"
        return f"{said} ({kind}): neither faster nor slower is shown."
    shown = "shown to be faster" if low > 1 else "shown to be slower" if high < 1 else "neither is shown"
    about = f"95 % {low:.2f}–{high:.2f}, {row['interval_scope']}"
    reach = " for these runs, not for the setting" if row["interval_scope"] == ONE_RUN else ""
    picked = f"; not adjusted for its having been picked from {count}" if count > 1 else ""
    return f"{said} ({about}): {shown}{reach}{picked}."


def _accuracy(report: Report, setting: _Setting, against: str | None) -> str:
    """The verdicts at each number of shots against the opponent of its speed-up, or else another."""
    of_setting = default_filter_rows(report.arm_deltas[report.arm_deltas["arm"] == setting.key])
    there = [kind for kind in (against, *_KINDS) if kind and (of_setting["against"] == kind).any()]
    if not there:
        return _untested(report, setting.label)
    rows = of_setting[of_setting["against"] == there[0]]
    name = f"{opponent_name(there[0])}, {arm_label(rows['other_label'].iloc[0])}"
    tested = rows[rows["verdict"] != "refused"]
    if tested.empty:
        return f"{setting.label} may not be compared with {name}: {_refusal(report, setting, there[0])}."
    scopes = " and ".join(
        f"about {scope}" if scope == ONE_SEED else f"over {scope}" for scope in tested["scope"].unique()
    )
    several = rows["task"].nunique() > 1
    verdicts = [
        _verdict(word, part, report.margin_points, several_tasks=several)
        for word in _VERDICTS
        if len(part := rows[rows["verdict"] == word])
    ]
    said = f"{setting.label} against {name}: {'; '.join(verdicts)} ({scopes})"
    return f"{said}. {_meaning(report, setting, tested)}"


def _verdict(word: str, part: pd.DataFrame, margin_points: float, *, several_tasks: bool) -> str:
    """`inconclusive at 0, 4 and 8 shots, where differences below 9.7 to 11.7 points may go unseen`."""
    places = [f"{row['num_fewshot']}{' of ' + row['task'] if several_tasks else ''}" for row in records(part)]
    said = f"{word} at {_listed(places, most=len(places))} shots"
    if word in ("worse", "better"):
        return f"{said}, by {span(part['delta_points'].min(), part['delta_points'].max(), '+.2f')} points"
    if word == "equivalent":
        return f"{said}, within ±{margin_points:g} points"
    if word == "inconclusive":
        missed = unseen(part["detectable_points"].min(), part["detectable_points"].max())
        return f"{said}, where {missed} would have been missed one time in five or more"
    return said


def _meaning(report: Report, setting: _Setting, tested: pd.DataFrame) -> str:
    """What the verdicts amount to, which depends on whether there was anything to lose."""
    if (tested["verdict"] == "worse").any():
        return "A loss of accuracy is shown."
    base = report.arm_deltas[
        (report.arm_deltas["against"] == "base") & (report.arm_deltas["arm"] == setting.key)
    ]
    if base.empty:
        return "Its base model was not evaluated, so whether it learned anything to lose is not known."
    if setting.key not in learned_arms(report.arm_deltas):
        return "It is not shown to have learned anything, so that no loss is shown says nothing."
    if (tested["verdict"] == "inconclusive").any():
        return "No loss of accuracy is shown, nor is it ruled out."
    margin = f"{report.margin_points:g} points"
    return f"A loss of more than {margin} is ruled out where it was tested, at the 5 % level."


def _refusal(report: Report, setting: _Setting, against: str) -> str:
    """Why a setting's runs may not be compared."""
    deltas = report.deltas[report.deltas["against"] == against]
    mine = deltas["arm_id"].fillna(deltas["run_name"]) == setting.key
    return str(deltas.loc[mine, "refusal"].dropna().iloc[0])


def _untested(report: Report, label: str | None = None) -> str:
    if report.deltas.empty:
        return "Nothing has been evaluated against anything: what speed costs in accuracy was not tested."
    return (
        f"{label or 'No setting'} has not been evaluated against a matched baseline or the reference run: "
        "what it costs in accuracy was not tested."
    )


def _of_published(report: Report) -> Headline:
    """The same of figures that others published."""
    table = report.published_speed.dropna(subset=["prompts_per_s"])
    best = max(records(table), key=lambda row: row["prompts_per_s"])
    near = (table["prompts_per_s_high"] >= best["prompts_per_s_low"]) & (
        table["run_name"] != best["run_name"]
    )
    same = f"; rounding cannot tell it from {_listed(list(table.loc[near, 'label']))}" if near.any() else ""
    fastest = (
        f"By figures published elsewhere {best['label']}{_knobs(report, best['run_name'])} trained the most "
        "prompts a second of "
        f"{counted(len(table), 'setting')}: {significant(best['prompts_per_s'], 3)} "
        f"(rounding allows {best['prompts_per_s_low']:.3f}–{best['prompts_per_s_high']:.3f}){same}."
    )
    arms = report.experiments.set_index("run_name")["arm_id"]
    arm = arms.get(best["run_name"])
    setting = _Setting(best["run_name"] if pd.isna(arm) else str(arm), best["label"])
    pairs = report.published_speedups.dropna(subset=["prompts_per_s_speedup"])
    against = _best_kind(pairs, "run_name", _Setting(best["run_name"], best["label"]))
    if against is None:
        return Headline(fastest, f"{best['label']}: {_ALONE}", _accuracy(report, setting, None))
    row = records(pairs[(pairs["run_name"] == best["run_name"]) & (pairs["against"] == against)])[0]
    value, ends = published_ratio(row, "prompts_per_s_speedup")
    speedup = (
        f"{best['label']}: {value} the prompts a second of {opponent_name(against)}, {row['other_label']} "
        f"(rounding allows {ends}; published without steps, so there is no confidence interval and "
        "no test)."
    )
    return Headline(fastest, speedup, _accuracy(report, setting, against))


def _listed(words: Sequence[str], most: int = _NAMED) -> str:
    """`a, b and c`; more than `most` are counted."""
    if len(words) > most:
        return f"{len(words):,} others"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
