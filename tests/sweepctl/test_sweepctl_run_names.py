"""What a run is named, and what no run or sweep can be named."""

import math
from pathlib import Path

import pytest

from sweepctl.errors import SpecError
from sweepctl.expansion.expand import expand
from sweepctl.spec.file import SpecFile, checked
from sweepctl.spec.resolve import resolve
from sweepctl.spec.source import parse
from trainer.paths import SweepPaths, is_run_name, is_sweep_name, store_path


def loaded(text: str) -> SpecFile:
    return checked(parse(text, "spec.yaml"))


def points(text: str, overrides: tuple[str, ...] = ()):
    return expand(resolve(loaded(text), None, overrides)).points


def test_values_are_named_as_they_were_written():
    text = "{version: 1, name: n, base: {optim.lr: 1e-6}, parameters: {loss.beta: [0.50, 1E-1]}"
    text += ", run_name: '{optim.lr}_{loss.beta}'}"
    assert [point.run_name for point in points(text)] == ["1e-6_0.50", "1e-6_1E-1"]
    assert points(text)[0].config.optim.lr == 1e-6
    (point, _) = points(text, overrides=("optim.lr=2.0e-6",))
    assert point.run_name == "2.0e-6_0.50"
    assert math.isclose(point.config.optim.lr, 2e-6)


def test_a_name_is_safe_as_a_folder():
    text = "{version: 1, name: n, parameters: {model: [Qwen/Qwen3-1.7B-Base]}, run_name: '{model}'}"
    assert points(text)[0].run_name == "Qwen_Qwen3-1.7B-Base"


@pytest.mark.parametrize(
    "name",
    ["sweep.json", "engine.log", "engine-2.log", "evaluation.json", "git-0123.diff", "base", "base_models"],
)
def test_a_run_is_called_like_no_file_of_its_sweep(name):
    with pytest.raises(SpecError, match=f"run_name: '{name}' cannot be used"):
        points(f"{{version: 1, name: n, run_name: {name}}}")


def test_a_name_is_short_enough_for_a_folder():
    (point,) = points(f"{{version: 1, name: n, run_name: {'x' * 200}}}")
    assert point.run_name == "x" * 200
    with pytest.raises(SpecError, match=r"run_name: 'x{40}\.\.\.' has 201 characters, more than 200; give"):
        points(f"{{version: 1, name: n, run_name: {'x' * 201}}}")
    with pytest.raises(SpecError, match="name: should have at most 200 characters"):
        points(f"{{version: 1, name: {'x' * 201}}}")


def test_names_that_cannot_be_used_are_not_all_listed():
    text = (
        "{version: 1, name: n, parameters: {max_steps: {range: [1, 9]}}, run_name: 'engine-{max_steps}.log'}"
    )
    with pytest.raises(SpecError) as error:
        points(text)
    assert len(error.value.problems) == 6
    assert "nor can 3 other names" in str(error.value)


@pytest.mark.parametrize("number", [0, 1, 12])
def test_what_a_sweep_keeps_beside_its_runs_is_no_name_of_a_run(number):
    """Every path that `SweepPaths` has, but for the folders of runs."""
    paths = SweepPaths(Path("runs/first"))
    properties = [name for name, value in vars(SweepPaths).items() if isinstance(value, property)]
    files = [getattr(paths, name) for name in properties if name != "name"]
    files += [paths.engine_log(number), paths.evaluation_log(number), paths.evaluation_config(number)]
    files += [paths.git_diff("0" * 64), paths.base_evaluation("m", "t", number)]
    assert len(files) >= 8
    assert [is_run_name(path.relative_to(paths.root).parts[0]) for path in files] == [False] * len(files)
    assert is_run_name("engine") and is_run_name("s0_sweep.json") and is_run_name("x" * 200)
    assert not (is_run_name("") or is_run_name(".") or is_run_name("a/b") or is_run_name("x" * 201))


def test_what_all_sweeps_share_is_no_name_of_a_sweep():
    assert not is_sweep_name(store_path(Path("runs")).name)
    assert is_sweep_name("results")
