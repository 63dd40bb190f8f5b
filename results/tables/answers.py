"""Which questions each result got right: read once, compared by the thousand as rows of bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.proportions import FloatArray, IntArray
from results.store import Store

_CHUNK = 2048
"""Comparisons at once: bounds the memory, whatever their number."""


@dataclass(frozen=True)
class Discordance:
    """What pairs of results have in common, one element per pair."""

    complete: npt.NDArray[np.bool_]
    """Both answered the same numbered questions; where not, the counts are 0."""
    same_documents: npt.NDArray[np.bool_]
    """And the questions' hashes agree; True where nothing is known against it."""
    questions: IntArray
    only_a: IntArray
    only_b: IntArray


@dataclass(frozen=True)
class Answers:
    """Right and wrong answers of results of a sweep, through each of lm-eval's filters."""

    place: dict[tuple[str, str], int]
    """Row of a result, by path and filter."""
    questions: IntArray
    numbers: IntArray
    """Fingerprint of the questions' numbers."""
    documents: npt.NDArray[np.uint64]
    """Fingerprint of their hashes."""
    right: npt.NDArray[np.uint8]
    """One bit per question, in order of the questions' numbers."""

    def rows(self, paths: Sequence[str | None], filters: Sequence[str]) -> IntArray:
        """Row of each result, -1 where there are no samples of it."""
        keys = zip(paths, filters, strict=True)
        return np.array([self.place.get(key, -1) for key in keys], dtype=np.int64)  # type: ignore[arg-type]

    def compare(self, a: IntArray, b: IntArray) -> Discordance:
        """Rows `a` with rows `b`; -1 for a result without samples."""
        known = (a >= 0) & (b >= 0)
        complete = np.zeros(len(a), dtype=bool)
        complete[known] = self.numbers[a[known]] == self.numbers[b[known]]
        same = np.ones(len(a), dtype=bool)
        same[complete] = self.documents[a[complete]] == self.documents[b[complete]]
        counts = np.zeros((3, len(a)), dtype=np.int64)
        counts[0, complete] = self.questions[a[complete]]
        for places in _chunks(np.flatnonzero(complete)):
            mine, others = self.right[a[places]], self.right[b[places]]
            counts[1, places] = np.bitwise_count(mine & ~others).sum(axis=1, dtype=np.int64)
            counts[2, places] = np.bitwise_count(~mine & others).sum(axis=1, dtype=np.int64)
        return Discordance(complete, same, counts[0], counts[1], counts[2])

    def question_squares(self, a: IntArray, b: IntArray) -> FloatArray:
        """Sum over questions of the squared mean difference of several seeds.

        Args:
            a: rows of an arm's seeds, shape `(arms, seeds)`.
            b: rows of what each is compared with, over the same questions; same shape.

        Returns:
            Shape `(arms,)`.
        """
        found = np.zeros(len(a))
        for places in _chunks(np.arange(len(a))):
            mine, others = (np.unpackbits(self.right[rows[places]], axis=2) for rows in (a, b))
            total = mine.sum(axis=1, dtype=np.int32) - others.sum(axis=1, dtype=np.int32)
            found[places] = (total.astype(np.int64) ** 2).sum(axis=1) / a.shape[1] ** 2
        return found


def read_answers(store: Store, sweep: str) -> Answers:
    """Samples of each model's last evaluated checkpoint; those not scored 0 or 1 are left out.

    The last ones read are kept: a report asks for runs, then for arms.
    """
    return _read_answers(store, store.mtime, sweep)


@lru_cache(maxsize=1)
def _read_answers(store: Store, mtime: float, sweep: str) -> Answers:
    """As `mtime` tells the stores apart that were published at the same place."""
    frame = store.query(
        """
        SELECT path, filter, list(2 * doc_id + exact_match::BIGINT) AS marks,
            bit_xor(hash(doc_id, doc_hash)) AS documents
        FROM eval_samples WHERE path IN (SELECT path FROM accuracy WHERE sweep = ? AND latest)
        GROUP BY path, filter HAVING bool_and(exact_match IN (0, 1))
        """,
        [sweep],
    )
    marks = frame["marks"].tolist()
    questions = np.array([len(each) for each in marks], dtype=np.int64)
    numbers = np.zeros(len(frame), dtype=np.int64)
    right = np.zeros((len(frame), (questions.max(initial=0) + 7) // 8), dtype=np.uint8)
    for count in np.unique(questions):
        rows = np.flatnonzero(questions == count)
        ordered = np.stack([marks[row] for row in rows])
        if not (np.diff(ordered, axis=1) > 0).all():
            ordered.sort(axis=1)
        bits = np.packbits((ordered & 1).astype(np.uint8), axis=1)
        right[rows, : bits.shape[1]] = bits
        ordered >>= 1
        numbers[rows] = [hash(each.tobytes()) for each in ordered]
        twice = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        numbers[rows[twice]] = rows[twice]  # a question answered twice: like no other result
    keys = zip(frame["path"], frame["filter"], strict=True)
    return Answers(
        place={key: row for row, key in enumerate(keys)},
        questions=questions,
        numbers=numbers,
        documents=frame["documents"].to_numpy(np.uint64),
        right=right,
    )


def flips_table(store: Store, path: str, other_path: str, filter_name: str) -> pd.DataFrame:
    """Questions that two results answered differently, with both answers.

    Columns: `doc_id, target, answer, other_answer, exact_match, other_exact_match, change`: *gained* where
    only the first is right, *lost* where only the other is, *reworded* where both are right or both wrong.

    Args:
        store: the results.
        path: of the result looked at, as in `results.tables.accuracy.delta_table`.
        other_path: of the one that it is compared with.
        filter_name: lm-eval's filter, such as `strict-match`.
    """
    return store.query(
        """
        SELECT doc_id, a.target, a.answer, b.answer AS other_answer, a.exact_match,
            b.exact_match AS other_exact_match,
            CASE WHEN a.exact_match > b.exact_match THEN 'gained'
                 WHEN a.exact_match < b.exact_match THEN 'lost' ELSE 'reworded' END AS change
        FROM eval_samples AS a JOIN eval_samples AS b USING (doc_id, filter)
        WHERE a.path = ? AND b.path = ? AND filter = ?
            AND (a.exact_match <> b.exact_match OR a.answer IS DISTINCT FROM b.answer)
        ORDER BY list_position(['lost', 'gained', 'reworded'], change), doc_id
        """,
        [path, other_path, filter_name],
    )


def _chunks(places: IntArray) -> list[IntArray]:
    return [places[first : first + _CHUNK] for first in range(0, len(places), _CHUNK)]
