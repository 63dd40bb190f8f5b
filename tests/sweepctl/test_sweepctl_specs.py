"""Golden specs: good ones with their exact plan, bad ones with their exact error.

After a wanted change: `SWEEPCTL_GOLDEN=write pytest tests/sweepctl/test_sweepctl_specs.py`, and read
the difference.
"""

import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from sweepctl.plan.validate import validate_spec
from sweepctl.spec.file import load_spec
from sweepctl.spec.schema import schema_text, sweep_schema
from sweepctl.spec.source import parse

HERE = Path(__file__).parent
SPECS = HERE / "specs"
REPOSITORY = HERE.parents[1]
GOOD = sorted((SPECS / "good").glob("*.yaml"))
BAD = sorted((SPECS / "bad").glob("*.yaml"))


def check(golden: Path, found: str) -> None:
    if os.environ.get("SWEEPCTL_GOLDEN") == "write":
        golden.write_text(found)
    assert found == golden.read_text()


def described(result) -> str:
    lines = []
    for profile, expansion in result.profiles.items():
        lines.append(f"profile {profile}")
        for point in expansion.points:
            given = {key: leaf.value for key, leaf in point.settings.items()}
            outcome = "infeasible: " + point.reason if point.reason else "ok"
            lines += [f"  {point.run_name}", f"    {json.dumps(given)}", f"    {outcome}"]
            lines += [f"    tags: {', '.join(point.tags)}"] if point.tags else []
        lines += [f"  note: {note}" for note in expansion.notes]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_specs_have_their_exact_plan(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    result = validate_spec(Path(path.name), None, [])
    assert result.error is None, result.error
    check(path.with_suffix(".plan.txt"), described(result))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_specs_have_their_exact_error(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    result = validate_spec(Path(path.name), None, [])
    assert result.error is not None
    told = f"{result.error}\n".replace(str(path.parents[1]), "..")  # files are told with their whole path
    check(path.with_suffix(".error.txt"), told)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_are_valid(path):
    assert validate_spec(path, None, []).error is None
    assert path.read_text().startswith("# yaml-language-server: $schema=./sweep.schema.json\n")


def test_the_shipped_sweep_has_the_references_arms_in_its_order():
    result = validate_spec(REPOSITORY / "sweeps" / "staleness.yaml", None, [])
    keys = ["max_staleness", "prompts_per_optim_step", "prompts_per_rollout_sync", "optim.lr"]
    arms = {
        profile: [tuple(point.value(key) for key in keys) for point in expansion.points if point.config]
        for profile, expansion in result.profiles.items()
    }
    assert arms["gpu"] == [
        (0, 16, 16, 1e-6),
        (1, 16, 16, 1e-6),
        (0, 8, 8, 5e-7),
        (1, 8, 8, 5e-7),
        (1, 8, 16, 5e-7),
    ]
    assert [arm[:3] for arm in arms["cpu"]] == [arm[:3] for arm in arms["gpu"]]
    assert [point.run_name for point in result.profiles["gpu"].points if point.reason] == [
        "s0_opt8_sync16_lr5e-7"
    ]
    assert result.profiles["gpu"].points[0].config.completions_per_prompt == 64
    assert result.profiles["gpu"].points[0].config.sampling.max_completion_tokens == 512


def test_the_checked_in_schema_is_true():
    """After a change of the spec: `sweepctl schema > sweeps/sweep.schema.json`."""
    assert (REPOSITORY / "sweeps" / "sweep.schema.json").read_text() == schema_text() + "\n"


SHIPPED = sorted((REPOSITORY / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", [*SHIPPED, *GOOD], ids=lambda path: path.stem)
def test_good_specs_obey_the_schema(path):
    assert not list(Draft7Validator(sweep_schema()).iter_errors(load_spec(path).source.data))


@pytest.mark.parametrize("name", ["keys", "forms", "when_keys", "method", "axis_keys"])
def test_an_editor_sees_what_is_wrong_in_bad_ones(name):
    data = parse((SPECS / "bad" / f"{name}.yaml").read_text(), name).data
    assert list(Draft7Validator(sweep_schema()).iter_errors(data))


def test_errors_of_shape_are_told_with_those_of_the_profile_that_is_meant(tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "version: 1\nname: bad name\nbas: {}\nprofiles:\n"
        "  gpu: {base: {max_steps: ten}}\n  cpu: {base: {max_steps: many}}\n"
    )
    told = {profile: str(validate_spec(spec, profile, ["tags=5"]).error) for profile in (None, "gpu", "tpu")}
    assert all("'bad name'" in text and "unknown key 'bas'" in text for text in told.values())
    assert ["'ten'" in text for text in told.values()] == [False] * 3
    assert all("--set tags=5: tags: should be a list, found 5" in told[key] for key in (None, "gpu"))
    told = {profile: str(validate_spec(spec, profile, []).error) for profile in (None, "gpu", "tpu")}
    assert ["'ten'" in text for text in told.values()] == [True, True, False]
    assert ["'many'" in text for text in told.values()] == [True, False, False]
    assert "no profile 'tpu'; did you mean 'gpu'?" in told["tpu"]


def test_a_profile_that_is_wrong_hides_nothing(tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text("version: 1\nname: n\nprofiles: {gpu: {sed: 1}}\nbase: {max_steps: ten}\n")
    error = str(validate_spec(spec, "gpu", []).error)
    assert "unknown key 'sed'" in error
    assert "max_steps: should be a valid integer, found 'ten'" in error
    assert "no profile" not in error
