"""How old what was trained on was, what became of the rest, and what age did to the importance ratios."""

from collections.abc import Iterator

from results.report.build import Report
from results.report.cells import NONE, Row, integer, number, percent
from results.report.document import Cells, Rows, Section, Sentences, Sheet
from results.store import records
from results.tables.ages import ages_across_runs


def staleness_sections(report: Report) -> Iterator[Section]:
    """Ages, fates, waste, ratios by age; none while no group has a fate."""
    if report.fates.empty:
        return
    blocks = [_ages_and_fates(report), _waste(report)]
    if report.age_effects["off_policy_steps"].nunique() > 1:
        blocks.append(_by_age(report))
    said = (Sentences(report.staleness_observations),) if report.staleness_observations else ()
    yield Section("Staleness", (*blocks, *said))


def _ages_and_fates(report: Report) -> Sheet:
    """Ages of trained groups, and how many groups had which fate."""
    groups: dict[str, dict[str, int]] = {}
    for run, fate, count in zip(
        *(report.fates[name] for name in ("run_name", "fate", "groups")), strict=True
    ):
        groups.setdefault(run, {})[fate] = count
    kinds = ["trained", *sorted({fate for counts in groups.values() for fate in counts} - {"trained"})]
    ages = {row["run_name"]: row for row in records(report.ages)}
    labels = dict(zip(report.fates["run_name"], report.fates["label"], strict=True))

    def cells(run: str) -> Cells:
        age, counts = ages.get(run), (str(groups[run].get(kind, 0)) for kind in kinds)
        if age is None:
            return labels[run], NONE, NONE, NONE, *counts
        bound = f"{integer(age['off_policy_steps_max'])} of {integer(age['max_staleness'])}"
        mean, at_bound = number(age["off_policy_steps_mean"], ".2f"), percent(age["at_bound_share"])
        return labels[run], mean, bound, at_bound, *counts

    columns = ("Exp", "Mean\nage", "Oldest\nof bound", "At\nbound", *(kind.capitalize() for kind in kinds))
    notes = [
        "Age: optimizer steps the learner was ahead of the policy that began a group (off_policy_steps)."
    ]
    if "discarded" in kinds:
        notes.append("Discarded: of an attempt that was cut off, its steps done again by a later one.")
    return Sheet("Ages and fates of groups", columns, Rows(list(groups), cells), notes=tuple(notes))


def _waste(report: Report) -> Sheet:
    parts = ("filtered_share", "evicted_share", "aborted_share", "failed_share", "leftover_share")
    shown = [part for part in parts if (report.waste[part] > 0).any()]

    def cells(row: Row) -> Cells:
        shares = (percent(row[part]) for part in ("wasted_share", *shown))
        return row["label"], f"{row['generated_tokens']:,}", *shares

    heads = (part.removesuffix("_share").capitalize() for part in shown)
    note = "Shares of the completion tokens of all groups but the discarded; their sum was never trained on."
    return Sheet(
        "Waste in tokens",
        ("Exp", "Generated", "Wasted", *heads),
        Rows(records(report.waste), cells),
        notes=(note,),
    )


def _by_age(report: Report) -> Sheet:
    rows = tuple(
        (
            str(row["off_policy_steps"]),
            str(row["runs"]),
            str(row["steps"]),
            *(number(row[name], form) for name, form in _RATIOS.items()),
        )
        for row in records(ages_across_runs(report.age_effects))
    )
    columns = ("Age", "Runs", "Steps", "ESS", "Mean ratio", "Largest\nratio", "Logprob\ngap", "Clipped")
    note = (
        "Steps by the rounded mean age of their groups, each run counting alike; the mean of the steps' "
        "largest ratios. Descriptive: runs of unlike ages differ in other settings too. At age 0 it is the "
        "mismatch of engine and learner alone."
    )
    return Sheet("Importance ratios by age", columns, rows, text_columns=0, notes=(note,))


_RATIOS = {
    "ess": ".3f",
    "ratio_mean": ".4f",
    "ratio_max": ".2f",
    "logprob_gap_mean": ".4f",
    "clip_fraction": ".2%",
}
