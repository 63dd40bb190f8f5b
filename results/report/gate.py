"""Gates: conditions over a whole sweep that a script can rely on.

    all(speedup.prompts_per_s > 1.3, where=max_staleness == 1) and not any(accuracy.verdict == worse)

`all`, `any` and `count` ask a condition of every row of one kind, `min`, `max` and `mean` take one of its
values; `where=` selects rows. A value that is missing, in `where=` too, or a selection that is empty, fails
the gate and is named: nothing passes because something is not there. docs/report.md has the names.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from results.expressions import ExpressionError
from results.report.build import Report
from results.report.gate_reader import CONDITIONS, Gate, GateCall
from results.report.gate_rows import COMPARISONS, DEFAULT_OPPONENT, NAMES, GateRow, gate_rows

_NAMED_ROWS = 10
"""So many rows are named when a gate fails; the others are counted."""
_LEFT_OUT = "to leave the row out, first ask by label, run, state or setting: `label != … and …`"


@dataclass(frozen=True)
class GateOutcome:
    """What a gate decided, and why it failed."""

    expression: str
    passed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Result:
    """What one call gave over its rows."""

    value: Any
    decisive: tuple[GateRow, ...]
    """For `all` the rows that fail, for `any` those that hold, for `min` and `max` the row it is of."""
    rows: int
    """How many were selected and could answer."""
    problems: tuple[str, ...]
    """Values that are missing; that nothing was selected. Any of them fails the gate."""


def check_gate(gate: Gate, report: Report) -> GateOutcome:
    """Ask a gate of a report.

    Args:
        gate: of `results.report.gate_reader.read_gate`.
        report: whose rows are asked.

    Raises:
        ExpressionError: values that cannot be compared, such as a text and a number.
    """
    results = {f"call{place}": _called(call, report) for place, call in enumerate(gate.calls)}
    held = bool(gate.evaluate(lambda name: results[name].value))
    problems = tuple(problem for result in results.values() for problem in result.problems)
    if held and not problems:
        return GateOutcome(gate.text, True, ())
    reasons = [
        line
        for call, result in zip(gate.calls, results.values(), strict=True)
        for line in _explained(call, result)
        if not held
    ]
    return GateOutcome(gate.text, False, tuple(dict.fromkeys((*reasons, *problems))))


class _MissingValueError(Exception):
    """A condition asked for a value that a row has not."""


def _called(call: GateCall, report: Report) -> _Result:
    """One call over the rows it selects."""
    every_filter = "accuracy.filter" in call.where_names
    answers: list[tuple[GateRow, Any]] = []
    problems: list[str] = []
    for row in gate_rows(report, call.prefix, every_filter=every_filter):
        try:
            if _selects(call, row):
                answers.append((row, call.condition(_asking(row))))
        except _MissingValueError as error:
            problems.append(f"{row.name}: {error}")
    if not answers and not problems:
        problems = [f"{call.text}: selects nothing{_hint(call)}"]
    return _Result(*_gathered(call, answers), len(answers), _shortened(problems))


def _selects(call: GateCall, row: GateRow) -> bool:
    against = {"against", f"{call.prefix}.against"}
    if (
        call.prefix in COMPARISONS
        and not call.where_names & against
        and row.selectors["against"] != DEFAULT_OPPONENT
    ):
        return False
    return call.where is None or bool(call.where(_selecting(row)))


def _gathered(call: GateCall, answers: list[tuple[GateRow, Any]]) -> tuple[Any, tuple[GateRow, ...]]:
    """The value of a call, and the rows that decided it."""
    holds = tuple(row for row, answer in answers if answer)
    match call.function:
        case "all":
            return len(holds) == len(answers), tuple(row for row, answer in answers if not answer)
        case "any":
            return bool(holds), holds
        case "count":
            return len(holds), holds
    if not answers:
        return math.nan, ()
    numbers = [_number(call, row, answer) for row, answer in answers]
    if call.function == "mean":
        return math.fsum(numbers) / len(numbers), ()
    extreme = (min if call.function == "min" else max)(numbers)
    return extreme, (answers[numbers.index(extreme)][0],)


def _number(call: GateCall, row: GateRow, value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise ExpressionError(call.text, 1, f"{row.name} has {value!r}, which is no number; count() takes texts")


def _asking(row: GateRow) -> Callable[[str], Any]:
    def lookup(name: str) -> Any:  # noqa: ANN401 - a cell of any type
        column = name.partition(".")[2]
        if why := row.why_missing(column):
            raise _MissingValueError(f"{name} is missing: {why}")
        return row.values[column]

    return lookup


def _selecting(row: GateRow) -> Callable[[str], Any]:
    """As `_asking`: a row that is dropped for want of a value would let a gate pass that has not seen it."""
    asking = _asking(row)

    def lookup(name: str) -> Any:  # noqa: ANN401 - a cell of any type
        prefix, _, column = name.partition(".")
        if column and prefix in NAMES:  # `run` alone is a selector
            try:
                return asking(name)
            except _MissingValueError as error:
                raise _MissingValueError(f"{error}, so where= cannot tell; {_LEFT_OUT}") from None
        if name not in row.selectors:
            raise _MissingValueError(f"{name} is not known of it")
        return row.selectors[name]

    return lookup


def _explained(call: GateCall, result: _Result) -> tuple[str, ...]:
    """Why a call did not give what the gate needs; nothing where it asked nothing of any row."""
    if result.rows == 0 or (call.function in CONDITIONS and result.value is call.wanted):
        return ()
    match call.function:
        case "all" if result.value:
            return (f"{call.text}: holds for all {result.rows} rows",)
        case "any" if not result.value:
            return (f"{call.text}: holds for none of {result.rows} rows",)
        case "all" | "any":
            return _shortened([_with_values(row, call) for row in result.decisive])
        case "count":
            return (f"{call.text} = {result.value} of {result.rows} rows",)
    of = f", {result.decisive[0].name}" if result.decisive else ""
    return (f"{call.text} = {result.value:.4g}{of}",)


def _with_values(row: GateRow, call: GateCall) -> str:
    """`Exp4 against Exp3: speedup.prompts_per_s = 1.21`."""
    values = (f"{name} = {_text(row.values.get(name.partition('.')[2]))}" for name in call.asked)
    return f"{row.name}: {', '.join(values)}"


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shortened(lines: Sequence[str]) -> tuple[str, ...]:
    if len(lines) <= _NAMED_ROWS:
        return tuple(lines)
    return (*lines[:_NAMED_ROWS], f"and {len(lines) - _NAMED_ROWS} more rows like these")


def _hint(call: GateCall) -> str:
    if call.prefix in COMPARISONS and not call.where_names & {"against", f"{call.prefix}.against"}:
        return f"; rows are against the {DEFAULT_OPPONENT} unless `where=against == …` says otherwise"
    return ""
