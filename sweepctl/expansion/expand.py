"""From a resolved spec to its points: ordered, named, validated, each one or infeasible.

Order: seeds outermost, then zip entries, then parameters, the last varying fastest.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweepctl.errors import Place, Problem, SpecError, suggestion
from sweepctl.spec.file import explain
from sweepctl.spec.keys import defaults, leaf_keys, nest
from sweepctl.spec.resolve import Resolved
from sweepctl.spec.settings import Flat, Leaf, assign
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.models import model_path
from trainer.paths import slug
from trainer.tasks.rows import FILE_TYPES, is_file

INFEASIBLE = "infeasible: "
RESERVED_NAMES = frozenset({"base", "base_models"})
"""`base` labels the untrained model in reports; `base_models` is a folder of every sweep."""


@dataclass(frozen=True)
class Point:
    """One combination of the sweep."""

    run_name: str
    settings: Mapping[str, Leaf]
    config: RunConfig | None
    """None when it is infeasible."""
    reason: str | None
    """Why it is infeasible."""

    def value(self, key: str) -> Any:  # noqa: ANN401 - any value of a configuration
        """The value of a dotted key, its default where the spec does not give it."""
        return _value(self.settings, key)

    def values(self) -> dict[str, Any]:
        """The configuration as it goes into `sweep.json`: complete when feasible."""
        if self.config is not None:
            return self.config.model_dump(mode="json")
        given = {key: leaf.value for key, leaf in self.settings.items()}
        return nest({**defaults(), **given})


@dataclass(frozen=True)
class Expansion:
    """All points of a sweep, and what should be said about them."""

    points: tuple[Point, ...]
    notes: tuple[str, ...]


def expand(resolved: Resolved) -> Expansion:
    """Cross the blocks, drop what is excluded, validate and name every point.

    Raises:
        SpecError: with every problem found.
    """
    problems: list[Problem] = []
    notes: list[str] = []
    combinations = _excluded(resolved, list(_combinations(resolved)), problems)
    points = [_point(resolved, settings, problems) for settings in combinations]
    if not problems:
        points = _merged(points, notes)
        _check_names(resolved, points, problems)
        _check_reference(resolved, points, problems)
        _check_feasible(resolved, points, problems)
    if problems:
        raise SpecError(problems)
    return Expansion(tuple(points), tuple(notes))


def _combinations(resolved: Resolved) -> Iterator[Flat]:
    for rows in itertools.product(*(block.rows for block in resolved.blocks)):
        settings = dict(resolved.base)
        for row in rows:
            assign(settings, row)
        assign(settings, resolved.overrides)
        yield settings


def _excluded(resolved: Resolved, combinations: list[Flat], problems: list[Problem]) -> list[Flat]:
    """What is left once every excluded point is out."""
    kept = combinations
    for place, pattern in resolved.exclude:
        if not any(_matches(settings, pattern) for settings in combinations):
            problems.append(
                Problem(place, f"exclude matches no point: {_shown(pattern)}; correct it or take it out")
            )
        kept = [settings for settings in kept if not _matches(settings, pattern)]
    if combinations and not kept and not problems:
        problems.append(
            Problem(resolved.exclude[0][0], "exclude leaves no point at all; take some of it out")
        )
    return kept


def _matches(settings: Mapping[str, Leaf], pattern: Mapping[str, Leaf]) -> bool:
    return all(_equal(_value(settings, key), leaf.value) for key, leaf in pattern.items())


def _equal(left: object, right: object) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)  # True == 1 in Python


def _value(settings: Mapping[str, Leaf], key: str) -> Any:  # noqa: ANN401 - any value
    if key in settings and settings[key].value is not None:
        return settings[key].value
    if key == "prompts_per_rollout_sync":
        return _value(settings, "prompts_per_optim_step")
    return defaults()[key]


def _shown(pattern: Mapping[str, Leaf]) -> str:
    return ", ".join(f"{key} = {leaf.text}" for key, leaf in pattern.items())


def _point(resolved: Resolved, settings: Flat, problems: list[Problem]) -> Point:
    name = _name(resolved, settings, problems)
    values = nest({key: leaf.value for key, leaf in settings.items()})
    try:
        # Strict, as JSON: a number in quotes is a mistake, a list is a fine tuple.
        config = RunConfig.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        reason = _infeasibility(error)
        if reason is None:
            problems.extend(_config_problems(resolved, settings, error))
        return Point(name, settings, None, reason)
    problems.extend(_file_problems(resolved, settings, config))
    problems.extend(_evaluation_problems(resolved, settings, config))
    return Point(name, settings, config, None)


def _infeasibility(error: ValidationError) -> str | None:
    message = error.errors()[0]["msg"].removeprefix("Value error, ")
    return message.removeprefix(INFEASIBLE) if message.startswith(INFEASIBLE) else None


def _config_problems(resolved: Resolved, settings: Flat, error: ValidationError) -> Iterator[Problem]:
    """What `RunConfig` refuses, at the lines of the spec that say it."""
    for details in error.errors():
        path = ".".join(str(part) for part in details["loc"])
        key = next((known for known in leaf_keys() if path == known or path.startswith(known + ".")), "")
        # Without a key it is about keys that do not go together, which its text names.
        leaf = settings.get(key or _first_named(details["msg"], settings))
        place = leaf.place if leaf else Place(resolved.file, 1)
        yield Problem(place, explain(details, key))


def _file_problems(resolved: Resolved, settings: Flat, config: RunConfig) -> Iterator[Problem]:
    """A model or a file of problems that is not there: better said now than hours into a sweep."""
    here = Place(resolved.file, 1)
    model = settings["model"].place if "model" in settings else here
    if message := _model_problem(config.model):
        yield Problem(model, message)
    for key, path in (("task.path", config.task.path), ("task.held_out_path", config.task.held_out_path)):
        on_hub = config.task.name == "dataset" and path is not None and not is_file(path)
        if path is not None and not on_hub and not Path(path).is_file():
            place = settings[key].place if key in settings else here
            yield Problem(place, f"{key}: no file '{path}'; give a {' or '.join(FILE_TYPES)} file")


def _evaluation_problems(resolved: Resolved, settings: Flat, config: RunConfig) -> Iterator[Problem]:
    """A dataset of the user's own has no lm-eval task that could be taken by default."""
    evaluation = resolved.evaluation
    if config.task.name == "dataset" and evaluation is not None and not evaluation.tasks:
        place = settings["task.name"].place if "task.name" in settings else Place(resolved.file, 1)
        yield Problem(
            place,
            "eval.tasks must name lm-eval tasks, since task.name is 'dataset'; or leave eval out "
            "(held_out evaluates during the run)",
        )


def _first_named(message: str, settings: Flat) -> str:
    """The key of the spec that a message names first."""
    words = [word.strip(".,:;'") for word in message.split()]
    return next((word for word in words if word in settings), "")


def _model_problem(model: str) -> str | None:
    folder = Path(model)
    if model.startswith("builtin:"):
        try:
            model_path(model)
        except ConfigError as error:
            return str(error)
    elif folder.is_dir():
        if not (folder / "config.json").is_file():
            return f"model: the folder '{model}' has no config.json; give one in Hugging Face format"
    elif model.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        return f"model: no folder '{model}', and it is no name on the hub such as Qwen/Qwen3-1.7B-Base"
    return None


def _name(resolved: Resolved, settings: Flat, problems: list[Problem]) -> str:
    place, template = resolved.run_name or (Place(resolved.file), _default_template(resolved))

    def written(match: re.Match[str]) -> str:
        key = "task.name" if match[1] == "task" else match[1]
        if key not in leaf_keys():
            problems.append(Problem(place, f"run_name: unknown key '{key}'; {suggestion(key, leaf_keys())}"))
            return ""
        leaf = settings.get(key)
        return leaf.text if leaf and leaf.value is not None else str(_value(settings, key))

    name = slug(re.sub(r"\{([^{}]*)\}", written, template))
    if len(resolved.seeds) > 1:
        name += f"_seed{settings['seed'].text}"
    return name


def _default_template(resolved: Resolved) -> str:
    keys = [key for block in resolved.blocks for key in block.keys if key != "seed"]
    return "_".join(f"{key.rpartition('.')[2]}{{{key}}}" for key in keys) or "run"


def _merged(points: Sequence[Point], notes: list[str]) -> list[Point]:
    """Points without those that compute the same as an earlier one."""
    first: dict[str, Point] = {}
    for point in points:
        identity = point.config.run_id() if point.config else json.dumps(point.values(), sort_keys=True)
        kept = first.setdefault(identity, point)
        if kept is not point:
            same = "given twice" if kept.run_name == point.run_name else f"the same as {kept.run_name}"
            notes.append(f"{point.run_name} is {same} and is run once")
    return list(first.values())


def _check_names(resolved: Resolved, points: Sequence[Point], problems: list[Problem]) -> None:
    place = resolved.run_name[0] if resolved.run_name else Place(resolved.file, 1)
    named: dict[str, Point] = {}
    for point in points:
        other = named.setdefault(point.run_name, point)
        if not point.run_name or point.run_name in RESERVED_NAMES:
            problems.append(Problem(place, f"run_name: '{point.run_name}' cannot be used; choose another"))
        elif other is not point:
            differ = [k for k in leaf_keys() if point.value(k) != other.value(k) and k != "seed"]
            problems.append(
                Problem(
                    place,
                    f"two runs would be named '{point.run_name}': they differ in {', '.join(differ)}; "
                    f"add {{{differ[0]}}} to run_name",
                )
            )


def _check_reference(resolved: Resolved, points: Sequence[Point], problems: list[Problem]) -> None:
    """The reference is one run: one for each seed, and feasible."""
    if resolved.reference is None:
        return
    place, pattern = resolved.reference
    found = [p for p in points if p.config is not None and _matches(p.settings, pattern)]
    seeds = [point.value("seed") for point in found]
    if not found:
        problems.append(Problem(place, f"reference matches no run: {_shown(pattern)}; correct it"))
    elif len(set(seeds)) < len(seeds):
        names = ", ".join(point.run_name for point in found)
        problems.append(Problem(place, f"reference must match one run, and matches {names}; add a key"))


def _check_feasible(resolved: Resolved, points: Sequence[Point], problems: list[Problem]) -> None:
    refused = [point for point in points if point.reason]
    if not refused or (resolved.spec.infeasible == "skip" and len(refused) < len(points)):
        return
    what = "every point is infeasible" if len(refused) == len(points) else "infeasible points"
    advice = "raise max_staleness, or lower prompts_per_rollout_sync"
    listed = "".join(f"\n    {point.run_name}: {point.reason}" for point in refused)
    place = refused[0].settings.get("prompts_per_rollout_sync")
    problems.append(Problem(place.place if place else Place(resolved.file, 1), f"{what}; {advice}{listed}"))
