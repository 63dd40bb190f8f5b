"""Prompt templates: text with `{column}` placeholders."""

import difflib
import string
from collections.abc import Mapping
from typing import Any

from trainer.errors import ConfigError
from trainer.tasks.rows import Row


class Template:
    """A parsed `task.template`.

    Args:
        text: `{question}` stands for the question, other names for columns, `{{` and `}}` for braces.

    Raises:
        ConfigError: it is malformed, or without any placeholder.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigError(
                f"task.template {text!r}: {error}; a brace that is no placeholder is written {{{{ or }}}}"
            ) from error
        for _, name, form, conversion in parts:
            if name is not None and (not name or form or conversion):
                raise ConfigError(
                    f"task.template {text!r}: a placeholder is a column's name in braces and nothing else; "
                    "a brace that is no placeholder is written {{ or }}"
                )
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        if not any(name for _, name in self._parts):
            raise ConfigError(f"task.template {text!r} has no placeholder, so every prompt would be the same")

    def render(self, row: Row, question: str) -> str:
        """The prompt of a row.

        Raises:
            ConfigError: a placeholder names no column, or one that is null in this row.
        """
        values = {**row.columns, "question": question}
        return "".join(
            literal + (str(_value(values, name, row.where)) if name else "") for literal, name in self._parts
        )


def _value(values: Mapping[str, Any], name: str, where: str) -> Any:  # noqa: ANN401 - whatever a column holds
    if name not in values:
        near = difflib.get_close_matches(name, values, n=1)
        hint = f"did you mean {{{near[0]}}}? " if near else ""
        raise ConfigError(
            f"{where}: task.template names {{{name}}}, which is no column; {hint}"
            f"There are: {', '.join(values)}"
        )
    if values[name] is None:
        raise ConfigError(f"{where}: column {name!r}, which task.template names, is null")
    return values[name]
