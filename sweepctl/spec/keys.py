"""The dotted keys of a run's configuration: `optim.lr` is `lr` inside `optim`."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainer.config import RunConfig


@cache
def leaf_keys() -> tuple[str, ...]:
    """Every key that holds a value, dotted, in the order of `RunConfig`."""
    return tuple(fields())


@cache
def fields() -> Mapping[str, FieldInfo]:
    """What each key may hold."""
    return dict(_walk(RunConfig, ""))


def is_whole(key: str) -> bool:
    """Whether a key holds whole numbers only."""
    return key in fields() and _holds(fields()[key].annotation, int)


def is_list(key: str) -> bool:
    """Whether a key holds a list."""
    return _holds(fields()[key].annotation, tuple)


@cache
def section_keys() -> tuple[str, ...]:
    """Keys that hold other keys: `task`, `optim`, ..."""
    return tuple(dict.fromkeys(key.rpartition(".")[0] for key in leaf_keys() if "." in key))


@cache
def defaults() -> Mapping[str, Any]:
    """What each key is when no spec says anything."""
    return flatten(RunConfig().model_dump(mode="json"))


def overlap(key: str, other: str) -> bool:
    """Whether setting one of two keys also sets the other: `task` and `task.name`."""
    return key == other or key.startswith(other + ".") or other.startswith(key + ".")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"optim": {"lr": 1}}` as `{"optim.lr": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        dotted = prefix + key
        flat.update(flatten(value, dotted + ".") if isinstance(value, Mapping) else {dotted: value})
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"optim.lr": 1}` as `{"optim": {"lr": 1}}`."""
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, leaf = dotted.split(".")
        inner = tree
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[leaf] = value
    return tree


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _holds(annotation: object, kind: type) -> bool:
    return kind in (annotation, get_origin(annotation)) or any(
        _holds(part, kind) for part in get_args(annotation)
    )
