"""The fast decoder of trace lines accepts what the models in `trainer.records` accept, and nothing else."""

import json
import math
import struct

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, synthetic_trace
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from results.files.tail import Chunk, Position, Stamp
from results.files.trace_decoder import INT64, decode_trace, record_models
from results.files.trace_rows import TABLES
from trainer.config import RunConfig, RunFile
from trainer.records import TraceRecord

ADAPTER = TypeAdapter(TraceRecord)


def one_of_each_kind():
    config = RunConfig.model_validate(REFERENCE_ARMS[4].config(2, 0))
    file = RunFile(sweep="s", run_name="r", run_id=config.run_id(), config=config)
    trace = synthetic_trace(np.random.default_rng(0), file, 2, finish=True, attempt=2)
    found = {record.kind: json.loads(record.model_dump_json()) for record in trace}
    head = {"v": 1, "attempt": 1, "t": 0.5}
    found["warning"] = {**head, "kind": "warning", "message": 'it \u00e9 \u0000 \\ "goes" on'}
    found["eval"] = {**head, "kind": "eval", "version": 3, "problems": 10, "accuracy": 0.5}
    found["eval"] |= {"truncated_fraction": 0.0, "completion_tokens": 12, "wall_s": 1.5}
    return list(found.values())


KINDS = one_of_each_kind()
NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "1e-400",
    "-0.0",
    "1.0",
    "1.5",
    "7",
    "1E2",
    "01",
]
NUMBERS += ["+1", "1.", ".5", "9007199254740993", "9223372036854775807", "9223372036854775808"]
NUMBERS += ["-9223372036854775808", "-9223372036854775809", "18446744073709551615", "1" + "0" * 400]
TEXTS = [
    '"text"',
    '"12"',
    '"1.5"',
    '""',
    '"\\u0000"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"trained"',
    '"evicted"',
]
TEXTS += ['"Trained"', '"engine"', '"step"', "'a'", "trained", '"a\x01b"', '"\x7f"']
OTHERS = ["true", "null", "[]", "{}", "[1]", '{"a": 1}', "", "[" * 2000 + "]" * 2000]
RAW = st.sampled_from([*NUMBERS, *TEXTS, *OTHERS])
FLOATS = st.floats().map(repr).map(lambda text: text.replace("inf", "Infinity").replace("nan", "NaN"))


@st.composite
def mutated_lines(draw):
    """A record's line with some values, keys or bytes changed."""
    record = draw(st.sampled_from(KINDS))
    pairs = [(json.dumps(key), json.dumps(value)) for key, value in record.items()]
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(pairs) - 1))
        key = pairs[place][0]
        match draw(st.sampled_from(["value", "number", "integer", "drop", "again", "extra", "swap"])):
            case "value":
                pairs[place] = (key, draw(RAW))
            case "number":
                pairs[place] = (key, draw(FLOATS))
            case "integer":
                pairs[place] = (key, str(draw(st.integers())))
            case "drop":
                del pairs[place]
            case "again":
                pairs.insert(draw(st.integers(0, len(pairs))), (key, draw(RAW)))
            case "extra":
                pairs.append(
                    (draw(st.sampled_from(['"extra"', '"kind"', '"v"', '"grou\\u0070"'])), draw(RAW))
                )
            case "swap":
                pairs = draw(st.permutations(pairs))
    space = draw(st.sampled_from(["", " ", "\t", "\r", "\x0b", "\u00a0"]))
    line = (space + "{" + ",".join(f"{key}:{space}{value}" for key, value in pairs) + "}" + space).encode()
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(line)))
        line = line[:place] + draw(st.binary(max_size=2)) + line[place + draw(st.integers(0, 2)) :]
    return line.replace(b"\n", b" ")


def decoded(*lines):
    offset = sum(len(line) + 1 for line in lines)
    return decode_trace(Chunk(0, list(lines), Position(Stamp(offset, 0, 0), offset), from_start=True))


def bits(value):
    """Something that is equal for equal values of the same type, floats to the last bit."""
    value = getattr(value, "value", value)
    return struct.pack("<d", value) if isinstance(value, float) and not math.isnan(value) else repr(value)


def same(record, model):
    assert type(record).__name__ == type(model).__name__
    for name in type(model).model_fields:
        if name != "kind":
            assert bits(getattr(record, name)) == bits(getattr(model, name)), name


@settings(max_examples=1500, deadline=None)
@given(line=mutated_lines())
@example(line=b"")
@example(line=b"  \t ")
@example(line=b"\x00" * 50)
@example(line=json.dumps(KINDS[0]).encode() + b"\x00")
@example(line=b"\xef\xbb\xbf" + json.dumps(KINDS[0]).encode())
@example(line=b"[" * 100_000)
def test_it_accepts_exactly_what_the_models_accept(line):
    good, bad = decoded(line)
    if not line.strip():
        assert (good, bad) == ([], [])
        return
    try:
        model = ADAPTER.validate_json(line.strip())
    except ValidationError:
        assert not good and len(bad) == 1 and bad[0].reason
        return
    if any(isinstance(value, int) and value not in INT64 for _, value in model):
        assert not good and "64 bits" in bad[0].reason
        return
    assert not bad
    same(good[0], model)


@pytest.mark.parametrize("record", KINDS, ids=lambda record: record["kind"])
def test_a_line_as_the_trainer_writes_it_takes_the_fast_path(record, monkeypatch):
    monkeypatch.setattr("results.files.trace_decoder._ADAPTER", None)
    good, bad = decoded(json.dumps(record).encode())
    assert len(good) == 1 and not bad


def test_every_kind_of_line_has_a_table():
    assert set(TABLES) == set(record_models())
    assert {record["kind"] for record in KINDS} == {model.model_fields["kind"].default for model in TABLES}


@given(damage=st.lists(st.booleans(), max_size=8))
def test_bad_lines_keep_their_offsets_and_good_ones_their_order(damage):
    lines = [b"bad %d" % n if is_bad else json.dumps(KINDS[n]).encode() for n, is_bad in enumerate(damage)]
    good, bad = decoded(*lines)
    data = b"".join(line + b"\n" for line in lines)
    assert [line.excerpt.encode() for line in bad] == [line for line in lines if line.startswith(b"bad")]
    assert all(data[line.byte_offset :].startswith(line.excerpt.encode()) for line in bad)
    assert len(good) == damage.count(False)
