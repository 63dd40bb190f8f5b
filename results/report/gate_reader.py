"""From the text of a gate to its calls; what is no gate is an error with its place."""

import ast
import difflib
from collections.abc import Collection
from dataclasses import dataclass

from results.expressions import (
    Compiler,
    Evaluator,
    ExpressionError,
    close_name,
    nearest_name,
    parse_expression,
)
from results.report.gate_rows import COMPARISONS, NAMES, SELECTORS, VOCABULARY

CONDITIONS, NUMBERS = ("all", "any"), ("count", "min", "max", "mean")
"""Calls that are true or false, and calls that are numbers."""
_FUNCTIONS = (*CONDITIONS, *NUMBERS)
_WORDS = {word: word for words in VOCABULARY.values() for word in words}
"""`worse` is the text 'worse'."""


_SHOWN_NAMES, _NEAR = 3, 0.4
"""So many of a hundred names are told where none is close to what was written, if as near as this."""


@dataclass(frozen=True)
class GateCall:
    """One call of the gate, compiled."""

    text: str
    function: str
    prefix: str
    condition: Evaluator
    asked: tuple[str, ...]
    """The names that the condition asks for, with their prefix."""
    where: Evaluator | None
    where_names: frozenset[str]
    wanted: bool | None
    """What `all` or `any` must be for the gate to pass; None where that depends on others."""


@dataclass(frozen=True)
class Gate:
    """A gate, read and checked."""

    text: str
    evaluate: Evaluator
    """From the values of the calls, `call0` and so on, to true or false."""
    calls: tuple[GateCall, ...]


def read_gate(text: str, configuration_keys: Collection[str]) -> Gate:
    """Read a gate.

    Args:
        text: as it was written.
        configuration_keys: dotted keys that `where=` may ask for.

    Raises:
        ExpressionError: it is no gate, with the place and the nearest right name.
    """
    line = " ".join(text.split("\n")).strip()
    reader = _Reader(line, configuration_keys)
    try:
        tree = parse_expression(line)
        reader.check_is_condition(tree, wanted=True)
        return Gate(line, reader.outer.compiled(tree), tuple(reader.calls))
    except RecursionError:
        raise ExpressionError(line, 1, "this is nested too deeply") from None


class _RowCompiler(Compiler):
    """Conditions on rows, of which there are too many names to list in an error."""

    def advice(self, name: str, known: list[str]) -> str:
        """The nearest few names, how a text is written, and where all names stand."""
        found, whole = close_name(name, known), [each for each in known if each.endswith(f".{name}")]
        if found in _WORDS:
            return f"did you mean '{found}'?"
        told = []
        if meant := whole or ([found] if found else []):
            told.append(f"did you mean {' or '.join(map(repr, meant))}?")
        elif near := difflib.get_close_matches(name, known, n=_SHOWN_NAMES, cutoff=_NEAR):
            told.append(f"the nearest are {', '.join(near)}")
        if not whole and name.partition(".")[0] not in NAMES:
            told.append(f"a text must be quoted: '{name}'")
        return "; ".join((*told, "docs/report.md lists all names"))


class _Reader:
    """From a gate's syntax to its calls, in the order they stand."""

    def __init__(self, text: str, configuration_keys: Collection[str]) -> None:
        self.calls: list[GateCall] = []
        self.outer = Compiler(text, (), call=self._compiled)
        self._text = text
        self._keys = [key for key in configuration_keys if key not in SELECTORS]
        self._wanted: dict[int, bool | None] = {}

    def check_is_condition(self, node: ast.expr, wanted: bool | None) -> None:
        """That a part of the gate is true or false, and which of them it should be."""
        match node:
            case ast.BoolOp(values=values):
                for value in values:
                    self.check_is_condition(value, wanted)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self.check_is_condition(operand, None if wanted is None else not wanted)
            case ast.Call(func=ast.Name(id=name)) if name in CONDITIONS:
                self._wanted[id(node)] = wanted
            case ast.Compare(left=left, comparators=others):
                for side in (left, *others):
                    self._check_is_number(side)
            case _:
                self._check_is_number(node)
                raise self.outer.error(
                    node, f"`{ast.unparse(node)}` is a number, and a gate is true or false; compare it"
                )

    def _check_is_number(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=int() | float()) | ast.UnaryOp(op=ast.USub()):
                return
            case ast.Call(func=ast.Name(id=name)) if name in NUMBERS:
                return
            case ast.Call(func=ast.Name(id=name)) if name in CONDITIONS:
                raise self.outer.error(node, f"{name}() is true or false already; compare inside it")
            case ast.Call(func=ast.Name(id=name)):
                raise self.outer.error(node, f"no function '{name}'; {nearest_name(name, _FUNCTIONS)}")
        raise self.outer.error(
            node,
            f"`{ast.unparse(node)}` cannot stand here; names and conditions stand inside "
            "all(), any(), count(), min(), max() or mean()",
        )

    def _compiled(self, node: ast.Call) -> Evaluator:
        """A call's place among the results; the call itself is evaluated before the gate is."""
        function = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if function not in _FUNCTIONS:
            raise self.outer.error(node, f"no function '{function}'; {nearest_name(function, _FUNCTIONS)}")
        if (
            len(node.args) != 1
            or any(each.arg != "where" for each in node.keywords)
            or len(node.keywords) > 1
        ):
            argument = "CONDITION" if function in (*CONDITIONS, "count") else "NAME"
            raise self.outer.error(
                node, f"write {function}({argument}) or {function}({argument}, where=CONDITION)"
            )
        prefix, condition, asked = self._asked(function, node.args[0])
        where = names = None
        if node.keywords:
            where, names = self._where(prefix, node.keywords[0].value)
        key = f"call{len(self.calls)}"
        self.calls.append(
            GateCall(
                text=ast.unparse(node),
                function=function,
                prefix=prefix,
                condition=condition,
                asked=asked,
                where=where,
                where_names=frozenset(names or ()),
                wanted=self._wanted.get(id(node)),
            )
        )
        return lambda lookup: lookup(key)

    def _asked(self, function: str, node: ast.expr) -> tuple[str, Evaluator, tuple[str, ...]]:
        """The prefix of what a call asks for, its condition or name, and all names in it."""
        known = [f"{prefix}.{name}" for prefix, names in NAMES.items() for name in names]
        compiler = _RowCompiler(self._text, known, _WORDS)
        evaluate = compiler.compiled(node)
        if function in {"min", "max", "mean"}:
            if not isinstance(node, ast.Attribute):
                raise self.outer.error(node, f"{function}() takes one name, such as speedup.prompts_per_s")
        elif not _is_comparison(node):
            raise self.outer.error(node, f"`{ast.unparse(node)}` is no condition; compare it with a value")
        _check_words(node, self.outer)
        prefixes = sorted({name.partition(".")[0] for name in compiler.names})
        if len(prefixes) != 1:
            found = "rows of different kinds: " + " and ".join(prefixes) if prefixes else "no row's name"
            raise self.outer.error(node, f"this asks for {found}; give each a call of its own")
        return prefixes[0], evaluate, tuple(sorted(compiler.names))

    def _where(self, prefix: str, node: ast.expr) -> tuple[Evaluator, set[str]]:
        own = [f"{prefix}.{name}" for name in NAMES[prefix]]
        against = ("against",) if prefix in COMPARISONS else ()
        compiler = _RowCompiler(self._text, [*SELECTORS, *against, *self._keys, *own], _WORDS)
        evaluate = compiler.compiled(node)
        if not _is_comparison(node):
            raise self.outer.error(node, f"`{ast.unparse(node)}` is no condition; compare it with a value")
        _check_words(node, self.outer)
        return evaluate, compiler.names


def _is_comparison(node: ast.expr) -> bool:
    match node:
        case ast.BoolOp(values=values):
            return all(map(_is_comparison, values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _is_comparison(operand)
    return isinstance(node, ast.Compare)


def _check_words(node: ast.expr, outer: Compiler) -> None:
    """That what holds one of a few words is compared with one of them: `'wrose'` would never be found."""
    for compare in (each for each in ast.walk(node) if isinstance(each, ast.Compare)):
        sides = [compare.left, *compare.comparators]
        names = [ast.unparse(side) for side in sides if isinstance(side, ast.Name | ast.Attribute)]
        for allowed in (VOCABULARY[name] for name in names if name in VOCABULARY):
            for side in sides:
                parts = side.elts if isinstance(side, ast.List | ast.Tuple) else [side]
                for part in parts:
                    word = _word(part)
                    if word is not None and word not in allowed:
                        raise outer.error(part, f"never '{word}'; it is one of {', '.join(allowed)}")


def _word(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    return node.id if isinstance(node, ast.Name) and node.id in _WORDS else None
