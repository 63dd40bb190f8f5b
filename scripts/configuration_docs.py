"""Every key of a run's configuration: `python scripts/configuration_docs.py > docs/configuration.md`.

What a key means is the string under its field in trainer/config.py and trainer/settings.py.
"""

import json
from collections.abc import Container, Iterator, Mapping
from typing import Any

from sweepctl.spec.descriptions import DescribedSchema
from trainer.config import _NO_IDENTITY, RunConfig

INTRODUCTION = """\
# The configuration of a run

Every key, with its default and its meaning. [trainer.md](trainer.md) says how they act together,
[tasks.md](tasks.md) more of `task`, [sweeps.md](sweeps.md) what stands around them in a spec. The page is
written by `scripts/configuration_docs.py`, from the models that check a run's configuration.

- **Where they stand.** In a spec under `base`, for all runs; as an axis under `parameters` or `zip`, with a
  list of values, each of which makes a run; in `exclude`, `include` and `when`; after `--set`.
- **Dotted keys.** `optim.lr: 1e-5` and `optim: {lr: 1e-5}` are the same; an axis has the dotted key.
  `task: gsm8k` is short for `task: {name: gsm8k}`.
- **Identity.** A run is identified by a hash of its configuration: another value makes another run, and what
  has succeeded is not trained again ([plan.md](plan.md)). Keys marked ○ do not count. They decide what is
  kept, watched, held in memory or waited for, so changing one lets a run go on, or stay done; an axis over
  one makes no further runs. A default counts as left out, and of a local model or data file its content, not
  where it lies.
- **Letters.** s is `max_staleness`, B `prompts_per_optim_step`, P `prompts_per_rollout_sync`.
"""
HEAD = ("| key | values | default | meaning |", "| :-- | :-- | :-- | :-- |")
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
NAMES = {"string": "text", "integer": "whole number", "number": "number"}


def page() -> str:
    """The whole page, as docs/configuration.md holds it."""
    run = RunConfig.model_json_schema(schema_generator=DescribedSchema)
    sections = {
        name: run["$defs"][held["$ref"].rpartition("/")[2]]
        for name, held in run["properties"].items()
        if "$ref" in held
    }
    own = {name: held for name, held in run["properties"].items() if name not in sections}
    blocks = [INTRODUCTION, "\n".join(["## The run itself", "", *table(own, "", _NO_IDENTITY)])]
    for name, section in sections.items():
        uncounted = _NO_IDENTITY.get(name, ())
        rows = table(
            section["properties"], f"{name}.", section["properties"] if uncounted is True else uncounted
        )
        blocks.append("\n".join([f"## {name}", "", wrapped(section["description"]), "", *rows]))
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def table(properties: Mapping[str, Any], prefix: str, uncounted: Container[str]) -> Iterator[str]:
    """A row for each key; those of `uncounted` do not count for a run's identity."""
    yield from HEAD
    for name, held in properties.items():
        key = f"`{prefix}{name}`" + (" ○" if name in uncounted else "")
        cells = (key, values(held), code(held["default"]), held.get("description", ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def values(held: Mapping[str, Any]) -> str:
    """What a key may hold, in words."""
    if "anyOf" in held:
        return " or ".join(values(kind) for kind in held["anyOf"])
    if "enum" in held:
        return ", ".join(code(value) for value in held["enum"])
    kind = held["type"]
    if kind == "array":
        items = held.get("prefixItems")
        return f"{len(items)} of: {values(items[0])}" if items else f"list of: {values(held['items'])}"
    if kind in {"null", "boolean"}:
        return "`null`" if kind == "null" else "`true`, `false`"
    bounds = [f"{sign} {held[bound]}" for bound, sign in BOUNDS.items() if bound in held]
    return " ".join([NAMES[kind], ", ".join(bounds)]).strip()


def code(value: object) -> str:
    """A value as it is written in a spec."""
    if isinstance(value, str) and "\n" not in value:
        return f"`{value}`"
    return f"`{json.dumps(value)}`".replace("e-0", "e-")  # 1e-6, as everywhere else


def wrapped(text: str) -> str:
    """Paragraphs as the docstring has them, its lines joined."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


if __name__ == "__main__":
    print(page(), end="")
