"""What the doctor's tests share."""

import subprocess

from sweepctl.doctor.finding import Status


def statuses(findings) -> dict[str, Status]:
    """The worst status of each check."""
    order = list(Status)
    worst: dict[str, Status] = {}
    for finding in findings:
        known = worst.get(finding.check, Status.OK)
        worst[finding.check] = max(known, finding.status, key=order.index)
    return worst


def ended_pid() -> int:
    """Of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
