"""Whether the records of an imported run hold together. It cannot be run again here: no advice says so."""

from collections.abc import Iterator
from dataclasses import replace

from sweepctl.doctor.finding import Finding, Status, ok
from sweepctl.doctor.records import check_evaluations, check_records
from sweepctl.imported import is_table_row, origin
from sweepctl.watching.status import FoundRun


def check_imported(run: FoundRun) -> Iterator[Finding]:
    """Every file of a run of an imported sweep; each finding names one."""
    source = origin(run.manifest)
    for finding in _findings(run, f"imported from {source}, not run here"):
        advice = f"get {source} again, and import it anew: sweepctl import DIR --name NAME"
        yield finding if finding.status is Status.OK else replace(finding, advice=advice)


def _findings(run: FoundRun, imported: str) -> Iterator[Finding]:
    paths = run.paths
    if run.planned.get("state") == "infeasible":
        yield ok("config", f"{imported}; it is infeasible, and has no records")
    elif is_table_row(run.manifest, run.planned):
        yield ok("config", f"{imported}; nothing but results is known of it")
        yield from check_evaluations(paths)
    elif not (paths.config.exists() or paths.status.exists() or paths.trace.exists()):
        yield ok("config", f"{imported}; it had not begun there")
    else:
        yield from check_records(paths, weights=bool(paths.checkpoints()))
