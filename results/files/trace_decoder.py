"""Trace lines -> records, fast.

`trainer.records` defines what a line may be. Structs that msgspec fills are made from those models; they
accept a part of what the models accept, with the same values, in a quarter of the time. What they refuse
goes to pydantic, which accepts it after all or says why not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError

from results.files.tail import Chunk
from trainer.records import Record, TraceRecord

INT64 = range(-(2**63), 2**63)
"""What a BIGINT holds."""

_T = TypeVar("_T")
_EXCERPT_BYTES = 200
_REFUSALS = (msgspec.MsgspecError, ValueError, RecursionError)
_ADAPTER: TypeAdapter[Record] = TypeAdapter(TraceRecord)


@dataclass(frozen=True)
class BadLine:
    """A line that is no record, and why."""

    byte_offset: int
    reason: str
    excerpt: str


def decode_trace(chunk: Chunk) -> tuple[list[msgspec.Struct], list[BadLine]]:
    """Records of a chunk in order, and the lines that are none; blank lines are neither."""
    decode = _DECODER.decode
    try:
        return [decode(line) for line in chunk.lines], []
    except _REFUSALS:
        return _decode_one_by_one(chunk)


def _decode_one_by_one(chunk: Chunk) -> tuple[list[msgspec.Struct], list[BadLine]]:
    good: list[msgspec.Struct] = []
    bad: list[BadLine] = []
    for offset, line in chunk.numbered():
        try:
            good.append(_DECODER.decode(line))
        except _REFUSALS:
            found = _validated(offset, line.strip())
            if isinstance(found, BadLine):
                bad.append(found)
            elif found is not None:
                good.append(found)
    return good, bad


def decode_lines(chunk: Chunk, adapter: TypeAdapter[_T]) -> tuple[list[_T], list[BadLine]]:
    """Every line that `adapter` accepts and the store can hold, and a `BadLine` for every other."""
    good: list[_T] = []
    bad: list[BadLine] = []
    for offset, line in chunk.numbered():
        if not line.strip():
            continue
        found = validated_line(offset, line.strip(), adapter)
        if isinstance(found, BadLine):
            bad.append(found)
        else:
            good.append(found)
    return good, bad


def validated_line(offset: int, line: bytes, adapter: TypeAdapter[_T]) -> _T | BadLine:
    """What `adapter` makes of a line, or the first complaint, with where in the line it is."""
    try:
        found = adapter.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return _bad_line(offset, line, f"{where}: {first['msg']}" if where else first["msg"])
    for name, value in found if isinstance(found, BaseModel) else ():
        if isinstance(value, int) and value not in INT64:
            return _bad_line(offset, line, f"{name}: {str(value)[:40]} does not fit into 64 bits")
    return found


def struct_of(model: type[Record]) -> type[msgspec.Struct]:
    """The struct that holds the lines of a kind, with fields of the same names."""
    return _STRUCTS[model]


def _validated(offset: int, line: bytes) -> msgspec.Struct | BadLine | None:
    """A line by the models themselves; None where it is blank."""
    if not line:
        return None
    found = validated_line(offset, line, _ADAPTER)
    if isinstance(found, BadLine):
        return found
    struct = _STRUCTS[type(found)]
    return struct(**{name: getattr(found, name) for name in struct.__struct_fields__})


def _bad_line(offset: int, line: bytes, reason: str) -> BadLine:
    return BadLine(offset, reason, line[:_EXCERPT_BYTES].decode(errors="replace"))


def _make_struct(model: type[Record]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        kind = _strict(field.annotation)
        fields.append((name, kind) if field.is_required() else (name, kind, field.default))
    tag = model.model_fields["kind"].default
    # Records hold plain values only: without the garbage collector's bookkeeping they are made faster.
    return msgspec.defstruct(
        model.__name__, fields, tag_field="kind", tag=tag, forbid_unknown_fields=True, kw_only=True, gc=False
    )


def _strict(annotation: Any) -> Any:  # noqa: ANN401 - any annotation of a record's field
    """The annotation as msgspec should see it: integers of 64 bits, members of an enumeration as text."""
    if annotation is int:
        return Annotated[int, msgspec.Meta(ge=INT64.start, le=INT64.stop - 1)]
    if isinstance(annotation, UnionType):
        return reduce(or_, (_strict(part) for part in get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Literal[tuple(member.value for member in annotation)]
    return annotation


def record_models() -> Sequence[type[Record]]:
    """The models of all kinds of lines."""
    union, _ = get_args(TraceRecord)
    models: Sequence[type[Record]] = get_args(union)
    return models


_STRUCTS = {model: _make_struct(model) for model in record_models()}
_DECODER: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(reduce(or_, _STRUCTS.values()))
