"""Whether the values of a point are right, one by one and together: `RunConfig`'s verdict, case by case.

A value by itself is checked once, however many points have it. What keys must agree on is checked once for
each combination of the values of `COUPLED`, which are few. Together this says what `RunConfig` would say of
every single point; a test compares the two.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from sweepctl.errors import Place, Problem
from sweepctl.expansion.space import Rows, Space
from sweepctl.spec.file import explain
from sweepctl.spec.keys import nest
from sweepctl.spec.leaf_checks import leaf_problems
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
    problems: tuple[Problem, ...] = ()
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


def verdicts(space: Space, points: Sequence[Rows], file: str) -> list[Verdict]:
    """For each point whether its values go together."""
    return space.each(points, COUPLED, partial(_verdict, file=file))


def _wrong(settings: Flat, key: str) -> tuple[Problem, ...]:
    return leaf_problems(key, settings[key]) if key in settings else ()


def _verdict(settings: Flat, file: str) -> Verdict:
    """Of those values that are right by themselves: what is wrong with others `value_problems` says."""
    coupled = {key: leaf for key, leaf in settings.items() if key in COUPLED and not leaf_problems(key, leaf)}
    problems: list[Problem] = []
    while True:
        try:
            configured(coupled)
        except ValidationError as error:
            details = error.errors()[0]
        else:
            return Verdict(problems=tuple(problems))
        message = explain(details, "")
        if message.startswith(_INFEASIBLE):
            return Verdict(message.removeprefix(_INFEASIBLE), tuple(problems))
        section = ".".join(str(part) for part in details["loc"])
        named = f"{section}: {message}" if section else message
        problems.append(Problem(_place(message, section, coupled, file), named))
        if not section:
            return Verdict(problems=tuple(problems))
        coupled = {key: leaf for key, leaf in coupled.items() if not key.startswith(section + ".")}


def _place(message: str, section: str, settings: Flat, file: str) -> Place:
    """Where the first key that a message names is set."""
    words = [word.strip(".,:;'") for word in message.split()]
    named = [f"{section}.{word}" if section else word for word in words]
    return next((settings[key].place for key in named if key in settings), Place(file, 1))
