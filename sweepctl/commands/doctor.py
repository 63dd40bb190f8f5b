"""`sweepctl doctor`: checks, one line each, and what to do about what is not well."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from sweepctl.doctor.finding import Finding, Status, counted

_STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.PROBLEM: "bold red"}


def check_machine(runs_dir: Path, *, engine: bool, as_json: bool) -> bool:
    """Check this machine, the round trip through an engine last; whether nothing is a problem."""
    return _report(_machine(runs_dir, engine=engine), as_json=as_json)


def check_run(runs_dir: Path, run: str, *, as_json: bool) -> bool:
    """Check a run's records; whether nothing is a problem.

    Raises:
        ConfigError: when there is no such run.
    """
    from sweepctl.doctor.imported import check_imported  # noqa: PLC0415
    from sweepctl.doctor.records import check_records  # noqa: PLC0415
    from sweepctl.imported import origin  # noqa: PLC0415
    from sweepctl.watching.status import locate_run  # noqa: PLC0415

    found = locate_run(runs_dir, run)
    findings = check_records(found.paths) if origin(found.manifest) is None else check_imported(found)
    return _report(findings, as_json=as_json)


def _machine(runs_dir: Path, *, engine: bool) -> Iterator[Finding]:
    from sweepctl.doctor.engine import check_engine  # noqa: PLC0415
    from sweepctl.doctor.leases import check_leases  # noqa: PLC0415
    from sweepctl.doctor.leftovers import check_leftovers  # noqa: PLC0415
    from sweepctl.doctor.resources import check_resources  # noqa: PLC0415
    from sweepctl.doctor.software import check_software  # noqa: PLC0415
    from sweepctl.running.lease import lease_folder  # noqa: PLC0415

    yield from check_software()
    yield from check_resources(runs_dir)
    yield check_leases(lease_folder())
    yield from check_leftovers(runs_dir)
    if engine:
        print("starting a tiny engine; this takes a minute (--no-engine leaves it out)", file=sys.stderr)
        yield check_engine()


def _report(findings: Iterable[Finding], *, as_json: bool) -> bool:
    """Print findings, each as soon as it is there."""
    seen: list[Finding] = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            _print(finding)
    counts = {status: sum(finding.status is status for finding in seen) for status in Status}
    healthy = not counts[Status.PROBLEM]
    if as_json:
        content = {"healthy": healthy, "findings": [asdict(finding) for finding in seen]}
        print(json.dumps(content, indent=2))
    else:
        problems, warnings = (
            counted(counts[status], status.value) for status in (Status.PROBLEM, Status.WARNING)
        )
        print(f"{problems}, {warnings}, {counts[Status.OK]} ok")
    return healthy


def _print(finding: Finding) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    line = Table.grid(padding=(0, 2))
    line.add_column(width=7)
    line.add_column(width=12)
    line.add_column(overflow="fold")
    line.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.check, Text(finding.found))
    console.print(line)
    if finding.advice:
        console.print(Padding(Text(f"→ {finding.advice}", style="dim"), (0, 0, 0, 23)))
