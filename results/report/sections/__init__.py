"""The sections of a report, a file for each subject, in the order of the reference's own notes."""

from results.report.build import Report
from results.report.document import Section
from results.report.sections.accuracy import accuracy_sections
from results.report.sections.closing import closing_sections
from results.report.sections.plan import plan_sections
from results.report.sections.runs import run_sections
from results.report.sections.speed import speed_sections
from results.report.sections.staleness import staleness_sections
from results.report.sections.verdict import verdict_sections

__all__ = ["findings", "sections"]


def findings(report: Report) -> tuple[Section, ...]:
    """What was run and what it showed."""
    return (
        *run_sections(report),
        *speed_sections(report),
        *accuracy_sections(report),
        *staleness_sections(report),
        *plan_sections(report),
        *verdict_sections(report),
    )


def sections(report: Report) -> tuple[Section, ...]:
    """All of it: the findings, where the files are, and how to do it again."""
    return (*findings(report), *closing_sections(report))
