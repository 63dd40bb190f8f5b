"""Lazy expansion against the plain way: merge, validate and compare every point with `RunConfig`."""

import ast
import inspect
import itertools
import json
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import trainer.config
import trainer.settings
from sweepctl.errors import SpecError
from sweepctl.expansion.checks import COUPLED
from sweepctl.expansion.expand import expand
from sweepctl.spec.file import checked
from sweepctl.spec.keys import leaf_keys
from sweepctl.spec.resolve import resolve
from sweepctl.spec.source import parse
from trainer.config import RunConfig

TAME = {
    "max_staleness": [0, 1, 3],
    "prompts_per_optim_step": [4, 8],
    "prompts_per_rollout_sync": [8, 16, None],
    "optim.lr": [1e-6, 1, 1.0],
    "rollouts.keep": [0.1, 0.2],
    "task.name": ["arithmetic", "gsm8k"],
    "task.problems": [5, None],
    "task.stop": [["Q:"], ["A:", "B:"], None],
    "optim.betas": [[0.9, 0.95], [0.8, 0.9]],
    "checkpoint.every_steps": [None, 10, 5],
    "loss.name": ["grpo", "gspo"],
}
WILD = {
    **TAME,
    "prompts_per_rollout_sync": [8, 12, None],
    "prompts_per_forward_backward": [4, 8, 3],
    "prompts_per_reference_sync": [8, 12, None],
    "staleness_policy": ["admission", "evict_requeue"],
    "max_inflight_groups": [4, 16, None],
    "updates_per_batch": [1, 2],
    "loss.name": ["grpo", "gspo", "cispo"],
    "loss.clip": [0.2, 1.5, -1],
    "loss.clip_high": [0.3, None],
    "loss.beta": [0, 0.1],
    "correction.name": ["none", "token_tis", "decoupled"],
    "correction.cap": [2, 0.5],
    "correction.low": [0.5, 1],
    "held_out.every_steps": [2, 3, None],
    "max_steps": [10, "ten"],
}

UNCOUNTED = {"rollouts.keep", "checkpoint.every_steps"}  # no part of what a run computes


@st.composite
def specs(draw, values):
    """Small specs with everything that decides points; parameters and zip have keys of their own."""
    keys = draw(st.permutations(sorted(values)))
    some = {key: st.sampled_from(values[key]) for key in keys}

    def point(least=0, most=2):
        chosen = draw(st.lists(st.sampled_from(keys), min_size=least, max_size=most, unique=True))
        return {key: draw(some[key]) for key in chosen}

    spec = {"version": 1, "name": "drawn", "base": point(most=3)}
    spec["parameters"] = {
        key: draw(st.lists(some[key], min_size=1, max_size=3)) for key in keys[: draw(st.integers(0, 3))]
    }
    zipped = keys[3 : 3 + draw(st.integers(0, 2))]
    if zipped:
        length = draw(st.integers(1, 2))
        spec["zip"] = [{key: draw(st.lists(some[key], min_size=length, max_size=length)) for key in zipped}]
    spec["include"] = [point(least=1) for _ in range(draw(st.integers(0, 2)))]
    spec["exclude"] = [point(least=1) for _ in range(draw(st.integers(0, 1)))]
    spec["when"] = [
        {"if": point(), "set": point(), "tags": [f"tag{number}"]} for number in range(draw(st.integers(0, 2)))
    ]
    if draw(st.booleans()):
        spec["seeds"] = [0, 1]
    spec["run_name"] = "_".join(f"{{{key}}}" for key in [*sorted(values), "seed"])
    return spec


def layered(*layers):
    """What is left of each layer when the next one is put over it."""
    weaker = {}
    for layer in layers:
        stays = layer.get("task.name") in (None, weaker.get("task.name", "arithmetic"))
        weaker = {key: value for key, value in weaker.items() if stays or key.partition(".")[0] != "task"}
        weaker |= layer
    return weaker


def together(*parts):
    """What says all that several parts of one layer say."""
    return {key: value for part in parts for key, value in part.items()}


def effective(point, key):
    if key == "prompts_per_rollout_sync" and point.get(key) is None:
        return effective(point, "prompts_per_optim_step")
    if key in point:
        return point[key]
    value = RunConfig().model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def matches(point, pattern):
    return all(effective(point, key) == value for key, value in pattern.items())


def brute(spec):
    """Every point with its tags, what RunConfig makes of it, and patterns that match nothing."""
    axes = [
        [dict(zip(entry, row, strict=True)) for row in zip(*entry.values(), strict=True)]
        for entry in spec.get("zip", [])
    ]
    axes += [[{key: value} for value in values] for key, values in spec["parameters"].items()]
    points, matched = [], set()
    for seed in [{"seed": seed} for seed in spec.get("seeds", [])] or [{}]:
        grid = [layered(spec["base"], together(seed, *rows)) for rows in itertools.product(*axes)]
        out = [[matches(point, pattern) for pattern in spec["exclude"]] for point in grid]
        matched |= {("exclude", number) for row in out for number, hit in enumerate(row) if hit}
        kept = [point for point, row in zip(grid, out, strict=True) if not any(row)]
        for point in kept + [layered(spec["base"], together(seed, further)) for further in spec["include"]]:
            met = [n for n, when in enumerate(spec["when"]) if matches(point, when["if"])]
            matched |= {("when", number) for number in met}
            final = layered(point, together(*(spec["when"][number]["set"] for number in met)))
            points.append((final, tuple(f"tag{number}" for number in met), configured(final)))
    return points, matched


def configured(point):
    tree = {}
    for key, value in point.items():
        section, _, leaf = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[leaf] = value
    try:
        return RunConfig.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        return error


def never_held(key, value):
    """Whether no configuration can have this value: alone it is refused for itself, not for the others."""
    outcome = configured({key: value})
    return isinstance(outcome, ValidationError) and any(error["loc"] for error in outcome.errors())


def reason(error):
    return error.errors()[0]["msg"].removeprefix("Value error, infeasible: ")


def is_infeasible(outcome):
    return (
        isinstance(outcome, ValidationError)
        and reason(outcome) != outcome.errors()[0]["msg"]
        and ("infeasible: " in outcome.errors()[0]["msg"])
    )


def lazily(spec):
    return expand(resolve(checked(parse(json.dumps(spec), "spec.yaml")), None))


def compare(spec):
    points, matched = brute(spec)
    assume(points)
    wanted = {(key, n) for key in ("exclude", "when") for n in range(len(spec[key]))}
    wrong = [o for _, _, o in points if isinstance(o, ValidationError) and not is_infeasible(o)]
    assume(matched == wanted)  # what matches nothing is an error of its own, with its own tests
    patterns = [*spec["exclude"], *(when["if"] for when in spec["when"])]
    assume(not any(never_held(key, value) for pattern in patterns for key, value in pattern.items()))  # too
    if wrong:
        try:
            lazily(spec)
        except SpecError as error:
            told = str(error)
        for details in (details for outcome in wrong for details in outcome.errors()):
            message = details["msg"].removeprefix("Value error, ").removeprefix("Input ").split(", unable")[0]
            assert message[0].lower() + message[1:] in told
        return
    first = {}
    for point, tags, outcome in points:
        if isinstance(outcome, RunConfig):
            first.setdefault(outcome.run_id(), (outcome, None, tags))
        else:
            counted = [key for key in (*WILD, "seed") if key not in UNCOUNTED]
            values = [effective(point, key) for key in counted]
            identity = tuple(tuple(value) if isinstance(value, list) else value for value in values)
            first.setdefault(identity, (None, reason(outcome), tags))
    expected = list(first.values())
    assume(any(config for config, _, _ in expected))
    found = lazily(spec).points
    assert [(point.config, point.reason, point.tags) for point in found] == expected
    assert len({point.run_name for point in found}) == len(found)


@settings(max_examples=150, deadline=None)
@given(specs(TAME))
def test_points_are_those_of_the_plain_way(spec):
    compare(spec)


@settings(max_examples=150, deadline=None)
@given(specs(WILD))
def test_verdicts_are_those_of_the_plain_way(spec):
    compare(spec)


def test_coupled_names_every_key_that_a_run_looks_at_together():
    """A validator that reads a further key would otherwise be asked with that key's default."""
    tree = ast.parse(inspect.getsource(trainer.config))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    read = {key for function in functions if function.name != "run_id" for key in _attributes(function)}
    keys = read & set(leaf_keys())
    assert "loss.clip" in keys  # it finds what it should
    assert keys - {"max_steps"} <= COUPLED  # max_steps: read into a Schedule, and not compared there


def _attributes(function):
    """`config.loss.clip`, `loss.clip`, `self.max_steps` as dotted keys."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute):
            root, *parts = ast.unparse(node).split(".")
            yield ".".join(parts if root in {"self", "config"} else [root, *parts])


def test_sections_that_check_themselves_are_coupled():
    source = Path(inspect.getfile(trainer.settings)).read_text()
    checking = {
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for part in ast.walk(node)
        if isinstance(part, ast.keyword) and part.arg == "mode" and ast.unparse(part.value) == "'after'"
    }
    assert checking == {"CorrectionSettings"}
    assert {key for key in leaf_keys() if key.startswith("correction.")} <= COUPLED
