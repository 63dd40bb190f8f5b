"""What stands above a report in every format."""

from datetime import UTC, datetime

from results.report.build import Report


def title(report: Report) -> str:
    """Names the profile: nobody may take the built-in model's numbers for another's."""
    parts = [f"Sweep {report.sweep}", f"profile {report.profile or 'none'}"]
    parts += [", ".join(report.models)] if report.models else []
    if report.created_unix is not None:
        parts.append(f"{datetime.fromtimestamp(report.created_unix, UTC):%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)
