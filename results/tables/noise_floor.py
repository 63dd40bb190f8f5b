"""What an evaluation differs by when nothing was trained: the base model evaluated more than once.

Engines that batch requests need not answer the same twice. Differences between two models that are no
larger than those between two evaluations of one say nothing about training.
"""

import numpy as np
import pandas as pd

from results.statistics.proportions import Z
from results.store import Store


def noise_floor_table(store: Store, sweep: str) -> pd.DataFrame:
    """View `base_repeats` with what changed: one row per repeat, task, shots, metric and filter.

    Adds `answers_changed` and `flipped`, questions whose answer or whose being right is another (NaN
    without samples of both), and `noise_points`, the floor: the largest difference that repeating shows in
    95 of 100 cases, Z sqrt(flipped) / questions, where every flip goes either way; never below the
    difference that was seen. `sentence` says it.
    """
    table = store.query(
        """
        WITH repeats AS MATERIALIZED (FROM base_repeats WHERE sweep = $1),
        samples AS MATERIALIZED (
            FROM eval_samples
            WHERE path IN (SELECT path FROM repeats UNION ALL SELECT first_path FROM repeats)
        ), changed AS (
            SELECT r.path, a.filter, count(*) AS pairs,
                count(*) FILTER (a.answer IS DISTINCT FROM b.answer) AS answers_changed,
                count(*) FILTER (a.exact_match <> b.exact_match) AS flipped
            FROM (SELECT DISTINCT path, first_path FROM repeats) AS r
            JOIN samples AS a ON a.path = r.path
            JOIN samples AS b ON b.path = r.first_path
                AND b.filter = a.filter AND b.doc_id = a.doc_id AND b.doc_hash IS NOT DISTINCT FROM a.doc_hash
            GROUP BY r.path, a.filter
        )
        SELECT r.*, c.answers_changed, c.flipped
        FROM repeats AS r
        LEFT JOIN changed AS c ON c.path = r.path AND c.filter = r.filter
            AND c.pairs = r.questions AND r.metric = 'exact_match'
        ORDER BY base_slug, task, metric, filter, num_fewshot, checkpoint
        """,
        [sweep],
    )
    seen = table["delta_points"].abs()
    by_flips = 100 * Z * np.sqrt(table["flipped"].astype(float)) / table["questions"].astype(float)
    table["noise_points"] = np.fmax(seen, by_flips)
    table["sentence"] = [
        _sentence(*row)
        for row in table[["questions", "answers_changed", "flipped", "noise_points"]].itertuples(
            index=False, name=None
        )
    ]
    return table


def _sentence(questions: float, answers_changed: float, flipped: float, noise_points: float) -> str:
    """What repeating the evaluation showed, no more."""
    if pd.isna(flipped):
        return f"Evaluated again, the base model differs by {noise_points:.2f} points; no samples of both."
    if not answers_changed:
        return f"Evaluated again, the base model gave all {questions:.0f} answers again: no noise was seen."
    return (
        f"Evaluated again, the base model gave {answers_changed:.0f} of {questions:.0f} answers otherwise, "
        f"{flipped:.0f} of them from right to wrong or back: differences below {noise_points:.2f} points are "
        "within the noise of evaluating."
    )
