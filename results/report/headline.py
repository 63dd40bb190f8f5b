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
    if measured.empty and report.finished.empty:
        nothing = "No run has finished: which setting is the fastest is not known."
        return Headline(nothing, "There is no finished pair of runs to compare.", "Nothing is known yet.")
    if measured.empty:
        nothing = "No finished run has a speed on record: which setting is the fastest is not known."
        return Headline(nothing, "There are no two speeds to compare.", _accuracy_of_all(report))
    speeds = _finished_pairs(report)
    if unlike := [key for key in _WORK if key in report.varying]:
        fastest = (
            f"The runs differ in {', '.join(unlike)}: a prompt is not the same work in all of them, so none "
            "is called the fastest."
        )
        twins = speeds[speeds["against"] == "baseline"].dropna(subset=["prompts_per_s_speedup"])
        if twins.empty:
            nothing = "No finished run has a speed-up to a matched baseline."
            return Headline(fastest, nothing, _accuracy_of_all(report))
        best = max(records(twins), key=lambda row: row["prompts_per_s_speedup"])
        setting = _Setting(str(best["arm_id"]), arm_label(best["label"]))
        words = f"Largest ratio to a matched baseline: {setting.label}, "
    else:
        best = max(records(measured), key=lambda row: row["prompts_per_s"])
        setting, words = _Setting(best["arm_id"], best["label"]), f"{best['label']}: "
        fastest = _fastest(report, best, len(measured), speeds)
    against = _best_kind(speeds, "arm_id", setting)
    compared = speeds[(speeds["against"] == against) & (speeds["arm_id"] == setting.key)]
    if compared.empty:
        of_others = speeds[speeds["other_arm_id"] == setting.key]
        return Headline(fastest, _alone(report, setting, of_others), _accuracy(report, setting, None))
    speedup = words + _speedup(records(compared)[0], len(measured))
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


def _role(report: Report, setting: _Setting) -> str | None:
    """`the reference run`, `a matched baseline` or both, if others are compared with it; else None."""
    runs = report.experiments
    arms = dict(zip(runs["run_name"], runs["arm_id"].fillna(runs["run_name"]), strict=True))
    tables = (report.speedups, report.published_speedups, report.deltas)
    kinds = {
        against
        for table in tables
        for against, run, other in zip(table["against"], table["run_name"], table["other_run"], strict=True)
        if arms.get(other) == setting.key != arms[run]
    }
    words = {"reference": "the reference run", "baseline": "a matched baseline"}
    return " and ".join(name for kind, name in words.items() if kind in kinds) or None


def _alone(report: Report, setting: _Setting, of_others: pd.DataFrame) -> str:
    """Of a setting that is compared with none: the best of those that are compared with it, if any are.

    Args:
        report: what was measured.
        setting: the fastest one.
        of_others: rows of `compared_speeds` whose opponent it is.
    """
    role = _role(report, setting)
    if role is None:
        return f"{setting.label}: {_ALONE}"
    known = of_others[of_others["against"].isin(_KINDS)].dropna(subset=["prompts_per_s_speedup"])
    if known.empty:
        return f"{setting.label} is {role} itself, and no speed-up of another to it is known."
    best = max(records(known), key=lambda row: row["prompts_per_s_speedup"])
    said = (
        f"{setting.label} is {role} itself. The best of those compared with it, {arm_label(best['label'])}: "
    )
    return said + _speedup(best, known["arm_id"].nunique())


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
    """Settings that the best one cannot be told from by intervals of ratios to the reference run.

    Where it is the reference itself, or only a matched baseline, those whose ratio to it may be 1 or more.
    """
    known = speeds[speeds["against"].isin(_KINDS)].dropna(subset=["prompts_per_s_low"])
    to_reference = known[known["against"] == "reference"]
    mine = to_reference[to_reference["arm_id"] == best["arm_id"]]
    if mine.empty:
        rivals = known[(known["other_arm_id"] == best["arm_id"]) & (known["prompts_per_s_high"] >= 1)]
        said = "; not shown to be faster than {}: the 95 % interval of {} ratio to {} reaches 1"
    else:
        near = to_reference["prompts_per_s_high"] >= mine["prompts_per_s_low"].iloc[0]
        rivals = to_reference[near & (to_reference["arm_id"] != best["arm_id"])]
        # Intervals that overlap are no test of the two, nor would intervals apart be needed for one.
        said = (
            "; not tested against {}: the 95 % interval of {} ratio to the reference run overlaps that of {}"
        )
    names = list(dict.fromkeys(arm_label(label) for label in rivals["label"]))
    if not names:
        return ""
    return said.format(_listed(names), "its" if len(names) == 1 else "each one's", best["label"])


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
    way = "faster" if low > 1 else "slower" if high < 1 else None
    shown = f"shown to be {way} than {arm_label(row['other_label'])}" if way else "neither is shown"
    about = f"95 % {low:.2f}–{high:.2f}, {row['interval_scope']}"
    reach = " for these runs, not for the setting" if row["interval_scope"] == ONE_RUN else ""
    picked = f"; not adjusted for its having been picked from {count}" if count > 1 else ""
    return f"{said} ({about}): {shown}{reach}{picked}."


def _accuracy(report: Report, setting: _Setting, against: str | None) -> str:
    """The verdicts at each number of shots against the opponent of its speed-up, or else another."""
    of_setting = default_filter_rows(report.arm_deltas[report.arm_deltas["arm"] == setting.key])
    there = [kind for kind in (against, *_KINDS) if kind and (of_setting["against"] == kind).any()]
    if not there:
        return _untested(report, setting)
    rows = of_setting[of_setting["against"] == there[0]]
    name = f"{opponent_name(there[0])}, {arm_label(rows['other_label'].iloc[0])}"
    tested = rows[rows["verdict"] != "refused"]
    if tested.empty:
        return f"{setting.label} may not be compared with {name}: {_refusal(report, setting, there[0])}."
    several = rows["task"].nunique() > 1
    verdicts = [
        _verdict(word, part, report.margin_points, several_tasks=several)
        for word in _VERDICTS
        if len(part := rows[rows["verdict"] == word])
    ]
    said = f"{setting.label} against {name}: {'; '.join(verdicts)} ({_scopes(tested)})"
    return f"{said}. {_meaning(report, setting, tested)}{_losses_elsewhere(report, of_setting, there[0])}"


def _losses_elsewhere(report: Report, of_setting: pd.DataFrame, told: str) -> str:
    """What it lost against the other kind of opponent: an equal twin is not the whole of it."""
    twins = set(of_setting.loc[of_setting["against"] == told, "other_label"])
    others = of_setting[of_setting["against"].isin(_KINDS) & ~of_setting["other_label"].isin(twins)]
    worse = others[others["verdict"] == "worse"]
    if worse.empty:
        return ""
    name = f"{opponent_name(worse['against'].iloc[0])}, {arm_label(worse['other_label'].iloc[0])}"
    words = _verdict("worse", worse, report.margin_points, several_tasks=worse["task"].nunique() > 1)
    return f" But against {name}, it is {words}."


def _scopes(tested: pd.DataFrame) -> str:
    """`about these checkpoints`, `over 3 seeds`: what verdicts speak of."""
    words = tested["scope"].unique()
    return " and ".join(f"about {scope}" if scope == ONE_SEED else f"over {scope}" for scope in words)


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


def _untested(report: Report, setting: _Setting | None = None) -> str:
    """Why nothing is said of what a setting cost, or any of them."""
    if report.deltas.empty:
        return "Nothing has been evaluated against anything: what speed costs in accuracy was not tested."
    if setting and (role := _role(report, setting)):
        return f"{setting.label} is {role} itself: in accuracy, too, others are compared with it."
    never = f"{setting.label} has not" if setting else "No setting has"
    return (
        f"{never} been evaluated against a matched baseline or the reference run: what speed costs in "
        "accuracy was not tested."
    )


def _accuracy_of_all(report: Report) -> str:
    """How many comparisons came to each verdict, where no setting is singled out by its speed."""
    finished = report.finished["arm_id"].fillna(report.finished["run_name"])
    table = default_filter_rows(report.arm_deltas[report.arm_deltas["arm"].isin(finished)])
    there = [kind for kind in (*_KINDS, "base") if (table["against"] == kind).any()]
    if not there:
        return _untested(report)
    rows = table[table["against"] == there[0]]
    settings = rows["arm"].nunique()
    tested = rows[rows["verdict"] != "refused"]
    found = rows["verdict"].value_counts()
    verdicts = ", ".join(f"{found[word]:,} {word}" for word in _VERDICTS if word in found)
    said = (
        f"{counted(len(rows), 'comparison')} of {counted(settings, 'setting')} with "
        f"{opponent_name(there[0], settings)}: {verdicts}"
    )
    if (open_ := rows[rows["verdict"] == "inconclusive"]).size:
        missed = unseen(open_["detectable_points"].min(), open_["detectable_points"].max())
        said += f", where {missed} would have been missed one time in five or more"
    if tested.empty:
        return f"{said}. What speed costs in accuracy was not tested."
    said += f" ({_scopes(tested)})"
    if there[0] == "base":
        return f"{said}. {_untested(report)}"
    if (tested["verdict"] == "worse").any():
        return f"{said}. A loss of accuracy is shown."
    return f"{said}. No loss of accuracy is shown, which does not rule one out."


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
        others = pairs[(pairs["other_run"] == best["run_name"]) & pairs["against"].isin(_KINDS)]
        if others.empty:
            return Headline(fastest, _alone(report, setting, others), _accuracy(report, setting, None))
        row = max(records(others), key=lambda row: row["prompts_per_s_speedup"])
        itself = f"{setting.label} is {_role(report, setting)} itself. The best of those compared with it, "
        return Headline(fastest, itself + _published_speedup(row), _accuracy(report, setting, None))
    row = records(pairs[(pairs["run_name"] == best["run_name"]) & (pairs["against"] == against)])[0]
    return Headline(fastest, _published_speedup(row), _accuracy(report, setting, against))


def _published_speedup(row: Row) -> str:
    """The ratio to an opponent, and what its rounding allows."""
    value, ends = published_ratio(row, "prompts_per_s_speedup")
    return (
        f"{row['label']}: {value} the prompts a second of {opponent_name(row['against'])}, "
        f"{row['other_label']} (rounding allows {ends}; published without steps, so there is no confidence "
        "interval and no test)."
    )


def _listed(words: Sequence[str], most: int = _NAMED) -> str:
    """`a, b and c`; more than `most` are counted."""
    if len(words) > most:
        return f"{len(words):,} others"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
