"""Which runs are meant: by label, name or condition, and of those the ones there is something to do for."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sweepctl.attempts import may_retry
from sweepctl.errors import nearest
from sweepctl.labels import arm_of
from sweepctl.spec.keys import leaf_keys
from trainer.errors import ConfigError

if TYPE_CHECKING:  # a plan is made with `matching`
    from sweepctl.plan.plan import Plan, PlannedRun

PROPERTIES = ("label", "run_name", "state", "tags", "profile")
"""What a condition may ask for beside the keys of the configuration."""
_SHOWN = 12


class Selectable(Protocol):
    """Something that is a run to the user: of a plan, a status, a report."""

    @property
    def label(self) -> str | None:
        """`Exp1`, or `Exp1-seed0` where there are several seeds."""

    @property
    def name(self) -> str:
        """Its directory's name."""

    def lookup(self, name: str) -> Any:  # noqa: ANN401 - any value of a configuration
        """The value of one of `PROPERTIES`, or of a dotted key of the configuration."""


R = TypeVar("R", bound=Selectable)


def matching(runs: Sequence[R], text: str, *, option: str = "--only") -> tuple[R, ...]:
    """The runs that `text` selects, in order.

    Args:
        runs: what there is to select from.
        text: labels, names and globs separated by commas (`Exp1,s0_*`; `Exp1` is all seeds of that arm), or
            a condition over `PROPERTIES` and dotted keys (`max_staleness == 1 and optim.lr < 1e-5`).
        option: what the text was given to, for errors.

    Raises:
        ConfigError: a condition with a mistake, or one that selects nothing; a label or a name that
            matches no run.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ConfigError(f"{option}: nothing is given; name labels or runs: {_there(runs)}")
    if any(re.search(r"[\s=<>()'\"]", part) for part in parts):
        return _by_condition(runs, text, option)
    return _by_name(runs, parts, option)


def due(
    plan: "Plan", *, retry_failed: bool = False, force: bool = False, max_attempts: int
) -> tuple["PlannedRun", ...]:
    """The selected runs that `run` would train now, in order.

    What has succeeded is not run again unless it is outdated. What has failed is tried again while it has
    failed fewer than `max_attempts` times in a row, or when asked. With `force`, all are.
    """

    def is_due(run: "PlannedRun") -> bool:
        if run.state == "failed":
            return retry_failed or may_retry(run.attempts, max_attempts)
        return run.state in {"new", "interrupted", "outdated"}

    return tuple(run for run in plan.feasible if run.selected and (force or is_due(run)))


@dataclass(frozen=True)
class DueCounts:
    """What `run` would do with the selected runs, in numbers of runs."""

    train: int
    """From their first step, outdated ones among them."""
    go_on: int
    """From the last checkpoint of an interrupted attempt."""
    retry: int
    done: int
    waiting: int
    """Failed, and not tried again without `--retry-failed`."""
    running: int
    """Being trained by another process."""


def count_due(plan: "Plan", *, retry_failed: bool = False, force: bool = False) -> DueCounts:
    """What `run` would do; without starting anything."""
    todo = due(
        plan, retry_failed=retry_failed, force=force, max_attempts=plan.resolved.spec.retry.max_attempts
    )
    states = Counter("new" if force else run.state for run in todo)
    names = {run.name for run in todo}
    left = Counter(run.state for run in plan.feasible if run.selected and run.name not in names)
    return DueCounts(
        train=states["new"] + states["outdated"],
        go_on=states["interrupted"],
        retry=states["failed"],
        done=left["succeeded"],
        waiting=left["failed"],
        running=left["running"],
    )


def _by_name(runs: Sequence[R], parts: Sequence[str], option: str) -> tuple[R, ...]:
    chosen: set[int] = set()
    for part in parts:
        found = {index for index, run in enumerate(runs) if any(fnmatchcase(n, part) for n in _names(run))}
        if not found:
            raise ConfigError(f"{option}: no run '{part}'; {_advice(runs, part)}")
        chosen |= found
    return tuple(run for index, run in enumerate(runs) if index in chosen)


def _by_condition(runs: Sequence[R], text: str, option: str) -> tuple[R, ...]:
    from results.expressions import ExpressionError, compile_expression  # noqa: PLC0415 - rarely needed

    try:
        condition = compile_expression(text, (*PROPERTIES, *leaf_keys()))
        chosen = tuple(run for run in runs if condition(run.lookup))
    except ExpressionError as error:
        raise ConfigError(f"{option} {error}") from None
    if not chosen:
        values = "; ".join(f"{name}: {_values(runs, name)}" for name in sorted(condition.names))
        there = f"there is {values}" if values else _there(runs)
        raise ConfigError(f"{option} `{condition.text}` selects none of {len(runs):,} runs; {there}")
    return chosen


def _names(run: Selectable) -> Iterator[str]:
    """What a run can be called; the label of its arm among it."""
    yield run.name
    if run.label is not None:
        yield from dict.fromkeys((run.label, arm_of(run.label)))


def _advice(runs: Sequence[Selectable], part: str) -> str:
    """What was probably meant by a name that no run has."""
    for name in ("state", "tags"):
        if part in {value for run in runs for value in _listed(run.lookup(name))}:
            meant = f"'{part}' in tags" if name == "tags" else f"{name} == '{part}'"
            return f'to select by {name}, give the condition "{meant}"'
    if runs and part in (*PROPERTIES, *leaf_keys()):
        return f'to select by {part}, give a condition, such as "{part} == {runs[0].lookup(part)!r}"'
    if close := nearest(part, dict.fromkeys(name for run in runs for name in _names(run))):
        return f"did you mean '{close}'? ({_there(runs)})"
    return _there(runs)


def _there(runs: Sequence[Selectable]) -> str:
    """How many runs there are, with the first and the last by name."""
    ends = [run for run in runs if run.label is not None] or list(runs)
    if not ends:
        return "there are no runs"
    first, last = (f"{run.label} ({run.name})" if run.label else run.name for run in (ends[0], ends[-1]))
    return f"there {'is' if len(ends) == 1 else 'are'} {first}" + (f" to {last}" if len(ends) > 1 else "")


def _values(runs: Sequence[Selectable], name: str) -> str:
    values = list(dict.fromkeys(repr(value) for run in runs for value in _listed(run.lookup(name))))
    return ", ".join(values[:_SHOWN] or ["none"]) + (", ..." if len(values) > _SHOWN else "")


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]
