"""docs/configuration.md: every key of a run, with what the models say of it."""

import re
from pathlib import Path

import pytest

from scripts.configuration_docs import page
from trainer.config import RunConfig
from trainer.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROWS = re.findall(r"^\| `([a-z_.]+)`( ○)? \| (.+) \| `(.+)` \| (.*) \|$", page(), flags=re.MULTILINE)
MARKED = {key for key, mark, *_ in ROWS if mark}


def leaves():
    """Every key that holds a value, dotted, with its default: the run's own before those of sections."""
    own = {name: value for name, value in RunConfig() if not isinstance(value, Settings)}
    inner = {
        f"{name}.{leaf}": value for name, section in RunConfig() if name not in own for leaf, value in section
    }
    return (own | inner).items()


def test_the_page_is_what_the_script_writes():
    """After a change: `python scripts/configuration_docs.py > docs/configuration.md`."""
    assert PAGE.read_text() == page()


def test_every_key_has_one_row():
    assert [key for key, *_ in ROWS] == [key for key, default in leaves()]


@pytest.mark.parametrize(("key", "values", "meaning"), [(row[0], row[2], row[4]) for row in ROWS])
def test_every_key_has_values_and_a_meaning(key, values, meaning):
    assert values.strip(), f"{key} has no values"
    assert meaning.strip(), f"{key} has no docstring below it"


@pytest.mark.parametrize(
    "row",
    [
        ("seed", "", "whole number ≥ 0", "0"),
        ("loss.name", "", "`grpo`, `dr_grpo`, `dapo`, `gspo`, `cispo`", "grpo"),
        ("optim.lr", "", "number > 0", "1e-6"),
        ("optim.betas", "", "2 of: number ≥ 0, < 1", "[0.9, 0.95]"),
        ("task.stop", "", "list of: text or `null`", "null"),
        ("engine.memory_utilization", " ○", "number > 0, ≤ 1", "0.4"),
        ("checkpoint.every_steps", " ○", "whole number ≥ 1 or `null`", "10"),
    ],
    ids=lambda row: row[0],
)
def test_a_row_says_what_a_key_may_hold(row):
    assert row in [found[:4] for found in ROWS]


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(("key", "default"), leaves())
def test_marked_keys_and_no_others_do_not_count_for_identity(key, default):
    assert (changed(key, another(default)).run_id() == RunConfig().run_id()) == (key in MARKED)


def another(value):
    """Something else than a default, valid or not: identity is about the value alone."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    return "another"


def changed(key, value):
    section, _, leaf = key.rpartition(".")
    config = RunConfig()
    if section:
        leaf, value = section, getattr(config, section).model_copy(update={leaf: value})
    return config.model_copy(update={leaf: value})
