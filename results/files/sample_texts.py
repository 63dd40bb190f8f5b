"""What was asked and answered of one question: from lm-eval's samples, which the store has without texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trainer.paths import samples_path


@dataclass(frozen=True)
class SampleText:
    """One question as a model met it. All of it is text of users or models."""

    question: str | None
    """None where the task's documents have no field of that name."""
    prompt: str | None
    """All that the model was given, worked examples included; None where lm-eval did not note it."""
    target: str
    completions: tuple[str, ...]
    """One for each repeat of the question."""


class _Line(msgspec.Struct):
    """The parts of a line that are read; the rest is passed over undecoded."""

    doc_id: int
    filter: str = "none"
    doc: msgspec.Raw = msgspec.Raw(b"null")
    arguments: msgspec.Raw = msgspec.Raw(b"null")
    resps: msgspec.Raw = msgspec.Raw(b"null")
    target: Any = None


_DECODER = msgspec.json.Decoder(_Line)


def read_sample_text(runs_dir: Path, result: str, filter_name: str, doc_id: int) -> SampleText | None:
    """One question of a result, seen through one filter; None where its samples do not have it.

    Args:
        runs_dir: where the results are.
        result: path of the result file below it, as in column `path` of the store.
        filter_name: lm-eval's, such as `strict-match`.
        doc_id: the question's number.

    Raises:
        OSError: the samples cannot be read.
    """
    with samples_path(runs_dir / result).open("rb") as file:
        for text in file:
            try:
                line = _DECODER.decode(text)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue  # the ingester has put it on record
            if line.doc_id == doc_id and line.filter == filter_name:
                return _text(line)
    return None


def _text(line: _Line) -> SampleText:
    doc = msgspec.json.decode(line.doc)
    question = doc.get("question") if isinstance(doc, dict) else None
    return SampleText(
        question=question if isinstance(question, str) else None,
        prompt=_prompt(msgspec.json.decode(line.arguments)),
        target="" if line.target is None else str(line.target),
        completions=tuple(_strings(msgspec.json.decode(line.resps))),
    )


def _prompt(arguments: object) -> str | None:
    """The first string of `{"gen_args_0": {"arg_0": prompt, …}}`, or of lists in place of mappings."""
    return next(iter(_strings(arguments)), None)


def _strings(value: object) -> list[str]:
    """The strings in nested lists and mappings, in order."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _strings(part)]
