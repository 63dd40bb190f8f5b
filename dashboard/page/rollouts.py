"""Rollouts: what the policy wrote, and what it got for it.

Texts are a model's: they are shown as they are, never as Markdown or HTML.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.choice import choose_rows, number_binding
from dashboard.data import View
from dashboard.shown import Columns, download, escaped, number, show_figure, show_table, text
from results.figures.rollouts import MOST_TOKENS, token_strip
from results.files.rollouts import (
    PromptGroup,
    RolloutIndex,
    RolloutsChangedError,
    groups_with,
    read_groups,
    read_prompts,
)
from results.files.tail import Stamp
from results.store import Store
from results.tables.rollouts import completions_table, groups_table, tokens_table
from results.tables.runs import discarded_groups
from trainer.paths import RunPaths, SweepPaths

PAGE_ROWS = 20
_PROMPT_CHARACTERS = 160
_ORDERS = {
    "group": ("group", True),
    "lowest reward": ("reward_mean", True),
    "highest reward": ("reward_mean", False),
    "oldest": ("age", False),
    "latest step": ("step", False),
}


def show(view: View) -> None:
    """Draws the page."""
    st.title("Rollouts")
    sweep = SweepPaths(view.runs_dir / view.sweep)
    runs = [run for run in view.runs if _exists(sweep.run(run).rollouts)]
    if not runs:
        st.info(
            "None of the runs shown has kept rollouts: a run writes them while it trains, as many as "
            "`rollouts.keep` in its spec says, and a run that was made elsewhere has none. "
            "`sweepctl status` says what runs."
        )
        return
    labels = dict(zip(view.report.experiments["run_name"], view.report.experiments["label"], strict=True))
    # Options are shown as they stand in the address.
    run = st.selectbox("Run", runs, key="rollouts", bind="query-params")
    if labels[run] != run:
        st.caption(escaped(f"In tables and figures this is {labels[run]}."))
    try:
        _run(view, sweep.run(run))
    except (OSError, RolloutsChangedError) as error:
        st.info("The run's rollouts cannot be read now; reload the page to try again.")
        st.code(str(error), language=None, wrap_lines=True)


def _run(view: View, paths: RunPaths) -> None:
    index, extending = _index(paths)
    with extending:
        index.extend()
        groups, bad, stamp = index.groups(), index.bad_lines, index.stamp
    if bad:
        st.warning(f"Lines of rollouts.jsonl that are no group, and are left out: {bad:,}.")
    if groups.empty:
        st.info("No group has been verified yet: they appear here as soon as the run has written one.")
        return
    run = paths.root.name
    table = groups_table(groups, _discarded(view.runs_dir, view.mtime, view.sweep, run))
    left = _filtered(table, paths, stamp)
    if left.empty:
        st.info(f"None of the {len(table):,} groups that were kept is as asked for above.")
        return
    chosen = _choose_group(view, paths, left, len(table))
    (group,) = read_groups(paths.rollouts, chosen)
    _group(view, run, str(chosen["fate"].iloc[0]), group)


def _filtered(table: pd.DataFrame, paths: RunPaths, stamp: Stamp | None) -> pd.DataFrame:
    """Draws the filter and the order; the groups it leaves, in that order."""
    wanted = st.text_input(
        "Search",
        key="text",
        bind="query-params",
        placeholder="in prompts, answers and completions; upper and lower case alike",
    )
    fates, ages, order = st.columns(3)
    fate = fates.multiselect(
        "Fate", sorted(table["fate"].unique()), key="fate", bind="query-params", placeholder="any"
    )
    age = ages.multiselect(
        "Age (steps)",
        sorted(int(age) for age in table["age"].dropna().unique()),
        key="age",
        bind="query-params",
        placeholder="any; only trained groups have one",
    )
    by, ascending = _ORDERS[str(order.selectbox("Order", list(_ORDERS), key="order", bind="query-params"))]
    slots = st.columns(4)
    kept = _between(table, "step", "Step", 1, slots[:2])
    kept &= _between(table, "reward_mean", "Mean reward", 0.1, slots[2:])
    if fate:
        kept &= table["fate"].isin(fate)
    if age:
        kept &= table["age"].isin(age).fillna(False)
    left = table[kept.to_numpy(bool)]
    if wanted and len(left):
        numbers = tuple(left["group"])
        left = left[_found(paths, stamp, wanted, numbers, left)]
    return left.sort_values(by, ascending=ascending, kind="stable", na_position="last")


def _between(
    table: pd.DataFrame, column: str, name: str, step: float, slots: Sequence[DeltaGenerator]
) -> "pd.Series[bool]":
    """Draws two bounds that may be left open; the rows within them."""
    kept = pd.Series(data=True, index=table.index)
    for slot, end in zip(slots, ("from", "to"), strict=True):
        bound = slot.number_input(
            f"{name} {end}",
            value=None,
            step=step,
            key=f"{column}_{end}",
            bind=number_binding(f"{column}_{end}"),
            placeholder="any",
        )
        if bound is not None:
            inside = table[column] >= bound if end == "from" else table[column] <= bound
            kept &= inside.fillna(False).astype(bool)
    return kept


def _choose_group(view: View, paths: RunPaths, left: pd.DataFrame, kept: int) -> pd.DataFrame:
    """Draws a page of the groups; the row of the one that is chosen."""
    pages = -(-len(left) // PAGE_ROWS)
    page = 1
    if pages > 1:
        page = int(
            st.number_input(
                f"Page, of {pages:,}",
                min_value=1,
                value=1,
                step=1,
                key="page",
                bind=number_binding("page"),
                width=160,
            )
        )
    page = min(page, pages)
    part = left.iloc[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    prompts = [" ".join(prompt.split())[:_PROMPT_CHARACTERS] for prompt in read_prompts(paths.rollouts, part)]
    part = part.assign(prompt=prompts)
    chosen = choose_rows(
        "group",
        part,
        [str(group) for group in part["group"]],
        _GROUP_COLUMNS,
        mode="single-row-required",
        most_rows=10,
        alt="Groups of completions, one a row",
    )
    st.caption(
        f"{len(left):,} of the {kept:,} groups that were kept. Version: the policy's at dispatch. Age: "
        f"optimizer steps from dispatch to training; only trained groups have a step and an age."
    )
    download(view, "groups", part[list(_GROUP_COLUMNS)])
    return part[part["group"] == int(chosen[0])] if chosen else part.head(1)


def _group(view: View, run: str, fate: str, group: PromptGroup) -> None:
    st.subheader(f"Group {group.group}")
    prompt, answer = st.columns([3, 1])
    with prompt:
        st.caption("Prompt")
        st.code(group.prompt, language=None, wrap_lines=True)
    with answer:
        st.caption("Expected answer")
        st.code(group.answer, language=None, wrap_lines=True)
    table = completions_table(group)
    if table.empty:
        st.info("No completion of this group was kept.")
        return
    if table["advantage"].isna().all():
        st.caption(escaped(_why_missing(fate, group)))
    chosen = choose_rows(
        "completion",
        table,
        [str(place) for place in table["completion"]],
        _COMPLETION_COLUMNS,
        mode="single-row-required",
        most_rows=16,
        alt="Completions of the group, one a row",
    )
    download(view, f"{run}-group-{group.group}", table)
    place = int(chosen[0]) if chosen else 1
    _completion(view, f"{run}-group-{group.group}-completion-{place}", group, place)


def _why_missing(fate: str, group: PromptGroup) -> str:
    """Why a group has no advantages and no log-probabilities of the learner."""
    if any(completion.tokens is None for completion in group.completions):
        return (
            "The run was trained by an older release, which kept neither advantages nor the learner's "
            "log-probabilities nor the text of each token."
        )
    return f"This group is {fate}: it was not trained on, so it has no advantages and no gaps."


def _completion(view: View, name: str, group: PromptGroup, place: int) -> None:
    """A completion's text, and its tokens by how far engine and learner disagree."""
    completion = group.completions[place - 1]
    st.subheader(f"Completion {place}")
    st.code(completion.text, language=None, wrap_lines=True)
    tokens = tokens_table(completion)
    if tokens.empty:
        st.info("It has no tokens.")
        return
    known = bool(tokens["gap"].notna().any())
    colour = (
        "the learner's log-probability less the generator's" if known else "the generator's log-probability"
    )
    cut = f"; the first {MOST_TOKENS} of {len(tokens):,}" if len(tokens) > MOST_TOKENS else ""
    show_figure(
        view,
        name,
        token_strip(tokens),
        tokens,
        f"The completion's tokens in reading order{cut}. Colour: {colour}, in nats. "
        f"· is a space, ↵ a new line; longer tokens are cut, the table below has them whole.",
        title=f"completion {place} of group {group.group}, token by token",
    )
    show_table(view, f"{name}-tokens", tokens, _TOKEN_COLUMNS)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be looked into
        return False


@st.cache_resource(max_entries=8, show_spinner=False)
def _index(paths: RunPaths) -> tuple[RolloutIndex, Lock]:
    """The index of a run's file, which each look extends; sessions share it, and one at a time reads on."""
    return RolloutIndex(paths.rollouts), Lock()


@st.cache_data(max_entries=8, show_spinner=False)
def _discarded(runs_dir: Path, mtime: float, sweep: str, run: str) -> set[int]:
    return discarded_groups(Store(runs_dir), sweep, run)


@st.cache_data(max_entries=16, show_spinner="Searching …")
def _found(
    paths: RunPaths, stamp: Stamp | None, wanted: str, groups: tuple[int, ...], _rows: pd.DataFrame
) -> list[bool]:
    """Which of some groups have the text; `groups` and `stamp` stand for the rows."""
    return groups_with(paths.rollouts, _rows, wanted)


_GROUP_COLUMNS: Columns = {
    "group": number("Group", "%d"),
    "fate": text("Fate"),
    "step": number("Step", "%d"),
    "age": number("Age", "%d", "steps from dispatch to training"),
    "version_min": number("Version", "%d", "the policy's at dispatch"),
    "reward_mean": number("Mean reward", "%.3f"),
    "completions": number("Completions", "%d"),
    "prompt": text("Prompt", width="large"),
}
_COMPLETION_COLUMNS: Columns = {
    "completion": number("Completion", "%d"),
    "reward": number("Reward", "%.3f"),
    "advantage": number("Advantage", "%.3f"),
    "tokens": number("Tokens", "%d"),
    "truncated": st.column_config.CheckboxColumn("Truncated"),
    "gap_mean": number("Mean |gap| (nats)", "%.4f"),
    "gap_max": number("Greatest |gap| (nats)", "%.4f"),
}
_TOKEN_COLUMNS: Columns = {
    "place": number("Place", "%d"),
    "token": text("Token"),
    "generator_logprob": number("Generator (nats)", "%.4f"),
    "learner_logprob": number("Learner (nats)", "%.4f"),
    "gap": number("Gap (nats)", "%+.4f"),
}
