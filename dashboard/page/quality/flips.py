"""Questions that two results answered differently, down to one of them with both answers in full.

All texts are a task's or a model's, and shown as plain text.
"""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.choice import choose_one, choose_rows
from dashboard.data import View
from dashboard.shown import Columns, download, escaped, number, text
from results.files.sample_texts import SampleText, read_sample_text
from results.store import records
from results.tables.answers import flips_table

_CHANGES = {
    "lost": "only the other was right",
    "gained": "only this run was right",
    "reworded": "other words, both right or both wrong",
}
_MOST_ROWS = 8
_TEXT_PX = 320
_COLUMNS: Columns = {
    "doc_id": number("Question", "%d"),
    "change": text("Change"),
    "answer": text("This answered"),
    "other_answer": text("The other answered"),
    "target": text("Expected", width="medium"),
}


def show_flips(view: View, compared: pd.DataFrame) -> None:
    """Draws the choice of a comparison, its flip table, and one question.

    Args:
        view: what the page shows.
        compared: `results.tables.accuracy.delta_table` of one measure and opponent.
    """
    st.subheader("Questions that changed")
    row = _choose_comparison(compared)
    if pd.notna(row["refusal"]):
        st.info(f"{escaped(row['label'])} is not compared with {escaped(row['other_label'])}: they differ in")
        st.code(row["refusal"], language=None, wrap_lines=True)
        return
    if row["method"] != "paired":
        st.info(
            "There are no answers to single questions of both: the difference is tested from standard "
            "errors. `lm_eval --log_samples` keeps them, and `sweepctl import` takes them in."
        )
        return
    flips = flips_table(view.store, row["path"], row["other_path"], row["filter"])
    counts = flips["change"].value_counts()
    st.markdown(
        f"Of {row['questions']:,.0f} questions {escaped(row['label'])} "
        f"gained {counts.get('gained', 0):,} and lost {counts.get('lost', 0):,} "
        f"against {escaped(row['other_label'])}; {counts.get('reworded', 0):,} answers changed without that."
    )
    changes = st.pills(
        "Changes",
        list(_CHANGES),
        selection_mode="multi",
        default=["lost", "gained"],
        key="change",
        bind="query-params",
        help="; ".join(f"{name}: {meaning}" for name, meaning in _CHANGES.items()),
    )
    shown = flips[flips["change"].isin(changes)].reset_index(drop=True)
    if shown.empty:
        st.info("No question has changed so.")
        return
    _one_question(view, row, shown)


def _choose_comparison(compared: pd.DataFrame) -> dict[str, Any]:
    """Run and shots; the row of `compared` that is of them."""
    with st.container(horizontal=True):
        label = st.selectbox(
            "Run", list(compared["label"].unique()), key="flips", bind="query-params", width=480
        )
        of_run = compared[compared["label"] == label]
        shots = [str(each) for each in sorted(of_run["num_fewshot"].unique())]
        chosen = choose_one("Shots", shots, "shots")
    return records(of_run[of_run["num_fewshot"] == int(chosen)])[0]


def _choose_question(view: View, flips: pd.DataFrame) -> int:
    """The flip table; the number of the question whose row is selected."""
    names = [str(number) for number in flips["doc_id"]]
    alt = "Questions whose answer changed"
    chosen = choose_rows(
        "question", flips, names, _COLUMNS, mode="single-row-required", most_rows=_MOST_ROWS, alt=alt
    )
    st.caption("The row that is selected is shown below.")
    download(view, "flips", flips)
    return int(next(iter(chosen), names[0]))


def _one_question(view: View, row: dict[str, Any], flips: pd.DataFrame) -> None:
    doc_id = _choose_question(view, flips)
    st.markdown(f"**Question {doc_id}**")
    flip = records(flips[flips["doc_id"] == doc_id])[0]
    try:
        mine, other = (
            read_sample_text(view.runs_dir, path, row["filter"], doc_id)
            for path in (row["path"], row["other_path"])
        )
    except OSError as error:
        st.info(f"The texts are not there: {escaped(str(error.filename))} cannot be read ({error.strerror}).")
        return
    if mine is None or other is None:
        st.info(
            "The samples have no line of this question that can be read: `sweepctl ingest` reads them again, "
            "and says how many lines are in quarantine."
        )
        return
    _question(mine)
    for place, label, sample, answer, right in zip(
        st.columns(2),
        (row["label"], row["other_label"]),
        (mine, other),
        (flip["answer"], flip["other_answer"]),
        (flip["exact_match"], flip["other_exact_match"]),
        strict=True,
    ):
        with place:
            _answer(label, sample, answer, is_right=right > 0)


def _question(sample: SampleText) -> None:
    """The question, what was expected, and all that the model was given."""
    if sample.question is not None:
        _plain(sample.question)
    with st.expander("Expected answer"):
        _plain(sample.target)
    if sample.prompt is not None:
        with st.expander("The whole prompt", expanded=sample.question is None):
            _plain(sample.prompt)


def _answer(label: str, sample: SampleText, answer: str | None, *, is_right: bool) -> None:
    mark = ":material/check: right" if is_right else ":material/close: wrong"
    st.markdown(f"**{escaped(label)}**: {mark}, read as")
    _plain(answer if isinstance(answer, str) else "–")
    for completion in sample.completions:
        _plain(completion)


def _plain(words: str) -> None:
    st.code(words, language=None, wrap_lines=True, height=_TEXT_PX if len(words) > 1000 else "content")
