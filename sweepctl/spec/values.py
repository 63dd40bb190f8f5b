"""The forms of an axis: a list, generated values, or a space that random draws are taken from.

[1, 2]  {values: [1, 2]}  {choice: [1, 2]}      these values
{range: [stop]}  [start, stop]  [start, stop, step]
                                                as Python's range, the end left out
{linspace: {min, max, num}}                     evenly spaced, both ends included
{logspace: {min, max, num}}                     the same on a logarithmic scale
{uniform: {min, max}}  {log_uniform: {min, max}}
                                                drawn, with `method: random`
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sweepctl.errors import Place, suggestion
from sweepctl.spec.file import show
from sweepctl.spec.keys import is_whole
from sweepctl.spec.leaf_checks import leaf_problems
from sweepctl.spec.settings import Flat, Leaf, SettingsReader
from sweepctl.spec.source import KeyPath

MOST_VALUES = 1_000_000
"""More values than this on one axis, or more points in one sweep, are surely a slip."""

_LISTS = ("values", "choice")
_SPACES = ("uniform", "log_uniform")
_FORMS = (*_LISTS, "range", "linspace", "logspace", *_SPACES)
Number = int | float


@dataclass(frozen=True)
class Distribution:
    """Where random draws of a key come from."""

    key: str
    low: Number
    high: Number
    logarithmic: bool
    place: Place

    def draw(self, rng: random.Random) -> Flat:
        """One value between both ends; a key of whole numbers gets one, each as likely as its neighbour.

        Other values have six significant digits, so that a run's name says all of them.
        """
        whole = is_whole(self.key)
        margin = 0.5 if whole else 0.0  # rounding then leaves the ends their full share
        low, high = self.low - margin, self.high + margin
        if self.logarithmic:
            drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            drawn = rng.uniform(low, high)
        value: Number = round(drawn) if whole else float(f"{drawn:.6g}")
        value = min(max(value, self.low), self.high)
        return {self.key: Leaf(value, _short(value), self.place)}


@dataclass(frozen=True)
class Axis:
    """The settings of each value of an axis, or where they are drawn from."""

    rows: tuple[Flat, ...]
    distribution: Distribution | None = None


def read_axis(
    reader: SettingsReader,
    key: str,
    raw: Any,  # noqa: ANN401 - raw YAML
    path: KeyPath,
    *,
    undrawn: str | None,
) -> Axis | None:
    """Read any form of an axis; None when something is wrong with it, which is then noted as a problem.

    Args:
        reader: of the spec, for places and problems.
        key: what the axis varies.
        raw: what the spec says.
        path: where it says so.
        undrawn: why no value can be drawn from a space here; None where it can.
    """
    place = reader.place(path)
    if not reader.key_is_known(key, place):
        return None
    if isinstance(raw, dict):
        return _read_form(_Form(reader, "task.name" if key == "task" else key, path, undrawn), raw)
    if not isinstance(raw, list):
        reader.complain(place, f"the axis '{key}' should be a list or a form like range, found {show(raw)}")
        return None
    return _listed(reader, key, raw, path)


@dataclass(frozen=True)
class _Form:
    """What readers of forms need to know."""

    reader: SettingsReader
    key: str
    path: KeyPath
    undrawn: str | None

    def refuse(self, message: str, *inner: str | int) -> None:
        """Note a problem with this axis."""
        self.reader.complain(self.reader.place((*self.path, *inner)), f"the axis '{self.key}': {message}")


def _listed(reader: SettingsReader, key: str, values: Sequence[Any], path: KeyPath) -> Axis | None:
    if not values:
        reader.complain(reader.place(path), f"the axis '{key}' has no values; give a list of at least one")
        return None
    return Axis(tuple(reader.value(key, value, (*path, index)) for index, value in enumerate(values)))


def _read_form(form: _Form, raw: dict[str, Any]) -> Axis | None:
    known = tuple(name for name in _FORMS if name not in _SPACES) if form.undrawn else _FORMS
    if len(raw) != 1:
        form.refuse(f"give one of {', '.join(known)}, found {', '.join(raw) or 'an empty map'}")
        return None
    ((name, given),) = raw.items()
    if name not in _FORMS:
        form.refuse(f"unknown form '{name}'; {suggestion(name, known)}", name)
    elif name in _SPACES and form.undrawn:
        form.refuse(f"'{name}' is drawn from, which {form.undrawn}", name)
    elif name in _LISTS:
        if isinstance(given, list):
            return _listed(form.reader, form.key, given, (*form.path, name))
        form.refuse(f"{name} should be a list, found {show(given)}", name)
    elif name in _SPACES:
        return _space(form, name, given)
    else:
        values = {"range": _range, "linspace": _linspace, "logspace": _logspace}[name](form, given)
        return None if values is None else _generated(form, name, values)
    return None


def _space(form: _Form, name: str, given: Any) -> Axis | None:  # noqa: ANN401 - raw YAML
    ends = _spaced(form, name, given, ("min", "max"))
    if ends is None:
        return None
    place = form.reader.place((*form.path, name))
    for end in (ends["min"], ends["max"]):
        if problems := leaf_problems(form.key, Leaf(end, str(end), place)):
            form.reader.complain(place, problems[0].message)
            return None
    return Axis((), Distribution(form.key, ends["min"], ends["max"], name == "log_uniform", place))


def _range(form: _Form, given: Any) -> list[Number] | None:  # noqa: ANN401 - raw YAML
    numbers: list[Number] = given if isinstance(given, list) and all(map(_is_number, given)) else []
    if not 1 <= len(numbers) <= 3:
        form.refuse(
            f"range should be [stop], [start, stop] or [start, stop, step], found {show(given)}", "range"
        )
        return None
    # Decimals, as they were written: adding 0.1 three times is then 0.3.
    exact = [Decimal(str(number)) for number in numbers]
    start, stop = (Decimal(0), exact[0]) if len(exact) == 1 else (exact[0], exact[1])
    step = exact[2] if len(exact) == 3 else Decimal(1)
    count = max(0, math.ceil((stop - start) / step)) if step else 0
    if not 0 < count <= MOST_VALUES:
        much = f"{count:,} values, more than {MOST_VALUES:,}" if count else "no values"
        form.refuse(f"range {show(given)} has {much}; correct its ends or its step", "range")
        return None
    whole = all(isinstance(number, int) for number in numbers)
    kind: Callable[[Decimal], Number] = int if whole else float
    return [kind(start + index * step) for index in range(count)]


def _linspace(form: _Form, given: Any) -> list[Number] | None:  # noqa: ANN401 - raw YAML
    read = _spaced(form, "linspace", given, ("min", "max", "num"))
    if read is None:
        return None
    low, high, parts = read["min"], read["max"], int(read["num"]) - 1
    return _tidy(low, high, [low + (high - low) * index / parts for index in range(parts + 1)])


def _logspace(form: _Form, given: Any) -> list[Number] | None:  # noqa: ANN401 - raw YAML
    read = _spaced(form, "logspace", given, ("min", "max", "num"))
    if read is None:
        return None
    low, high, parts = read["min"], read["max"], int(read["num"]) - 1
    return _tidy(low, high, [low * (high / low) ** (index / parts) for index in range(parts + 1)])


def _spaced(form: _Form, name: str, given: Any, wanted: Sequence[str]) -> dict[str, Number] | None:  # noqa: ANN401
    """The numbers of a form that has ends, once all is well with them."""
    if not isinstance(given, dict):
        form.refuse(f"{name} should be a map of {', '.join(wanted)}, found {show(given)}", name)
        return None
    before = form.reader.problem_count()
    for key in given:
        if key not in wanted:
            form.refuse(f"{name}: unknown key '{key}'; {suggestion(key, wanted)}", name, key)
    for key in wanted:
        if key not in given:
            form.refuse(f"{name}: the key '{key}' is missing", name)
        elif not _is_number(given[key]):
            form.refuse(f"{name}.{key} should be a number, found {show(given[key])}", name, key)
    if form.reader.problem_count() > before:
        return None
    low, high = given["min"], given["max"]
    if not low < high:
        form.refuse(f"{name}.min should be less than max, found {show(low)} and {show(high)}", name)
    if name.startswith("log") and low <= 0:
        form.refuse(f"{name}.min should be greater than 0, found {show(low)}", name, "min")
    if "num" in wanted and not (isinstance(given["num"], int) and 2 <= given["num"] <= MOST_VALUES):
        form.refuse(
            f"{name}.num should be a whole number from 2 to {MOST_VALUES:,}, found {show(given['num'])}",
            name,
            "num",
        )
    if name in _SPACES and is_whole(form.key) and not (isinstance(low, int) and isinstance(high, int)):
        form.refuse(f"{name}: '{form.key}' holds whole numbers, found {show(low)} and {show(high)}", name)
    return given if form.reader.problem_count() == before else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _tidy(low: Number, high: Number, values: Sequence[float]) -> list[Number]:
    """Twelve significant digits, so that 1e-05 is 1e-05; whole numbers where the ends and all others are."""
    rounded = [float(f"{value:.12g}") for value in values]
    rounded[0], rounded[-1] = float(low), float(high)
    if isinstance(low, int) and isinstance(high, int) and all(value.is_integer() for value in rounded):
        return [int(value) for value in rounded]
    return list(rounded)


def _generated(form: _Form, name: str, values: Sequence[Number]) -> Axis:
    """Generated values, named with six digits where that tells them apart."""
    place = form.reader.place((*form.path, name))
    texts = [_short(value) for value in values]
    if len(set(texts)) < len(texts):
        texts = [repr(value) for value in values]
    return Axis(
        tuple({form.key: Leaf(value, text, place)} for value, text in zip(values, texts, strict=True))
    )


def _short(value: Number) -> str:
    """As one would write it: 1e-5, not 1e-05."""
    return str(value) if isinstance(value, int) else re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.6g}")
