"""rollouts.jsonl: the index against a reading of every line, groups by their place, search, and damage."""

import json
import time
import tracemalloc

import numpy as np
import pytest
from factories.rollout_factory import synthetic_group
from hypothesis import given, settings
from hypothesis import strategies as st

from results.files.rollouts import RolloutIndex, RolloutsChangedError, groups_with, read_groups, read_prompts
from results.tables.rollouts import completions_table, groups_table, tokens_table
from trainer.records import Fate, Group


def line(number, *, fate=Fate.TRAINED, step=None, version=0, completions=3, attempt=1, **changes):
    """A line as the trainer writes it, by its own models."""
    group = Group(
        attempt=attempt,
        t=1.0,
        group=number,
        prompt_id=f"p{number}",
        version_min=version,
        version_max=version,
        dispatched_s=0.0,
        finished_s=1.0,
        verified_s=1.0,
        consumed_s=None,
        step=step,
        fate=fate,
        reward_mean=None,
        prompt_tokens=1,
        completion_tokens=1,
        truncated=0,
    )
    return json.loads(synthetic_group(group, completions).model_dump_json()) | changes


def write(path, lines):
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines))


def index_of(path):
    index = RolloutIndex(path)
    index.extend()
    return index


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rollouts.jsonl"


def test_the_index_says_what_the_lines_say(path):
    lines = [
        line(7, step=2, version=1),
        line(3, fate=Fate.FILTERED),
        line(4, fate=Fate.EVICTED, completions=1),
    ]
    write(path, lines)
    groups = index_of(path).groups().set_index("group")
    assert list(groups.index) == [3, 4, 7]
    for each in lines:
        row = groups.loc[each["group"]]
        rewards = [completion["reward"] for completion in each["completions"]]
        assert row["reward_mean"] == pytest.approx(np.mean(rewards))
        assert row["completions"] == len(rewards)
        assert (row["fate"], row["prompt_id"], row["version_min"]) == (
            each["fate"],
            each["prompt_id"],
            each["version_min"],
        )
    assert groups["step"].isna().to_dict() == {3: True, 4: True, 7: False}


def test_of_a_group_the_last_line_counts(path):
    write(path, [line(1, step=0), line(2, step=0), line(1, step=5, version=4, attempt=2)])
    groups = index_of(path).groups()
    assert list(groups["group"]) == [1, 2]
    assert list(groups["step"]) == [5, 0]
    assert [group.group for group in read_groups(path, groups)] == [1, 2]


def test_a_line_that_is_still_written_waits_and_bad_ones_are_counted(path):
    write(path, [line(1, step=0)])
    whole = json.dumps(line(2, step=1)).encode()
    with path.open("ab") as file:
        file.write(b'{"group": "no number"}\n\xff\n[1]\n\n' + whole[:40])
    index = index_of(path)
    assert (list(index.groups()["group"]), index.bad_lines) == ([1], 3)
    with path.open("ab") as file:
        file.write(whole[40:] + b"\n")
    index.extend()
    assert (list(index.groups()["group"]), index.bad_lines) == ([1, 2], 3)
    assert read_prompts(path, index.groups()) == [line(1)["prompt"], line(2)["prompt"]]


def test_numbers_that_no_column_holds_are_bad_lines(path):
    write(path, [line(1, step=0), line(2) | {"step": 2**70}])
    index = index_of(path)
    assert (list(index.groups()["group"]), index.bad_lines) == ([1], 1)


def test_another_file_in_its_place_is_read_anew(path):
    write(path, [line(number, step=0) for number in range(5)])
    index = index_of(path)
    stale = index.groups()
    path.unlink()
    write(path, [line(number, step=0, completions=1) for number in (8, 9)])
    with pytest.raises(RolloutsChangedError, match="look again"):
        read_groups(path, stale)
    index.extend()
    assert list(index.groups()["group"]) == [8, 9]


def test_an_empty_file_has_no_groups(path):
    path.touch()
    assert index_of(path).groups().empty


@settings(max_examples=40)
@given(texts=st.lists(st.text(max_size=12), min_size=1, max_size=6), wanted=st.text(min_size=1, max_size=3))
def test_search_is_for_plain_text_in_either_case(tmp_path_factory, texts, wanted):
    path = tmp_path_factory.mktemp("search") / "rollouts.jsonl"
    lines = [line(number, step=0, completions=1) for number in range(len(texts))]
    for each, text in zip(lines, texts, strict=True):
        each["prompt"], each["answer"], each["completions"][0]["text"] = "", "", text
    write(path, lines)
    found = groups_with(path, index_of(path).groups(), wanted)
    assert found == [wanted.casefold() in text.casefold() for text in texts]


def test_search_looks_into_prompts_answers_and_completions_and_knows_no_patterns(path):
    lines = [line(1, prompt="a.c (x)"), line(2, answer="A.C"), line(3), line(4, prompt="abc")]
    lines[2]["completions"][2]["text"] = "… a.C …"
    write(path, lines)
    groups = index_of(path).groups()
    assert groups_with(path, groups, "a.c") == [True, True, True, False]
    assert groups_with(path, groups, "(") == [True, False, False, False]
    assert groups_with(path, groups.iloc[[2, 0]], "a.c") == [True, True]


def test_the_index_of_a_large_file_is_fast_and_small(path):
    lines = [json.dumps(line(number, step=0, completions=64)) + "\n" for number in range(40)]
    path.write_text("".join(lines) * 60)
    size = path.stat().st_size
    assert size > 20e6
    index = RolloutIndex(path)
    start = time.process_time()
    index.extend()
    assert size / (time.process_time() - start) > 100e6  # bytes a second
    tracemalloc.start()
    index_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6
    start = time.process_time()
    index.extend()  # nothing is new
    assert time.process_time() - start < 0.01


def test_groups_that_a_resume_discarded_have_neither_step_nor_age(path):
    write(path, [line(1, step=3, version=1), line(2, step=4, version=4), line(3, fate=Fate.FILTERED)])
    table = groups_table(index_of(path).groups(), {2})
    assert list(table["fate"]) == ["trained", "discarded", "filtered"]
    assert table["age"].tolist()[0] == 2
    assert table["age"].isna().tolist() == [False, True, True]
    assert table["step"].isna().tolist() == [False, True, True]


def test_gaps_of_completions_and_tokens(path):
    each = line(1, step=0)
    write(path, [each])
    (group,) = read_groups(path, index_of(path).groups())
    table = completions_table(group)
    for place, completion in enumerate(each["completions"]):
        gap = np.subtract(completion["learner_logprobs"], completion["generator_logprobs"])
        assert table["gap_mean"][place] == pytest.approx(np.abs(gap).mean())
        assert table["gap_max"][place] == pytest.approx(np.abs(gap).max())
        tokens = tokens_table(group.completions[place])
        assert list(tokens["gap"]) == pytest.approx(list(gap))
        assert list(tokens["token"]) == completion["tokens"]
    assert list(table["advantage"]) == [completion["advantage"] for completion in each["completions"]]
    assert list(table["completion"]) == [1, 2, 3]


def test_files_of_older_releases_show_what_they_have(path):
    each = line(1, step=0)
    for completion in each["completions"]:
        del completion["tokens"], completion["learner_logprobs"], completion["advantage"]
    each["completions"][0]["generator_logprobs"][0] = None
    write(path, [each])
    (group,) = read_groups(path, index_of(path).groups())
    table, tokens = completions_table(group), tokens_table(group.completions[0])
    assert table[["advantage", "gap_mean", "gap_max"]].isna().all(axis=None)
    assert list(tokens["token"]) == [str(number) for number in each["completions"][0]["token_ids"]]
    assert tokens["generator_logprob"].isna().tolist() == [True] + [False] * (len(tokens) - 1)
