"""Conditions against Python's own evaluation of the same text, and what is no condition."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.expressions import ExpressionError, compile_expression

VALUES = {
    "seed": 3,
    "max_staleness": 0,
    "optim.lr": 1e-6,
    "held_out.every_steps": None,
    "engine.deterministic": True,
    "state": "failed",
    "tags": ["pilot", "small"],
}
PYTHON = {
    "seed": 3,
    "max_staleness": 0,
    "optim": SimpleNamespace(lr=1e-6),
    "held_out": SimpleNamespace(every_steps=None),
    "engine": SimpleNamespace(deterministic=True),
    "state": "failed",
    "tags": ["pilot", "small"],
}
"""The same as Python sees them."""


def value_of(text: str) -> object:
    return compile_expression(text, VALUES)(VALUES.__getitem__)


constants = (
    st.integers(-5, 10**20).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.text(max_size=5).map(repr)
    | st.sampled_from(["True", "False", "None", "'pilot'", "'failed'", "1e-6", "3"])
)
operands = st.sampled_from(sorted(VALUES)) | constants


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    comparisons = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
    chains = st.lists(st.tuples(comparisons, inner), min_size=1, max_size=3)
    return st.one_of(
        st.tuples(inner, chains).map(
            lambda drawn: f"({drawn[0]}" + "".join(f" {symbol} {right}" for symbol, right in drawn[1]) + ")"
        ),
        st.tuples(st.sampled_from([" and ", " or "]), st.lists(inner, min_size=2, max_size=4)).map(
            lambda drawn: f"({drawn[0].join(drawn[1])})"
        ),
        inner.map(lambda part: f"(not {part})"),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
    )


expressions = st.recursive(operands, grown, max_leaves=12)


@given(expressions)
def test_it_means_what_it_means_in_python(text):
    try:
        expected = eval(text, {"__builtins__": {}}, PYTHON)
    except TypeError:
        with pytest.raises(ExpressionError):
            value_of(text)
        return
    assert value_of(text) == expected
    assert type(value_of(text)) is type(expected)


@given(st.text(max_size=30) | st.text("seopt.lrmaxdin ()[]=<>!'\",1e-", max_size=30))
def test_any_other_text_is_an_error_and_no_traceback(text):
    try:
        value_of(text)
    except ExpressionError as error:
        assert 1 <= error.position <= len(text) + 1


def test_and_and_or_look_no_further_than_they_must():
    asked = []

    def lookup(name):
        asked.append(name)
        return VALUES[name]

    condition = compile_expression("max_staleness != 0 and seed == 3 or state == 'failed' or tags", VALUES)
    assert condition(lookup) is True
    assert asked == ["max_staleness", "state"]
    assert condition.names == {"max_staleness", "seed", "state", "tags"}


def test_the_words_of_yaml_are_known():
    assert (
        value_of("engine.deterministic == true and held_out.every_steps == null and false == False") is True
    )


def test_a_line_break_is_a_space():
    assert value_of("seed == 3\nand state == 'failed'\n") is True


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("", 1, "the condition ends too early"),
        ("seed ==", 8, "the condition ends too early"),
        ("seed == 3 and", 14, "the condition ends too early"),
        ("(seed", 1, "no condition ('(' was never closed)"),
        ("seed == 3)", 10, "no condition (unmatched ')')"),
        ("seed == 3; state", 10, "no condition"),
        ("seed = 3", 6, "a single = compares nothing; write =="),
        ("sead == 3", 1, "unknown name 'sead'; did you mean 'seed'?"),
        ("'ä' == state and sta == 1", 18, "unknown name 'sta'; did you mean 'state'?"),
        ("lr < 1", 1, "unknown name 'lr'; did you mean 'optim.lr'?"),
        ("1 < loss.lr", 5, "unknown name 'loss.lr'; did you mean 'optim.lr'?"),
        ("optim == 1", 1, "unknown name 'optim'; "),
        ("seed.real == 3", 1, "unknown name 'seed.real'; "),
        ("qqq == 1", 1, "unknown name 'qqq'; known: seed, max_staleness, optim.lr, "),
        ("print(seed)", 1, "`print(seed)` is not understood here; use comparisons, in, and, or, not, "),
        ("tags[0] == 'pilot'", 1, "`tags[0]` is not understood here"),
        ("'a'.__class__ == 1", 1, "`'a'.__class__` is not understood here"),
        ("1 == seed + 1", 6, "`seed + 1` is not understood here"),
        ("seed if state else tags", 1, "is not understood here"),
        ("(lambda: 1) == 1", 2, "is not understood here"),
        ("[x for x in tags]", 1, "is not understood here"),
        ("state == f'{seed}'", 10, "is not understood here"),
        ("seed is 3", 1, "compare with == or !=, not with is"),
        ("seed == 3 and state < 4", 15, "'failed' < 4: these cannot be compared"),
        ("1 in seed", 1, "1 in 3: the right side is no list"),
        (
            "held_out.every_steps > 5",
            1,
            "has no value here; put `held_out.every_steps != None and` before it",
        ),
        ("not " * 5000 + "seed", 1, "this cannot be read"),
        ("(" * 500 + "seed" + ")" * 500, 201, "no condition (too many nested parentheses)"),
    ],
)
def test_what_is_no_condition_is_said_with_its_place(text, position, problem):
    with pytest.raises(ExpressionError) as error:
        value_of(text)
    assert error.value.position == position
    assert f"`{text}`, character {position}: " in str(error.value)
    assert problem in str(error.value)


def test_mistakes_are_found_before_anything_is_evaluated():
    with pytest.raises(ExpressionError, match="unknown name 'sead'"):
        compile_expression("seed == 4 and sead == 3", VALUES)
