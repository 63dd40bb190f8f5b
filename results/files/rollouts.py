"""rollouts.jsonl of a run -> an index of its groups, and the groups themselves one at a time.

The file may be far larger than memory: one pass remembers where each group's line is and what to choose it
by; texts, tokens and logprobs are read when they are looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, TypeVar

import msgspec
import pandas as pd

from results.files.tail import Position, Stamp, read_new_lines
from results.files.trace_decoder import INT64
from trainer.errors import SweepctlError

COLUMNS = ("group", "attempt", "fate", "step", "version_min", "prompt_id", "reward_mean", "completions")
"""Of a group's line, as in `trainer.records.RolloutGroup`; `completions` is their number."""

_Int64 = Annotated[int, msgspec.Meta(ge=INT64.start, le=INT64.stop - 1)]
_REFUSALS = (msgspec.MsgspecError, ValueError, RecursionError)
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class RolloutsChangedError(SweepctlError):
    """The file is not the one that was indexed."""


class Completion(msgspec.Struct):
    """One sampled answer; the lists have one entry per token, in natural logarithms."""

    text: str
    token_ids: list[int]
    generator_logprobs: list[float | None]
    reward: float | None
    truncated: bool
    tokens: list[str] | None = None
    """Text of each token by itself; None in files of older releases."""
    learner_logprobs: list[float | None] | None = None
    """By the learner before the step's first update; None where the completion was not trained on."""
    advantage: float | None = None


class PromptGroup(msgspec.Struct):
    """A group with all that was kept of it."""

    group: int
    prompt: str
    answer: str
    completions: list[Completion]


class _Rewarded(msgspec.Struct):
    reward: float | None


class _IndexedLine(msgspec.Struct):
    """What the index takes of a line; msgspec steps over the rest without making objects of it."""

    group: _Int64
    prompt_id: str
    fate: str
    step: _Int64 | None
    version_min: _Int64
    completions: list[_Rewarded]
    attempt: _Int64 = 1


class _Text(msgspec.Struct):
    text: str


class _SearchedLine(msgspec.Struct):
    group: int
    prompt: str
    answer: str
    completions: list[_Text]


@dataclass
class RolloutIndex:
    """Where the last line of each group is; `extend` reads what has been appended since."""

    path: Path
    bad_lines: int = 0
    """Lines that are no group: they are passed over."""
    _position: Position | None = None
    _rows: dict[int, tuple[object, ...]] = field(default_factory=dict)
    _frame: pd.DataFrame | None = None

    @property
    def stamp(self) -> Stamp | None:
        """Of the file as it was last read to its end; None before."""
        return self._position.stamp if self._position else None

    def extend(self) -> None:
        """Reads the whole lines that are new, or all of them where another file took its place.

        Raises:
            OSError: there is no file, or it cannot be read.
        """
        for chunk in read_new_lines(self.path, self._position):
            if chunk.from_start:
                self._rows, self.bad_lines = {}, 0
            for offset, line in chunk.numbered():
                self._add(offset, line)
            self._position, self._frame = chunk.position, None

    def groups(self) -> pd.DataFrame:
        """One row per group: `COLUMNS`, `offset` and `length` of its line in bytes; in the groups' order.

        `reward_mean` is over its completions; `step` is NA unless the group was trained. The frame is kept
        until the file has grown: read-only.
        """
        if self._frame is None:
            rows = [self._rows[group] for group in sorted(self._rows)]
            frame = pd.DataFrame(rows, columns=[*COLUMNS, "offset", "length"])
            self._frame = frame.astype({"step": "Int64", "reward_mean": "float64"})
        return self._frame

    def _add(self, offset: int, line: bytes) -> None:
        if not line.strip():
            return
        try:
            found = _INDEXED.decode(line)
        except _REFUSALS:
            self.bad_lines += 1
            return
        rewards = [completion.reward for completion in found.completions if completion.reward is not None]
        mean = fmean(rewards) if rewards else None
        # Of a group with two lines the later one counts.
        self._rows[found.group] = (
            *(found.group, found.attempt, found.fate, found.step, found.version_min, found.prompt_id),
            *(mean, len(found.completions), offset, len(line)),
        )


def read_groups(path: Path, rows: pd.DataFrame) -> list[PromptGroup]:
    """Some groups with their texts and logprobs.

    Args:
        path: of rollouts.jsonl.
        rows: of `RolloutIndex.groups`.

    Raises:
        RolloutsChangedError: a line is not there any more.
        OSError: the file cannot be read.
    """
    return list(_lines(path, rows, _GROUP))


def read_prompts(path: Path, rows: pd.DataFrame) -> list[str]:
    """The prompts of some groups, rows of `RolloutIndex.groups`; raises as `read_groups` does."""
    return [line.prompt for line in _lines(path, rows, _SEARCHED)]


def groups_with(path: Path, rows: pd.DataFrame, wanted: str) -> list[bool]:
    """Which groups have a text in their prompt, answer or completions, upper and lower case alike.

    Args:
        path: of rollouts.jsonl.
        rows: of `RolloutIndex.groups`; only their lines are read, one at a time.
        wanted: looked for as it stands; it is no pattern.

    Raises:
        RolloutsChangedError: a line is not there any more.
        OSError: the file cannot be read.
    """
    needle = wanted.casefold()
    return [any(needle in text.casefold() for text in _texts(line)) for line in _lines(path, rows, _SEARCHED)]


def _texts(line: _SearchedLine) -> Iterator[str]:
    yield from (line.prompt, line.answer)
    for completion in line.completions:
        yield completion.text


def _lines(path: Path, rows: pd.DataFrame, decoder: msgspec.json.Decoder[_Struct]) -> Iterator[_Struct]:
    """The groups at some places of the file, in the order of `rows`."""
    with path.open("rb") as file:
        for group, offset, length in rows[["group", "offset", "length"]].itertuples(index=False, name=None):
            file.seek(offset)
            try:
                found = decoder.decode(file.read(length))
            except _REFUSALS:
                found = None
            if found is None or getattr(found, "group", None) != group:
                raise RolloutsChangedError(f"{path}: is not as it was a moment ago; look again")
            yield found


_INDEXED = msgspec.json.Decoder(_IndexedLine)
_SEARCHED = msgspec.json.Decoder(_SearchedLine)
_GROUP = msgspec.json.Decoder(PromptGroup)
