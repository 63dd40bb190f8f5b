"""`sweepctl diff`: where two runs differ in configuration, in environment and code, and in results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sweepctl.attempts import read_attempts
from sweepctl.commands.diff_results import Results, compare_results
from sweepctl.imported import is_table_row
from sweepctl.watching.status import FoundRun, locate_run
from trainer.config import RunConfig
from trainer.errors import ConfigError

Values = Mapping[str, Any]
Changes = Mapping[str, tuple[Any, Any]]
_NONE = "–"
_CONFIG_FILE_KEYS = ("inputs", "profile", "resources")
"""Of config.json, beside the configuration proper: what was trained on, and what with."""


class Missing(Enum):
    """Stands where a run has not the key that the other has; None is a value."""

    NOT_GIVEN = "not given"


@dataclass(frozen=True)
class Side:
    """One of the two runs, by its files; `config` and `origin` (environment and code) by dotted key."""

    sweep: str
    run_name: str
    label: str
    run_id: str | None
    config: Values
    origin: Values
    imported: bool
    """With results only: of its configuration there is what a table gave, of its origin nothing."""

    @property
    def name(self) -> str:
        """`SWEEP/RUN`."""
        return f"{self.sweep}/{self.run_name}"


def print_diff(runs_dir: Path, first: str, second: str, *, as_json: bool) -> None:
    """Print where two runs differ, the first's value before the second's.

    Raises:
        ConfigError: when there is no such run, or one that was only planned has no files yet.
    """
    found = locate_run(runs_dir, first), locate_run(runs_dir, second)
    sides = _side(found[0]), _side(found[1])
    if sides[0].name == sides[1].name:
        same = {"first": sides[0].name, "second": sides[1].name, "identical": True}
        print(json.dumps(same, indent=2) if as_json else f"identical: both are the run {sides[0].name}")
        return
    results = compare_results(runs_dir, *((side.sweep, side.run_name) for side in sides))
    config = _changes(*(side.config for side in sides), missing=Missing.NOT_GIVEN)
    origin = _changes(*(side.origin for side in sides), missing=None)
    if as_json:
        print(json.dumps(_as_json(sides, config, origin, results), indent=2))
    else:
        _print(sides, config, origin, results)


def _side(found: FoundRun) -> Side:
    planned, config = found.planned, found.paths.config
    if config.exists():
        file = _config_file(config)
    else:
        file = _given(found) if is_table_row(found.manifest, planned) else _planned_file(found)
    beside = {key: file[key] for key in _CONFIG_FILE_KEYS if file.get(key)}
    return Side(
        sweep=found.sweep.name,
        run_name=planned["run_name"],
        label=planned.get("label") or planned["run_name"],
        run_id=file.get("run_id"),
        config=_flat({**file["config"], **beside}),
        origin=_origin(found),
        imported=is_table_row(found.manifest, planned),
    )


def _planned_file(found: FoundRun) -> dict[str, Any]:
    """What config.json would hold of a run that has not begun: the plan may leave defaults out."""
    config = _defaults() | _planned_config(found)
    return {"config": config, "run_id": found.planned.get("run_id"), "profile": found.manifest.get("profile")}


def _given(found: FoundRun) -> dict[str, Any]:
    """What is known of the settings of a run that was made elsewhere: what is not given is no default."""
    other = (found.planned.get("published") or {}).get("other") or {}
    known = {key: value for key, value in _planned_config(found).items() if value is not None}
    return {"config": known | _flat(other, "other."), "profile": found.manifest.get("profile")}


def _planned_config(found: FoundRun) -> dict[str, Any]:
    planned = dict(found.planned.get("config") or {})
    if isinstance(planned.get("task"), str):
        planned["task"] = {"name": planned["task"]}
    return _flat(planned)


def _defaults() -> dict[str, Any]:
    return _flat(RunConfig().model_dump(mode="json"))


def _origin(found: FoundRun) -> dict[str, Any]:
    """Of the sweep, versions, hardware and git; of the run's last attempt, fingerprints and devices."""
    manifest = found.manifest
    origin = {**(manifest.get("environment") or {}), "git": manifest.get("git") or {}}
    started = [attempt for attempt in read_attempts(found.paths) if attempt.event == "started"]
    if started:
        last = started[-1]
        origin |= {"environment_id": last.environment, "code_id": last.code, "devices": last.devices}
    return _flat(origin)


def _config_file(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        if isinstance(found, dict) and isinstance(found.get("config"), dict):
            return found
    except ValueError:
        pass
    raise ConfigError(
        f"{path}: not what sweepctl wrote; `sweepctl run` with the sweep's spec writes it again"
    )


def _flat(nested: Values, prefix: str = "") -> dict[str, Any]:
    """`{"optim": {"lr": 1}}` as `{"optim.lr": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _changes(first: Values, second: Values, *, missing: Missing | None) -> Changes:
    """The keys whose values differ, in the first's order; `missing` stands for a key that one has not."""
    pairs = {
        key: (first.get(key, missing), second.get(key, missing)) for key in dict.fromkeys([*first, *second])
    }
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _as_json(
    sides: tuple[Side, Side],
    config: Changes,
    origin: Changes,
    results: Results,
) -> dict[str, Any]:
    def pairs(changes: Changes) -> dict[str, Any]:
        named = {key: {"first": old, "second": new} for key, (old, new) in changes.items()}
        return {
            key: {name: value for name, value in pair.items() if value is not Missing.NOT_GIVEN}
            for key, pair in named.items()
        }

    return {
        "first": {"name": sides[0].name, "run_id": sides[0].run_id},
        "second": {"name": sides[1].name, "run_id": sides[1].run_id},
        "identical": False,
        "configuration": pairs(config),
        "environment": pairs(origin),
        **results.summary(),
    }


def _print(
    sides: tuple[Side, Side],
    config: Changes,
    origin: Changes,
    results: Results,
) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console(highlight=False, markup=False)
    heads = ["A", "B"]
    for head, side in zip(heads, sides, strict=True):
        console.print(f"{head}  {side.name}  ({side.label}, run_id {side.run_id or 'not known'})")
    same = "the same" + (", as far as it is known" if any(side.imported for side in sides) else "")
    defaults = _unknown_beside_defaults(sides, config)
    shown = {key: _texts(pair) for key, pair in config.items() if key not in defaults}
    _section("Configuration", heads, shown, otherwise=same)
    if defaults:
        one = f"{len(defaults)} settings that one run left at their defaults are not given of the other"
        console.print(f"{one}; --json has them", style="dim")
    _section(
        "Environment and code", heads, {key: _texts(pair) for key, pair in origin.items()}, otherwise=same
    )
    figures = {figure.name: figure.texts() for figure in results.figures}
    _section("Results", [*heads, "B - A", "B / A"], figures)
    accuracy = {row.name: row.texts() for row in results.accuracy}
    _section("Accuracy (%)", [*heads, "B - A", "95 %", "verdict on B"], accuracy)
    for note in results.notes:
        console.print(note, style="dim", soft_wrap=True)


def _unknown_beside_defaults(sides: tuple[Side, Side], config: Changes) -> set[str]:
    """Keys not given of an imported run that a run made here left at their defaults: too many to be read."""
    here = [place for place, side in enumerate(sides) if not side.imported]
    if len(here) != 1:
        return set()
    unknown, defaults = 1 - here[0], _defaults()
    return {
        key
        for key, pair in config.items()
        if pair[unknown] is Missing.NOT_GIVEN and key in defaults and pair[here[0]] == defaults[key]
    }


def _texts(pair: tuple[Any, Any]) -> tuple[str, ...]:
    return tuple(map(_text, pair))


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON
    if value is None:
        return _NONE
    if isinstance(value, Missing):
        return value.value
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def _section(
    title: str, heads: list[str], rows: Mapping[str, tuple[str, ...]], *, otherwise: str | None = None
) -> None:
    """A part of the diff: its keys to the left, what each run has beside them, words or else numbers.

    Without rows stands `otherwise` there; a part of numbers has none.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from sweepctl.tables import new_table  # noqa: PLC0415

    console = Console(highlight=False, markup=False)
    console.print()
    if not rows:
        console.print(f"{title}: {otherwise or 'none'}")
        return
    table = new_table([title, *heads], []) if otherwise else new_table([title], heads)
    for key, cells in rows.items():
        table.add_row(Text(key), *map(Text, cells))
    console.print(table)
