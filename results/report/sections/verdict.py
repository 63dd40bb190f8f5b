"""Conclusions, and what the runs themselves warned of."""

from collections.abc import Iterator

from results.report.build import Report
from results.report.document import Section, Sentences, Sheet
from results.store import records


def verdict_sections(report: Report) -> Iterator[Section]:
    """Conclusions, warnings, unreadable lines; each only where there are some."""
    if report.conclusions:
        yield Section("Conclusions", (Sentences(report.conclusions),))
    if len(report.warnings):
        rows = tuple((row["label"], row["message"], str(row["times"])) for row in records(report.warnings))
        yield Section("Warnings", (Sheet("", ("Exp", "Message", "Times"), rows, text_columns=2),))
    if len(report.quarantine):
        files = tuple((row["path"], str(row["lines"])) for row in records(report.quarantine))
        note = '`sweepctl query "FROM quarantine"` gives place and reason of each.'
        yield Section("Lines that could not be read", (Sheet("", ("File", "Lines"), files, notes=(note,)),))
