"""Conditions as users write them, `max_staleness == 1 and optim.lr in [1e-6, 5e-7]`: Python's own syntax, and
of it only what asks a question about names that are known.

Comparisons, chained ones too, `in`, `and`, `or`, `not`, numbers, strings, lists, `True`, `False`, `None` and
dotted names. A condition is compiled once: an unknown name or anything else of Python is an error before
anything is evaluated, with the place where it stands.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from trainer.errors import ConfigError

Lookup = Callable[[str], Any]
"""From a known name to its value."""
_Evaluator = Callable[[Lookup], Any]

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
    _evaluate: _Evaluator

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
    compiler = _Compiler(line, known)
    try:
        evaluate = compiler.compiled(ast.parse(line, mode="eval").body)
    except SyntaxError as error:
        raise _syntax_error(line, error) from None
    except (ValueError, MemoryError, RecursionError):  # a null byte; nested deeper than Python reads
        raise ExpressionError(line, 1, f"this cannot be read; {_ALLOWED}") from None
    return Expression(line, frozenset(compiler.names), evaluate)


class _Compiler:
    """From syntax to closures, a method for each kind of node."""

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.names: set[str] = set()
        self._text = text
        self._known = known

    def compiled(self, node: ast.expr) -> _Evaluator:
        match node:
            case (
                ast.Constant(value=bool() | int() | float() | str() | None)
                | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()))
            ):
                value = ast.literal_eval(node)
                return lambda _: value
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.compiled(operand)
                return lambda lookup: not inner(lookup)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                parts = [self.compiled(element) for element in elements]
                return lambda lookup: [part(lookup) for part in parts]
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.BoolOp():
                return self._and_or(node)
            case ast.Compare():
                return self._comparison(node)
        raise self._error(node, f"`{ast.unparse(node)}` is not understood here; {_ALLOWED}")

    def _name(self, node: ast.expr) -> _Evaluator:
        name = ast.unparse(node)
        if name in self._known:
            self.names.add(name)
            return lambda lookup: lookup(name)
        if name in _YAML_WORDS:
            value = _YAML_WORDS[name]
            return lambda _: value
        if not re.fullmatch(r"\w+(\.\w+)*", name):
            raise self._error(node, f"`{name}` is not understood here; {_ALLOWED}")
        raise self._error(node, f"unknown name '{name}'; {self._nearest(name)}")

    def _and_or(self, node: ast.BoolOp) -> _Evaluator:
        parts = [self.compiled(value) for value in node.values]
        stops_at = isinstance(node.op, ast.Or)

        def evaluate(lookup: Lookup) -> Any:  # noqa: ANN401 - the value that decided, as in Python
            for part in parts[:-1]:
                value = part(lookup)
                if bool(value) is stops_at:
                    return value
            return parts[-1](lookup)

        return evaluate

    def _comparison(self, node: ast.Compare) -> _Evaluator:
        for op in node.ops:
            if type(op) not in _OPERATORS:
                raise self._error(node, "compare with == or !=, not with is")
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
                    raise self._error(operands[index], f"{left!r} {symbol} {right!r}: {advice}") from None
                if not result:
                    break
                left = right
            return result

        return evaluate

    def _nearest(self, name: str) -> str:
        by_last_part = {known.rpartition(".")[2]: known for known in self._known}
        if name in by_last_part:
            return f"did you mean '{by_last_part[name]}'?"
        # What is right of the dot says more than what is left of it.
        found = difflib.get_close_matches(name, self._known, n=1) or [
            by_last_part[near]
            for near in difflib.get_close_matches(name.rpartition(".")[2], by_last_part, n=1)
        ]
        return f"did you mean '{found[0]}'?" if found else f"known: {', '.join(self._known)}"

    def _error(self, node: ast.expr, problem: str) -> ExpressionError:
        before = self._text.encode()[: node.col_offset]  # Python counts bytes of UTF-8
        position = len(before.decode(errors="ignore")) + 1
        return ExpressionError(self._text, position, problem)


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
