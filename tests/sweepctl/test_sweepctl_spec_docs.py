"""docs/sweeps.md: every example is a spec, and every key of a spec stands there."""

import re
from pathlib import Path

import pytest

from sweepctl.expansion.expand import expand
from sweepctl.spec.file import checked
from sweepctl.spec.model import EvalSpec, Profile, ResourcesSpec, Retry, Spec, Timeout, When
from sweepctl.spec.resolve import resolve
from sweepctl.spec.source import parse

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
SECTIONS = [(EvalSpec, ""), (Retry, "retry."), (Timeout, "timeout."), (ResourcesSpec, "resources.")]
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: " ".join(text.split())[:40])
def test_an_example_is_a_spec(example):
    head = "" if "version: 1" in example else "version: 1\nname: example\n"
    file = checked(parse(head + example, "docs/sweeps.md"))
    for profile in list(file.spec.profiles) or [None]:
        assert expand(resolve(file, profile)).points


@pytest.mark.parametrize(
    ("model", "prefix"),
    [(Spec, ""), (Profile, ""), (When, ""), *SECTIONS],
)
def test_every_key_is_described(model, prefix):
    described = set(re.findall(r"`([a-z_.]+)(?:: [^`]*)?`", PAGE))
    keys = {prefix + (field.alias or name) for name, field in model.model_fields.items()}
    sections = {"retry", "timeout", "resources"}  # described key by key
    assert keys - sections <= described


@pytest.mark.parametrize(
    ("model", "prefix"),
    SECTIONS,
)
def test_defaults_are_the_ones_described(model, prefix):
    for name, field in model.model_fields.items():
        (said,) = re.findall(
            rf"^\| `{re.escape(prefix + name)}` \| `?([^`|]*?)`? \|", PAGE, flags=re.MULTILINE
        )
        if said in {"none", "all", "by the training task", "the hub's"}:
            assert field.default is None
        else:
            given = parse(f"{name}: {said}", "docs").data
            assert getattr(model.model_validate(given), name) == field.default
