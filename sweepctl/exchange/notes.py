"""`NOTES.md` of an archive: what was run, what came out, and how to do it again."""

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from results.files.sweeps import Manifest
from sweepctl.exchange.layout import CHECKPOINTS, CHECKSUMS, CONFIGS, EVALUATIONS, SPEC, SWEEP, TRACES


@dataclass(frozen=True)
class Contents:
    """What the notes are about."""

    sweep: str
    manifest: Manifest
    report_markdown: str
    """The report, its title in the first line."""
    archive: Path
    """The archive, with everything in it but the notes."""
    running: tuple[str, ...]
    checkpoints: bool
    remarks: tuple[str, ...]


def notes(contents: Contents) -> str:
    """The page as Markdown, in the order of the reference's own notes."""
    sections = (_head, _report, _files, _reproduction, _provenance)
    return "\n".join(line for section in sections for line in section(contents)).rstrip("\n") + "\n"


def _head(contents: Contents) -> Iterator[str]:
    manifest = contents.manifest
    yield f"# {contents.sweep}"
    yield ""
    if manifest.created_unix is not None:
        yield f"**Date:** {datetime.fromtimestamp(manifest.created_unix, UTC):%Y-%m-%d}  "
    yield f"**Profile:** {manifest.profile or 'none'}  "
    for key, heading in (("model", "Model"), ("task", "Task"), ("max_steps", "Steps"), ("seed", "Seed")):
        if values := _values_of(manifest, key):
            yield f"**{heading}:** {', '.join(values)}  "
    yield ""
    yield "## What was run"
    yield ""
    states = Counter(run.state for run in manifest.runs)
    sentence = f"{_count(states['planned'], 'run')} of asynchronous GRPO"
    if states["infeasible"]:
        sentence += f", and {_count(states['infeasible'], 'point')} that can never make progress"
    yield f"{sentence}. All of them are in the table of experiments below."
    if manifest.imported is not None:
        when = datetime.fromtimestamp(manifest.imported.unix, UTC)
        yield f"They were made elsewhere and imported from `{manifest.imported.source}` on {when:%Y-%m-%d}."
    if contents.running:
        yield ""
        yield f"**Exported while {', '.join(contents.running)} was still running:** what follows is partial."
    for remark in contents.remarks:
        yield ""
        yield f"{remark}."
    yield ""


def _report(contents: Contents) -> Iterator[str]:
    """The report's tables and observations, under this page's own title."""
    _, _, below_title = contents.report_markdown.strip("\n").partition("\n")
    yield from (below_title.strip("\n"), "")


def _files(contents: Contents) -> Iterator[str]:
    described = {
        SWEEP: "the spec as resolved, the plan, the environment and the state of git",
        SPEC: "the spec as it was written",
        "git-<digest>.diff": "what the code, or the repository of the spec, had beside its commit",
        f"{CONFIGS}/<run>.json": "each run's whole configuration",
        f"{TRACES}/<run>/": "its trace, rollouts, attempts, log and last status",
        f"{CHECKPOINTS}/<run>/step_<n>/": "its weights, for transformers, vLLM and lm-eval",
        f"{EVALUATIONS}/<task>/<checkpoint>/<run>_<n>shot.json": "lm-eval's output, samples beside it",
        f"{EVALUATIONS}/<task>/base/<model>_<n>shot.json": "the same of the base model",
        CHECKSUMS: f"check with `sha256sum -c {CHECKSUMS}`",
    }
    yield "## Files"
    yield ""
    yield "| File | What it is |"
    yield "| :-- | :-- |"
    for name, what in described.items():
        if name == CHECKSUMS or (contents.archive / name.split("/")[0]).exists():
            yield f"| `{name}` | {what} |"
    yield ""
    if not contents.checkpoints:
        yield "The checkpoints were left out of this archive."
        yield ""


def _reproduction(contents: Contents) -> Iterator[str]:
    manifest = contents.manifest
    configs = sorted((contents.archive / CONFIGS).glob("*.json"))
    yield "## How to reproduce"
    yield ""
    yield "To look at the results with `sweepctl status`, `report` and the dashboard:"
    yield ""
    yield from _shell(f"sweepctl import FOLDER_OF_THIS_FILE --name {contents.sweep}")
    if (file := _spec_file(contents)) is not None:
        words = ["sweepctl", "run", file, *(("--profile", manifest.profile) if manifest.profile else ())]
        words += [word for given in manifest.spec.get("set") or () for word in ("--set", given)]
        yield f"To run the sweep again, with its spec{_at_commit(manifest.git)}:"
        yield ""
        yield from _shell(shlex.join(words))
    if configs:
        name = configs[0].stem
        yield "One run, from its whole configuration:"
        yield ""
        yield from _shell(
            f"mkdir -p again/{name} && cp {CONFIGS}/{name}.json again/{name}/config.json",
            f"python -m trainer --config again/{name}/config.json",
        )


def _provenance(contents: Contents) -> Iterator[str]:
    environment, git = contents.manifest.environment, contents.manifest.git
    yield "## Environment and code"
    yield ""
    if not environment and not git:
        yield "Not known."
        yield ""
        return
    yield "| | |"
    yield "| :-- | :-- |"
    for key, value in environment.items():
        if isinstance(value, dict):
            for name, version in value.items():
                yield f"| {name} | {_cell(version)} |"
        else:
            yield f"| {key} | {_cell(value)} |"
    if git.get("commit"):
        yield f"| git commit | {git['commit']}{', with changes on top' if git.get('dirty') else ''} |"
    yield ""


def _spec_file(contents: Contents) -> str | None:
    """The spec's copy in the archive; where there is none, the file that it was, without foreign folders."""
    if (contents.archive / SPEC).is_file():
        return SPEC
    file = contents.manifest.spec.get("file")
    if not isinstance(file, str):
        return None
    return PurePath(file).name if PurePath(file).is_absolute() else file


def _values_of(manifest: Manifest, key: str) -> list[str]:
    """The distinct values of a key over all runs that can run, as they were planned."""
    found = dict.fromkeys(
        str(value.get("name") if isinstance(value, dict) else value)
        for run in manifest.runs
        if run.state == "planned" and (value := run.config.get(key)) is not None
    )
    return list(found)


def _at_commit(git: dict[str, Any]) -> str:
    return f" at commit {git['commit'][:12]}" if isinstance(git.get("commit"), str) else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cell(value: object) -> str:
    return "–" if value is None else str(value).replace("|", "\\|")


def _shell(*commands: str) -> Iterator[str]:
    yield "```bash"
    yield from commands
    yield "```"
    yield ""
