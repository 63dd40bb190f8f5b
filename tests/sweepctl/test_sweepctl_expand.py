"""Expansion as a law: order, uniqueness, counts, precedence; and what a run is named."""

import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.errors import SpecError
from sweepctl.expansion.expand import expand
from sweepctl.spec.file import SpecFile, checked, load_spec
from sweepctl.spec.resolve import choose_profile, resolve
from sweepctl.spec.source import parse
from trainer.config import RunConfig
from trainer.errors import ConfigError

AXES = {
    "optim.lr": st.sampled_from([1e-6, 2e-6, 5e-7, 1e-3]),
    "max_steps": st.integers(1, 50),
    "max_staleness": st.integers(0, 3),
    "completions_per_prompt": st.integers(2, 9),
    "loss.beta": st.sampled_from([0.0, 0.1, 0.2]),
    "sampling.temperature": st.sampled_from([0.5, 1.0]),
}


def loaded(text: str) -> SpecFile:
    return checked(parse(text, "spec.yaml"))


def points(text: str, profile: str | None = None, overrides: tuple[str, ...] = ()):
    return expand(resolve(loaded(text), profile, overrides)).points


@st.composite
def specs(draw):
    """Seeds, one zip entry, several parameters and some points to exclude, all values distinct."""
    keys = draw(st.permutations(sorted(AXES)))
    zipped, crossed = keys[: draw(st.integers(0, 2))], keys[2 : 2 + draw(st.integers(1, 3))]
    axis = {key: draw(st.lists(AXES[key], min_size=1, max_size=3, unique=True)) for key in crossed}
    length = draw(st.integers(1, 3))
    rows = {key: draw(st.lists(AXES[key], min_size=length, max_size=length)) for key in zipped}
    seeds = draw(st.lists(st.integers(0, 99), min_size=1, max_size=2, unique=True))
    spec = {"version": 1, "name": "drawn", "parameters": axis, "zip": [rows] if rows else [], "seeds": seeds}
    spec["run_name"] = "_".join(f"{{{key}}}" for key in [*zipped, *crossed])
    expected = [
        {"seed": seed, **dict(zip(zipped, row, strict=True)), **dict(zip(crossed, values, strict=True))}
        for seed in seeds
        for row in (zip(*rows.values(), strict=True) if rows else [()])
        for values in itertools.product(*axis.values())
    ]
    if len(expected) > 1 and draw(st.booleans()):
        victim = draw(st.sampled_from(expected))
        pattern = {key: victim[key] for key in draw(st.lists(st.sampled_from(sorted(victim)), min_size=1))}
        kept = [point for point in expected if any(point[key] != value for key, value in pattern.items())]
        if kept:
            spec["exclude"], expected = [pattern], kept
    return spec, expected


@settings(max_examples=60, deadline=None)
@given(specs())
def test_expansion_is_the_product_in_order_less_what_is_excluded(drawn):
    spec, expected = drawn
    found = points(json.dumps(spec))
    assert [{key: point.value(key) for key in expected[0]} for point in found] == list(
        {json.dumps(point, sort_keys=True): point for point in expected}.values()
    )
    names = [point.run_name for point in found]
    identities = [point.config.run_id() for point in found]
    assert len(set(names)) == len(names)
    assert len(set(identities)) == len(identities)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(["base", "profile", "axis", "set"]), st.integers(1, 99), min_size=1))
def test_the_strongest_source_wins(values):
    """base < profile.base < axis < --set; an axis and --set exclude each other."""
    spec = {"version": 1, "name": "drawn", "profiles": {"here": {}}}
    if "base" in values:
        spec["base"] = {"max_steps": values["base"]}
    if "profile" in values:
        spec["profiles"]["here"]["base"] = {"max_steps": values["profile"]}
    if "axis" in values:
        spec["parameters"] = {"max_steps": [values["axis"]]}
    overrides = (f"max_steps={values['set']}",) if "set" in values else ()
    if {"axis", "set"} <= set(values):
        with pytest.raises(SpecError, match="'max_steps' is an axis of this sweep"):
            points(json.dumps(spec), "here", overrides)
        return
    strongest = next(source for source in ("set", "axis", "profile", "base") if source in values)
    (point,) = points(json.dumps(spec), "here", overrides)
    assert point.config.max_steps == values[strongest]


def test_what_is_written_differently_but_equal_is_one_run():
    text = "{version: 1, name: n, parameters: {optim.lr: [1e-6, 0.000001]}}"
    expansion = expand(resolve(loaded(text), None))
    assert [point.run_name for point in expansion.points] == ["lr1e-6"]
    assert expansion.notes == ("lr0.000001 is the same as lr1e-6 and is run once",)


def test_p_left_out_and_p_equal_to_b_are_one_run():
    text = "{version: 1, name: n, base: {prompts_per_optim_step: 8}"
    text += ", parameters: {prompts_per_rollout_sync: [null, 8]}}"
    expansion = expand(resolve(loaded(text), None))
    assert len(expansion.points) == 1
    assert len(expansion.notes) == 1


@pytest.mark.parametrize(
    ("axes", "runs"),
    [
        ("task.problems: [5, 10], task.name: [arithmetic, gsm8k]", 4),
        ("task.name: [arithmetic, gsm8k], task.problems: [5, 10]", 4),
        ("task.problems: [5, 10], task: [arithmetic, {name: gsm8k, split: test}]", None),
    ],
)
def test_an_axis_of_tasks_drops_no_other_axis(axes, runs):
    text = f"{{version: 1, name: n, base: {{task: arithmetic}}, parameters: {{{axes}}}}}"
    if runs is None:
        with pytest.raises(SpecError, match=r"'task' is set by the axis 'task.problems' already"):
            points(text)
        return
    found = {(point.config.task.name, point.config.task.problems) for point in points(text)}
    assert found == {("arithmetic", 5), ("arithmetic", 10), ("gsm8k", 5), ("gsm8k", 10)}


@pytest.mark.parametrize("base", ["{problems: 7}", "{name: arithmetic, problems: 7}"])
def test_another_task_drops_what_weaker_layers_say_of_the_default_one_too(base):
    text = f"{{version: 1, name: n, base: {{task: {base}}}, parameters: {{task: [arithmetic, gsm8k]}}}}"
    found = [(point.config.task.name, point.config.task.problems) for point in points(text)]
    assert found == [("arithmetic", 7), ("gsm8k", None)]


def test_conditions_drop_nothing_of_each_other():
    text = "{version: 1, name: n, base: {task.split: dev}, when: [{if: {}, set: {task.problems: 5}}, "
    text += "{if: {}, set: {task: gsm8k}}]}"
    (point,) = points(text)
    assert (point.config.task.name, point.config.task.problems, point.config.task.split) == (
        "gsm8k",
        5,
        "train",
    )


def test_null_is_a_value():
    text = "{version: 1, name: n, parameters: {checkpoint.every_steps: [null, 10, 5], max_steps: [7, 8]}"
    text += ", exclude: [{checkpoint.every_steps: 10}, {checkpoint.every_steps: ~, max_steps: 7},"
    text += " {checkpoint.every_steps: 5, max_steps: 8}]}"
    assert [point.run_name for point in points(text)] == [
        "every_stepsnull_max_steps8",
        "every_steps5_max_steps7",
    ]


def test_zero_has_no_sign():
    text = "{version: 1, name: n, parameters: {loss.beta: [0, -0.0]}, run_name: x}"
    expansion = expand(resolve(loaded(text), None))
    assert [point.config.loss.beta for point in expansion.points] == [0]
    assert math.copysign(1, expansion.points[0].config.loss.beta) == 1
    assert expansion.notes == ("x is given twice and is run once",)


def test_a_reward_stops_at_the_strings_given():
    (point, _) = points(
        '{version: 1, name: n, parameters: {task.stop: [["\\n\\n"], ["Q:", "A:"]]}, run_name: "{task.stop}"}'
    )
    assert point.config.task.stop == ("\n\n",)
    (point,) = points("{version: 1, name: n}", overrides=("task={name: gsm8k, stop: [Q]}",))
    assert point.config.task.stop == ("Q",)
    with pytest.raises(SpecError, match=r"task.stop: should be a list, found 'Q'"):
        points("{version: 1, name: n, base: {task: {stop: Q}}}")


class TestProfiles:
    SPEC = "{version: 1, name: n, profiles: {gpu: {when: cuda}, cpu: {}, spare: {}}}"

    def test_auto_takes_the_first_that_holds(self, monkeypatch):
        spec = loaded(self.SPEC).spec
        monkeypatch.setattr("sweepctl.spec.resolve.visible_gpus", lambda: 0)
        assert choose_profile(spec, "auto") == "cpu"
        monkeypatch.setattr("sweepctl.spec.resolve.visible_gpus", lambda: 1)
        assert choose_profile(spec, "auto") == "gpu"

    def test_a_named_one_is_taken_whatever_holds(self, monkeypatch):
        monkeypatch.setattr("sweepctl.spec.resolve.visible_gpus", lambda: 0)
        assert choose_profile(loaded(self.SPEC).spec, "gpu") == "gpu"

    def test_an_unknown_one_is_an_error(self):
        with pytest.raises(ConfigError, match="no profile 'gpus'; did you mean 'gpu'"):
            choose_profile(loaded(self.SPEC).spec, "gpus")

    def test_none_that_holds_is_an_error(self, monkeypatch):
        monkeypatch.setattr("sweepctl.spec.resolve.visible_gpus", lambda: 0)
        spec = loaded("{version: 1, name: n, profiles: {gpu: {when: cuda}}}").spec
        with pytest.raises(ConfigError, match="no profile fits this machine"):
            choose_profile(spec, "auto")

    def test_a_spec_without_profiles_has_none(self):
        assert choose_profile(loaded("{version: 1, name: n}").spec, "auto") is None


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file"):
        load_spec(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_spec(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_spec(tmp_path / "latin.yaml")


TAGS = ["bool", "int", "float", "null", "str", "timestamp", "binary", "set", "omap", "seq", "map", "else"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(alphabet="abv:1 -[]{}&*!|>\n'\"#%@,.?~\t", max_size=30)
        | st.sampled_from([f"!!{tag} " for tag in TAGS])
        | st.sampled_from(["''", "0x", "2026-13-01", '"\\ud800"', "[" * 2000]),
        max_size=6,
    )
)
def test_no_text_gives_a_traceback(parts):
    """Whatever is in the file, what comes back is a spec or an error with its line."""
    try:
        checked(parse("".join(parts), "spec.yaml"))
    except SpecError as error:
        assert str(error).startswith("spec.yaml:")


def test_depth_is_bounded_also_where_aliases_make_it():
    with pytest.raises(SpecError, match=r"^spec\.yaml:2: .*more than 100 deep"):
        parse("name: n\nbase: " + "[" * 200, "spec.yaml")
    lists = "".join(f"a{n}: &a{n} [[[*a{n - 1}]]]\n" for n in range(1, 60))
    with pytest.raises(SpecError, match=r"^spec\.yaml:\d+: .*more than 100 deep"):
        parse(f"a0: &a0 []\n{lists}", "spec.yaml")


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    "value", ["", "''", "xyz", "0x", "-", "1:2", "2026-01-01T25:00:00Z", "[1]", "{a: 1}"]
)
def test_no_tag_gives_a_traceback(tag, value):
    try:
        parse(f"\nmax_steps: !!{tag} {value}", "spec.yaml")
    except SpecError as error:
        assert str(error).startswith("spec.yaml:2: ")


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["base", "axis", "include", "when", "set"]), st.integers(1, 99)))
def test_the_strongest_source_of_an_included_point_wins(values):
    """base < include < when.set < --set; an axis does not reach it."""
    spec = {"version": 1, "name": "n", "include": [{"loss.beta": 0.5}]}
    spec["exclude"] = [{"loss.beta": 0}]  # the grid's own points
    if "base" in values:
        spec["base"] = {"max_steps": values["base"]}
    if "axis" in values:
        spec["parameters"] = {"completions_per_prompt": [values["axis"] + 1]}
    if "include" in values:
        spec["include"][0]["max_steps"] = values["include"]
    if "when" in values:
        spec["when"] = [{"if": {"loss.beta": 0.5}, "set": {"max_steps": values["when"]}}]
    overrides = (f"max_steps={values['set']}",) if "set" in values else ()
    strongest = next((source for source in ("set", "when", "include", "base") if source in values), None)
    (point,) = points(json.dumps(spec), overrides=overrides)
    assert point.config.max_steps == values.get(strongest, 100)
    assert point.config.completions_per_prompt == 8


def test_conditions_see_set_and_not_each_other():
    spec = {"version": 1, "name": "n", "parameters": {"max_staleness": [0, 1]}}
    spec["when"] = [
        {"if": {"max_staleness": 1}, "set": {"loss.beta": 0.5}},
        {"if": {"max_steps": 7}, "set": {"optim.warmup_steps": 3}, "tags": ["short"]},
    ]
    with pytest.raises(SpecError, match="when matches no point: max_steps = 7"):
        points(json.dumps(spec))
    found = points(json.dumps(spec), overrides=("max_steps=7",))
    assert [(p.config.loss.beta, p.config.optim.warmup_steps, p.tags) for p in found] == [
        (0.0, 3, ("short",)),
        (0.5, 3, ("short",)),
    ]
    spec["when"][1]["if"] = {"loss.beta": 0.5}
    with pytest.raises(SpecError, match=r"when matches no point: loss.beta = 0.5"):
        points(json.dumps(spec))


def test_lazy_parts_of_a_point_agree():
    (point, _) = points("{version: 1, name: n, base: {optim.lr: 1}, parameters: {max_staleness: [0, 1]}}")
    assert point.values() == point.config.model_dump(mode="json")
    assert (point.value("optim.lr"), point.value("prompts_per_rollout_sync")) == (1, 16)
    assert point.config is point.config


def test_a_large_sweep_is_expanded_without_its_configurations(monkeypatch):
    """10,000 points of which no more than the 100 cases of coupled values may be validated."""
    calls = []
    real = RunConfig.model_validate_json
    monkeypatch.setattr(RunConfig, "model_validate_json", lambda *a, **k: calls.append(a) or real(*a, **k))
    spec = {"version": 1, "name": "n", "seeds": list(range(10))}
    spec["parameters"] = {
        "max_staleness": {"range": [10]},
        "loss.beta": {"linspace": {"min": 0, "max": 0.9, "num": 10}},
        "optim.lr": {"logspace": {"min": 1e-7, "max": 1e-4, "num": 10}},
    }
    found = points(json.dumps(spec))
    assert (len(found), len(calls)) == (10_000, 100)
    assert len({point.run_name for point in found}) == 10_000
