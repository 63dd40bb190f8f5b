"""Names of runs: `s{max_staleness}_lr{optim.lr}`, with every value as it was written."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from sweepctl.errors import Place, Problem, suggestion
from sweepctl.expansion.identity import differing
from sweepctl.expansion.space import Rows, Space, value_of
from sweepctl.spec.keys import leaf_keys
from sweepctl.spec.resolve import Resolved
from sweepctl.spec.settings import Flat
from trainer.paths import LONGEST_NAME, is_run_name, slug

_MOST_TOLD = 5
_ALIKE = ", in characters only that a name cannot hold; let the values differ in letters or digits, too"


@dataclass(frozen=True)
class Template:
    """A template taken apart: texts, and between them keys."""

    texts: tuple[str, ...]
    keys: tuple[str, ...]

    def names(self, space: Space, points: Sequence[Rows]) -> list[str]:
        """Every point's name, safe as that of a folder."""
        columns = [space.each(points, (key,), partial(_written, key=key)) for key in self.keys]
        if not columns:
            return [slug(self.texts[0])] * len(points)
        pattern = "%s".join(text.replace("%", "%%") for text in self.texts)
        parts = {*self.texts}.union(*columns)
        # Of safe parts only the ends can need care, and that is quicker.
        safe = all(re.fullmatch(r"[A-Za-z0-9._-]*", part) for part in parts)
        named = (pattern % values for values in zip(*columns, strict=True))
        return [name.strip("_.") for name in named] if safe else [slug(name) for name in named]


def grid_template(resolved: Resolved, problems: list[Problem]) -> Template:
    """The template of the spec, or one of all axes."""
    return _template(resolved, (key for block in resolved.blocks for key in block.keys), problems)


def include_template(resolved: Resolved, problems: list[Problem]) -> Template:
    """For included points: the same, and without a template of the spec also the keys that they give."""
    axes = [key for block in resolved.blocks for key in block.keys]
    given = [key for included in resolved.include for key in included.settings]
    return _template(resolved, dict.fromkeys(axes + given), problems)


def name_problems(
    resolved: Resolved, space: Space, points: Sequence[Rows], names: Sequence[str]
) -> list[Problem]:
    """Names that cannot be used, and names that several runs share."""
    place = resolved.run_name[0] if resolved.run_name else Place(resolved.file, 1)
    unusable = [name for name in dict.fromkeys(names) if not is_run_name(name)]
    problems = [Problem(place, _unusable(name)) for name in unusable[:_MOST_TOLD]]
    if len(unusable) > _MOST_TOLD:
        problems.append(Problem(place, f"nor can {len(unusable) - _MOST_TOLD:,} other names"))
    in_the_name = grid_template(resolved, []).keys
    first: dict[str, Rows] = {}
    shared: dict[str, Rows] = {}
    for name, point in zip(names, points, strict=True):
        if first.setdefault(name, point) is not point:
            shared.setdefault(name, point)
    for name, point in list(shared.items())[:_MOST_TOLD]:
        one, other = space.settings(first[name]), space.settings(point)
        differ = differing(one, other)
        unsaid = [key for key in differ if key not in in_the_name]
        advice = f"; add {{{unsaid[0]}}} to run_name" if unsaid else _ALIKE
        problems.append(
            Problem(place, f"two runs would be named '{name}': they differ in {', '.join(differ)}{advice}")
        )
    if len(shared) > _MOST_TOLD:
        problems.append(Problem(place, f"so are {len(shared) - _MOST_TOLD:,} other names"))
    return problems


def _template(resolved: Resolved, axes: Iterable[str], problems: list[Problem]) -> Template:
    place, text = resolved.run_name or (Place(resolved.file), _default(axes))
    texts, keys = [""], []
    for index, part in enumerate(re.split(r"\{([^{}]*)\}", text)):
        key = "task.name" if part == "task" else part
        if index % 2 == 0:
            texts[-1] += part
        elif key in leaf_keys():
            keys.append(key)
            texts.append("")
        else:
            problems.append(Problem(place, f"run_name: unknown key '{key}'; {suggestion(key, leaf_keys())}"))
    if len(resolved.seeds) > 1 and "seed" not in keys:
        texts[-1] += "_seed"
        keys.append("seed")
        texts.append("")
    return Template(tuple(texts), tuple(keys))


def _default(axes: Iterable[str]) -> str:
    return "_".join(f"{_word_for(key)}{{{key}}}" for key in axes if key != "seed") or "run"


def _word_for(key: str) -> str:
    """The key's last part; of `loss.name` the loss, as `name` would not say whose."""
    return key.removesuffix(".name").rpartition(".")[2]


def _unusable(name: str) -> str:
    if len(name) > LONGEST_NAME:
        return (
            f"run_name: '{name[:40]}...' has {len(name)} characters, more than {LONGEST_NAME}; "
            "give a template with fewer keys, or write its values shorter"
        )
    return f"run_name: '{name}' cannot be used; choose another"


def _written(settings: Flat, key: str) -> str:
    """As the spec wrote it; what it does not say, and null, as YAML would."""
    leaf = settings.get(key)
    if leaf is not None and leaf.value is not None:
        return leaf.text
    value = value_of(settings, key)
    return value if isinstance(value, str) else json.dumps(value)
