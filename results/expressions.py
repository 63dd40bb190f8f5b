"""Conditions as users write them, `max_staleness == 1 and optim.lr in [1e-6, 5e-7]`: Python's own syntax, and
of it only what asks a question about names that are known.

Comparisons, chained ones too, `in`, `and`, `or`, `not`, numbers, strings, lists, `True`, `False`, `None` and
dotted names. A condition is compiled once: an unknown name or anything else of Python is an error before
anything is evaluated, with the place where it stands. A language that has more, such as the calls of
`results.report.gate`, hands `Compiler` a function for them.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.errors import ConfigError

Lookup = Callable[[str], Any]
"""From a known name to its value."""
Evaluator = Callable[[Lookup], Any]

_OPERATORS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.In: ("in", lambda left, right: left in right),
    ast.NotIn: ("not in", lambda left, right: left not in right),
}
_YAML_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_ALLOWED = "use comparisons, in, and, or, not, numbers, strings, lists and names"


class ExpressionError(ConfigError):
    """A condition that cannot be read, or not be evaluated; `position` counts its characters from 1."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.position = position
        super().__init__(f"`{text}`, character {position}: {problem}")


@dataclass(frozen=True)
class Expression:
    """A condition, read and checked."""

    text: str
    names: frozenset[str]
    """The names it asks for."""
    _evaluate: Evaluator

    def __call__(self, lookup: Lookup) -> Any:  # noqa: ANN401 - whatever the names hold
        """Its value, by Python's rules; `and` and `or` look no further than they must.

        Raises:
            ExpressionError: two values cannot be compared, such as None and a number by `<`.
        """
        return self._evaluate(lookup)


def compile_expression(text: str, known: Collection[str]) -> Expression:
    """Read a condition over known names.

    Raises:
        ExpressionError: it is no condition, or names what is not known.
    """
    line = " ".join(text.split("\n")).strip()
    compiler = Compiler(line, known)
    try:
        evaluate = compiler.compiled(parse_expression(line))
    except RecursionError:
        raise _unreadable(line) from None
    return Expression(line, frozenset(compiler.names), evaluate)


def parse_expression(line: str) -> ast.expr:
    """The syntax of one line, which need not mean anything yet.

    Raises:
        ExpressionError: it is no expression of Python.
    """
    try:
        return ast.parse(line, mode="eval").body
    except SyntaxError as error:
        raise _syntax_error(line, error) from None
    except (ValueError, MemoryError, RecursionError):  # a null byte; nested deeper than Python reads
        raise _unreadable(line) from None


class Compiler:
    """From syntax to closures, a method for each kind of node.

    Args:
        text: the whole line, for errors.
        known: the names that `Lookup` answers.
        words: bare words that stand for a value.
        call: compiles calls, where there are any.
    """

    def __init__(
        self,
        text: str,
        known: Collection[str],
        words: Mapping[str, object] | None = None,
        call: Callable[[ast.Call], Evaluator] | None = None,
    ) -> None:
        self.names: set[str] = set()
        self._text = text
        self._known = known
        self._extra_words = words or {}
        self._words = {**_YAML_WORDS, **self._extra_words}
        self._call = call

    def compiled(self, node: ast.expr) -> Evaluator:
        """The closure that evaluates a node.

        Raises:
            ExpressionError: for what is not understood, with its place.
        """
        match node:
            case ast.Call() if self._call is not None:
                return self._call(node)
            case (
                ast.Constant(value=bool() | int() | float() | str() | None)
                | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()))
            ):
                value = ast.literal_eval(node)
                return lambda _: value
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                parts = [self.compiled(element) for element in elements]
                return lambda lookup: [part(lookup) for part in parts]
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return self._logical(node)
            case ast.Compare():
                return self._comparison(node)
        raise self.error(node, f"`{ast.unparse(node)}` is not understood here; {_ALLOWED}")

    def _name(self, node: ast.expr) -> Evaluator:
        name = ast.unparse(node)
        if name in self._known:
            self.names.add(name)
            return lambda lookup: lookup(name)
        if name in self._words:
            value = self._words[name]
            return lambda _: value
        if not re.fullmatch(r"\w+(\.\w+)*", name):
            raise self.error(node, f"`{name}` is not understood here; {_ALLOWED}")
        raise self.error(
            node, f"unknown name '{name}'; {self.advice(name, [*self._known, *self._extra_words])}"
        )

    def _logical(self, node: ast.BoolOp | ast.UnaryOp) -> Evaluator:
        if isinstance(node, ast.UnaryOp):
            inner = self.compiled(node.operand)
            return lambda lookup: not inner(lookup)
        parts = [self.compiled(value) for value in node.values]
        stops_at = isinstance(node.op, ast.Or)

        def evaluate(lookup: Lookup) -> Any:  # noqa: ANN401 - the value that decided, as in Python
            for part in parts[:-1]:
                value = part(lookup)
                if bool(value) is stops_at:
                    return value
            return parts[-1](lookup)

        return evaluate

    def _comparison(self, node: ast.Compare) -> Evaluator:
        for op in node.ops:
            if type(op) not in _OPERATORS:
                raise self.error(node, "compare with == or !=, not with is")
        operands = [node.left, *node.comparators]
        values = [self.compiled(operand) for operand in operands]

        def evaluate(lookup: Lookup) -> Any:  # noqa: ANN401 - what comparing gives
            left, result = values[0](lookup), True
            for index, op in enumerate(node.ops):
                symbol, compare = _OPERATORS[type(op)]
                right = values[index + 1](lookup)
                try:
                    result = compare(left, right)
                except TypeError:
                    advice = _advice(symbol, (left, operands[index]), (right, operands[index + 1]))
                    raise self.error(operands[index], f"{left!r} {symbol} {right!r}: {advice}") from None
                if not result:
                    break
                left = right
            return result

        return evaluate

    def advice(self, name: str, known: list[str]) -> str:
        """What to do about a name that is none of the known ones; a language may know more of it."""
        return nearest_name(name, known)

    def error(self, node: ast.expr, problem: str) -> ExpressionError:
        """An error at the place of a node."""
        before = self._text.encode()[: node.col_offset]  # Python counts bytes of UTF-8
        position = len(before.decode(errors="ignore")) + 1
        return ExpressionError(self._text, position, problem)


def nearest_name(name: str, known: Collection[str]) -> str:
    """`did you mean 'optim.lr'?`, or the names there are when none is close."""
    found = close_name(name, known)
    return f"did you mean '{found}'?" if found else f"known: {', '.join(known)}"


def close_name(name: str, known: Collection[str]) -> str | None:
    """The known name that was probably meant, also by its last part alone; None where none is close."""
    by_last_part = {each.rpartition(".")[2]: each for each in known}
    if name in by_last_part:
        return by_last_part[name]
    # What is right of the dot says more than what is left of it.
    found = difflib.get_close_matches(name, known, n=1) or [
        by_last_part[near] for near in difflib.get_close_matches(name.rpartition(".")[2], by_last_part, n=1)
    ]
    return found[0] if found else None


def _unreadable(line: str) -> ExpressionError:
    return ExpressionError(line, 1, f"this cannot be read; {_ALLOWED}")


def _advice(symbol: str, *sides: tuple[object, ast.expr]) -> str:
    """What to do about two values that cannot be compared."""
    if symbol.endswith("in"):
        return "the right side is no list"
    for value, node in sides:
        if value is None and not isinstance(node, ast.Constant):
            name = ast.unparse(node)
            return f"{name} has no value here; put `{name} != None and` before it"
    return "these cannot be compared"


def _syntax_error(text: str, error: SyntaxError) -> ExpressionError:
    if not error.offset:
        return ExpressionError(text, len(text) + 1, "the condition ends too early")
    position = min(error.offset, len(text) + 1)
    if text[position - 1 :].startswith("="):
        return ExpressionError(text, position, "a single = compares nothing; write ==")
    return ExpressionError(text, position, f"no condition ({error.msg}); {_ALLOWED}")
