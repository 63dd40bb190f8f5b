"""docs/cli.md has every command, argument and option, and no other; what must be quick imports little."""

import re
import shlex
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest
import typer

from sweepctl.cli import app

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cli.md").read_text()
ROOT_COMMAND = typer.main.get_command(app)
COMMANDS = ROOT_COMMAND.commands
HEADING = re.compile(r"^## sweepctl ?(.*)$", re.MULTILINE)


def sections() -> dict[str, str]:
    """Text by what follows `sweepctl` in the heading."""
    parts = HEADING.split(TEXT)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


SECTIONS = sections()


def rows(section: str) -> dict[frozenset[str], str]:
    """What the table of a section says, by the spellings of an option."""
    found = re.findall(r"^\| (`-.*?) \| (.*) \|$", section, re.MULTILINE)
    return {frozenset(re.findall(r"`(-[^`]+)`", names)): text for names, text in found}


def usage(name: str) -> str:
    """The heading a command should have: `stop SWEEP`, `status [SWEEP]`."""
    words = [name]
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument":
            metavar = (parameter.metavar or parameter.name.upper()).strip("[]")
            words.append(metavar if parameter.required else f"[{metavar}]")
    return " ".join(words)


def test_a_section_for_every_command_and_no_other():
    assert SECTIONS.keys() == {"", *map(usage, COMMANDS)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_in_its_section_and_no_other(name):
    options = [each for each in COMMANDS[name].params if each.param_type_name == "option"]
    documented = rows(SECTIONS[usage(name)])
    assert documented.keys() == {frozenset([*each.opts, *each.secondary_opts]) for each in options}
    assert all(documented.values())


def test_the_options_of_sweepctl_itself():
    assert rows(SECTIONS[""]).keys() == {frozenset(option.opts) for option in ROOT_COMMAND.params}


def choices(parameter) -> list[str]:
    """The values that a parameter takes, where they are few."""
    if parameter.metavar and "|" in parameter.metavar:
        return parameter.metavar.split("|")
    kind = parameter.type_descriptor.annotation
    return [
        value
        for each in (kind, *get_args(kind))
        if isinstance(each, type) and issubclass(each, StrEnum)
        for value in each
    ]


def test_every_choice_stands_beside_its_option():
    found = {
        (name, parameter.opts[-1]): (choices(parameter), rows(SECTIONS[usage(name)]))
        for name, command in COMMANDS.items()
        for parameter in command.params
        if choices(parameter)
    }
    assert {("run", "--executor"), ("run", "--rerun-on"), ("report", "--format")} <= found.keys()
    for (name, option), (values, documented) in found.items():
        said = next((text for spellings, text in documented.items() if option in spellings), "")
        missing = [value for value in values if f"`{value}`" not in said]
        assert not missing, f"{name} {option}"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_section_has_exit_codes(heading):
    assert "Exit codes: 0" in SECTIONS[heading]


EXAMPLES = re.findall(r"^    (sweepctl .*)$", TEXT, re.MULTILINE)


def test_every_command_has_an_example():
    assert {shlex.split(line)[1] for line in EXAMPLES} == {"--version", *COMMANDS}


@pytest.mark.parametrize("line", EXAMPLES)
def test_examples_are_accepted(line):
    """Parsed as the command line would be, and not run."""
    _, name, *arguments = shlex.split(line.partition(" > ")[0])
    if name != "--version":
        assert COMMANDS[name].make_context(name, arguments).params is not None


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target


QUICK = {
    "torch",
    "transformers",
    "vllm",
    "duckdb",
    "pandas",
    "numpy",
    "scipy",
    "statsmodels",
    "httpx",
    "aiohttp",
}
QUICK |= {"wandb", "tensorboard", "trackio", "streamlit", "datasets", "lm_eval", "results", "asyncio"}


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        (["--help"], {*QUICK, "pydantic", "ruamel", "psutil", "rich.live"}),
        (["run", "--help"], {*QUICK, "ruamel", "psutil", "rich.live"}),
        (["validate", "sweeps/staleness.yaml"], {*QUICK, "rich", "psutil"}),
        (["plan", "sweeps/staleness.yaml", "--profile", "cpu"], {*QUICK, "rich.live"}),
        (["schema"], {*QUICK, "rich", "psutil"}),
        (["status"], {*QUICK, "ruamel", "rich.live"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_must_be_quick_imports_little(command, heavy, tmp_path):
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    code = f"""
import sys
from sweepctl.cli import main
sys.argv[1:] = {command!r}
try:
    main()
except SystemExit:
    pass
print("imported:", *sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stderr.splitlines()[-1] == "imported:"
