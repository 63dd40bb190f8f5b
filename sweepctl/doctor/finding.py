"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is. Only a problem keeps runs from going well."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        check: what was looked at, in a word or two.
        status: how bad it is.
        found: what was found.
        advice: what to do about it; empty where all is well.
    """

    check: str
    status: Status
    found: str
    advice: str = ""


def counted(number: int, noun: str) -> str:
    """`1 sweep`, `2 sweeps`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Runs go on, but not as well as they could, or something is left to be tidied up."""
    return Finding(check, Status.WARNING, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Runs would fail, or records are wrong."""
    return Finding(check, Status.PROBLEM, found, advice)
