"""Whether the values of a point are right, one by one and together: `RunConfig`'s verdict, case by case.

A value by itself is checked once, however many points have it. What keys must agree on is checked once for
each combination of the values of `COUPLED`, which are few. Together this says what `RunConfig` would say of
every single point; a test compares the two.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sweepctl.errors import Place, Problem
from sweepctl.expansion.space import Rows, Space
from sweepctl.spec.file import explain
from sweepctl.spec.keys import defaults, fields, leaf_keys, nest, section_keys
from sweepctl.spec.settings import Flat
from trainer.config import RunConfig

COUPLED = frozenset(
    {
        "max_staleness",
        "staleness_policy",
        "max_inflight_groups",
        "prompts_per_optim_step",
        "prompts_per_rollout_sync",
        "prompts_per_forward_backward",
        "prompts_per_reference_sync",
        "updates_per_batch",
        "held_out.every_steps",
        "loss.name",
        "loss.clip",
        "loss.clip_high",
        "loss.beta",
        "correction.name",
        "correction.cap",
        "correction.low",
        "correction.high",
    }
)
"""The keys that `RunConfig` and its sections look at together."""

_INFEASIBLE = "infeasible: "


@dataclass(frozen=True)
class Verdict:
    """What is to be said of values that do not go together."""

    reason: str | None = None
    """They can never make progress."""
    problem: Problem | None = None
    """They contradict each other."""


def configured(settings: Flat) -> RunConfig:
    """The configuration that settings make.

    Strict, as JSON: a number in quotes is a mistake, a list is a fine tuple.

    Raises:
        pydantic.ValidationError: when they make none.
    """
    values = nest({key: leaf.value for key, leaf in settings.items()})
    return RunConfig.model_validate_json(json.dumps(values, default=str), strict=True)


def value_problems(space: Space, points: Sequence[Rows]) -> Iterator[Problem]:
    """Every value of some point that its key cannot hold, at its line."""
    for key in space.all_keys():
        for problems in dict.fromkeys(space.each(points, (key,), partial(_wrong, key=key))):
            yield from problems


def canonical(settings: Flat, key: str) -> str:
    """A right value as the run's configuration holds it, in JSON: `1` and `1.0` are one learning rate."""
    leaf = settings.get(key)
    if leaf is None:
        return json.dumps(defaults()[key])
    adapter = _adapter(key)
    return json.dumps(
        adapter.dump_python(adapter.validate_json(_as_json(leaf.value), strict=True), mode="json")
    )


def verdicts(space: Space, points: Sequence[Rows], file: str) -> list[Verdict]:
    """For each point whether its values go together."""
    return space.each(points, COUPLED, lambda settings: _verdict(settings, file))


def _wrong(settings: Flat, key: str) -> tuple[Problem, ...]:
    leaf = settings.get(key)
    if leaf is None:
        return ()
    try:
        _adapter(key).validate_json(_as_json(leaf.value), strict=True)
    except ValidationError as error:
        return tuple(Problem(leaf.place, explain(details, key)) for details in error.errors())
    return ()


def _verdict(settings: Flat, file: str) -> Verdict:
    coupled = {key: leaf for key, leaf in settings.items() if key in COUPLED}
    try:
        configured(coupled)
    except ValidationError as error:
        for details in error.errors():
            message = explain(details, "")
            if message.startswith(_INFEASIBLE):
                return Verdict(reason=message.removeprefix(_INFEASIBLE))
            if not _is_of_one_key(details):  # which `value_problems` has said
                return Verdict(problem=Problem(_place(details, coupled, file), message))
    return Verdict()


def _is_of_one_key(details: ErrorDetails) -> bool:
    path = ".".join(str(part) for part in details["loc"])
    return any(path == key or path.startswith(key + ".") for key in leaf_keys())


def _place(details: ErrorDetails, settings: Flat, file: str) -> Place:
    """Where the first key that the message names is set."""
    section = ".".join(str(part) for part in details["loc"] if part in section_keys())
    words = [word.strip(".,:;'") for word in details["msg"].split()]
    named: Iterable[str] = (f"{section}.{word}" if section else word for word in words)
    return next((settings[key].place for key in named if key in settings), Place(file, 1))


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    field = fields()[key]
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind)


def _as_json(value: Any) -> str:  # noqa: ANN401 - raw YAML
    return json.dumps(value, default=str)
