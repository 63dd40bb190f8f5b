"""What the shell offers at Tab: the sweeps, runs, specs and profiles that are there.

Called at every press of the key: reads little, imports little, and says nothing of what goes wrong.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path

import typer

from trainer.paths import is_pilot

Completions = list[tuple[str, str]]
"""Values with a word of help each."""
Complete = Callable[[typer.Context, str], Completions]
_SPEC = re.compile(r"^\s*\{?\s*version\s*:", re.MULTILINE)
_SPEC_HEAD_CHARACTERS = 4096


def _quietly(candidates: Callable[[typer.Context, str], Iterator[tuple[str, str]]]) -> Complete:
    """Of the candidates those that begin as the word does; none when a file is not what it should be."""

    @wraps(candidates)
    def complete(ctx: typer.Context, incomplete: str) -> Completions:
        try:
            return [each for each in candidates(ctx, incomplete) if each[0].startswith(incomplete)]
        except (OSError, ValueError, LookupError, TypeError):
            return []

    return complete


@_quietly
def complete_sweep(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Names of sweeps."""
    for manifest in _manifests(ctx):
        yield manifest.parent.name, "sweep"


@_quietly
def complete_run(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Names and labels of the latest sweep's runs, and `SWEEP/`; after the slash, that sweep's."""
    manifests = _manifests(ctx)
    sweep, slash, _ = incomplete.rpartition("/")
    if slash:
        manifests = [manifest for manifest in manifests if manifest.parent.name == sweep]
    if manifests:
        for run in json.loads(manifests[0].read_bytes())["runs"]:
            yield sweep + slash + run["run_name"], run.get("label") or "infeasible"
            if run.get("label"):
                yield sweep + slash + run["label"], run["run_name"]
    if not slash:
        for manifest in manifests:
            yield f"{manifest.parent.name}/", "sweep"


@_quietly
def complete_spec(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """YAML files that are specs, here and in `sweeps`, or in the folder that is being typed."""
    typed, slash, _ = incomplete.rpartition("/")
    for folder in [typed + slash] if slash else ["", "sweeps/"]:
        here = Path(folder or ".")
        if not here.is_dir():
            continue
        for path in sorted(here.iterdir()):
            if path.suffix in {".yaml", ".yml"} and _is_spec(path):
                yield folder + path.name, "spec"
            elif slash and path.is_dir() and not path.name.startswith("."):
                yield f"{folder}{path.name}/", "folder"


@_quietly
def complete_profile(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The profiles of the spec that was typed, and `auto`."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    yield "auto", "the first that fits this machine"
    # The parser gives up at an option without its value, and leaves the words before it as they are.
    path = ctx.params.get("spec") or next((word for word in ctx.args if not word.startswith("-")), "")
    try:
        profiles = YAML(typ="safe").load(Path(path))["profiles"]
    except (YAMLError, OSError, LookupError, TypeError):
        return
    for name in profiles:
        yield str(name), "profile"


def _manifests(ctx: typer.Context) -> list[Path]:
    """Every sweep's, the latest first; those of pilots after all others."""
    found = Path(ctx.params["runs_dir"]).glob("[!.]*/sweep.json")
    return sorted(found, key=lambda path: (is_pilot(path.parent.name), -path.stat().st_mtime))


def _is_spec(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return bool(_SPEC.search(file.read(_SPEC_HEAD_CHARACTERS)))
