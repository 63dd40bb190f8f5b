"""`--runs TABLE.yaml`: knobs and times of runs that were made elsewhere; every error names its line."""

import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from results.files.sweeps import Published, PublishedAccuracy, StepTimeRange, StepTimes
from sweepctl.errors import Place, Problem, SpecError, suggestion
from sweepctl.spec.file import explain
from sweepctl.spec.keys import nest
from sweepctl.spec.model import Duration
from sweepctl.spec.settings import Flat, SettingsReader
from sweepctl.spec.source import KeyPath, Source, parse
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.paths import LONGEST_NAME, is_run_name
from trainer.settings import PositiveFloat, Settings

_MARKUP = re.compile(r"[<>&\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What figures, which show labels, would take for tags or for the end of a line."""


def _summarized(value: Any) -> Any:  # noqa: ANN401 - raw YAML
    """A list of all step times, with its summary; anything else is left for pydantic."""
    if not isinstance(value, list) or not all(isinstance(each, int | float) for each in value) or not value:
        return {"values": value} if isinstance(value, list) else value
    times = [float(each) for each in value]
    return {
        "values": times,
        "steps": len(times),
        "mean": statistics.fmean(times),
        "std": statistics.stdev(times) if len(times) > 1 else None,
        "median": statistics.median(times),
        "min": min(times),
        "max": max(times),
    }


def _not_empty(runs: tuple["TableRun", ...]) -> tuple["TableRun", ...]:
    """After the runs themselves: otherwise one that is wrong makes pydantic complain of too few."""
    if not runs:
        raise ValueError("there is no run")
    return runs


class TableRun(Settings):
    """One run."""

    run_name: str
    label: str | None = None
    evaluations: str | None = None
    """Whose files are this run's: `<evaluations>_<n>shot.json`; by default those named after the run."""
    knobs: dict[str, Any] = Field(default_factory=dict)
    training_time: Duration | None = None
    """Of all steps: `70.4m`, or seconds."""
    step_time_s: Annotated[StepTimes, BeforeValidator(_summarized)] | None = None
    """A summary, or the list of all step times."""
    accuracy: tuple[PublishedAccuracy, ...] = ()
    notes: str | None = None
    other: dict[str, Any] = Field(default_factory=dict)
    """Settings that the trainer has no key for."""

    def published(self) -> Published | None:
        """What is known beside the knobs."""
        content = {
            "training_time_s": self.training_time,
            "step_time_s": self.step_time_s,
            "accuracy": self.accuracy,
            "notes": self.notes,
            "other": self.other,
        }
        return Published(**content) if any(content.values()) else None


class RunTable(Settings):
    """The whole file."""

    version: Literal[1] = 1
    base: dict[str, Any] = Field(default_factory=dict)
    """Knobs shared by all runs, as in a spec."""
    base_model: str | None = None
    """Whose files are the base model's; by default those of `base`."""
    baseline: Literal["synchronous"] | dict[str, Any] = "synchronous"
    reference: dict[str, Any] | None = None
    margin: PositiveFloat = 2.0
    runs: Annotated[tuple[TableRun, ...], AfterValidator(_not_empty)]


@dataclass(frozen=True)
class KnownRun:
    """A run of the table with its whole configuration, as far as it is known."""

    row: TableRun
    config: Mapping[str, Any]
    place: Place


@dataclass(frozen=True)
class TableFile:
    """A table that was checked."""

    table: RunTable
    runs: tuple[KnownRun, ...]
    base: Mapping[str, Any]
    """The shared knobs, nested."""
    reference: Mapping[str, Any] | None
    baseline: Literal["synchronous"] | Mapping[str, Any]
    source: Source


def read_table(path: Path) -> TableFile:
    """Read and check a table.

    Raises:
        ConfigError: the file cannot be read.
        SpecError: with everything wrong in it, each at its line.
    """
    try:
        source = parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"--runs {path}: cannot be read: {error.strerror}; give a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--runs {path}: is not UTF-8 text; give a YAML file") from None
    if not isinstance(source.data, dict):
        raise SpecError([Problem(Place(source.file, 1), "a table of runs is a map; it has a list `runs`")])
    try:
        table = RunTable.model_validate(source.data)
    except ValidationError as error:
        raise SpecError(_problem(source, details) for details in error.errors()) from None
    problems: list[Problem] = [*_name_problems(table, source), *_accuracy_problems(table, source)]
    reader = SettingsReader(source, problems)
    base = reader.map_at(("base",))
    runs = []
    for index, row in enumerate(table.runs):
        place = source.place(("runs", index))
        knobs = {**base, **reader.map_at(("runs", index, "knobs"))}
        problems += _config_problems(knobs, place)
        runs.append(KnownRun(row, _nested(knobs), place))
    reference = reader.map_at(("reference",)) if table.reference else None
    baseline = reader.map_at(("baseline",)) if table.baseline != "synchronous" else None
    if problems:
        raise SpecError(problems)
    return TableFile(
        table=table,
        runs=tuple(runs),
        base=_nested(base),
        reference=None if reference is None else _values(reference),
        baseline="synchronous" if baseline is None else _values(baseline),
        source=source,
    )


def _values(flat: Flat) -> dict[str, Any]:
    return {key: leaf.value for key, leaf in flat.items()}


def _nested(flat: Flat) -> dict[str, Any]:
    return nest(_values(flat))


def _config_problems(knobs: Flat, run: Place) -> Iterator[Problem]:
    """Knobs that no trainer could have had; what is not given is not judged."""
    try:
        RunConfig.model_validate(_nested(knobs))
    except ValidationError as error:
        for details in error.errors():
            path = ".".join(str(part) for part in details["loc"])
            leaf = knobs.get(path)
            yield Problem(leaf.place if leaf else run, explain(details, path))


def _name_problems(table: RunTable, source: Source) -> Iterator[Problem]:
    for key in ("run_name", "label", "evaluations"):
        lines: dict[str, int] = {}
        for index, row in enumerate(table.runs):
            value, place = getattr(row, key), source.place(("runs", index, key))
            if key == "run_name" and not is_run_name(value):
                message = (
                    f"run_name: letters, digits, '.', '_', '-', at most {LONGEST_NAME} of them, and no name "
                    f"of a sweep's own files; found {value!r}"
                )
                yield Problem(place, message)
            if key == "label" and value is not None and (found := _MARKUP.search(value)):
                message = (
                    f"label: figures would take {found[0]!r} for markup; leave out '<', '>', '&', new lines "
                    f"and control characters; found {value!r}"
                )
                yield Problem(place, message)
            if value in lines:
                yield Problem(place, f"{key} {value!r} is given twice; first on line {lines[value]}")
            elif value is not None:
                lines[value] = place.line or 0


def _accuracy_problems(table: RunTable, source: Source) -> Iterator[Problem]:
    """Counts that do not round to the percentage beside them."""
    for index, row in enumerate(table.runs):
        for number, found in enumerate(row.accuracy):
            place = source.place(("runs", index, "accuracy", number))
            if found.correct is not None and found.questions is None:
                yield Problem(place, "`correct` needs `questions` beside it")
            elif found.correct is not None and found.questions is not None:
                exact = 100 * found.correct / found.questions
                if abs(exact - found.percent) > 0.5:  # published to the per cent, or more finely
                    message = f"{found.correct} of {found.questions} is {exact:.2f} %, not {found.percent} %"
                    yield Problem(place, message)


def _problem(source: Source, details: ErrorDetails) -> Problem:
    """A shape error at its line; parts that the file does not have, such as names of unions, are dropped."""
    path: KeyPath = ()
    for part in details["loc"]:
        if (*path, part) in source.places:
            path = (*path, part)
    key = ".".join(str(part) for part in path)
    if details["type"] == "extra_forbidden":
        return Problem(
            source.place(path), f"unknown key '{path[-1]}'; {suggestion(str(path[-1]), _known(path))}"
        )
    if details["type"] == "missing":
        return Problem(source.place(path), f"the key '{details['loc'][-1]}' is missing")
    return Problem(source.place(path), explain(details, key))


def _known(path: KeyPath) -> list[str]:
    """The keys there are beside an unknown one."""
    section = next((part for part in reversed(path[:-1]) if isinstance(part, str)), "")
    models: dict[str, type[BaseModel]] = {
        "runs": TableRun,
        "step_time_s": StepTimes,
        "ranges": StepTimeRange,
        "accuracy": PublishedAccuracy,
    }
    return list(models.get(section, RunTable).model_fields)
