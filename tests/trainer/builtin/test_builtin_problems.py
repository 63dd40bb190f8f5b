"""The built-in problems are right, distinct, split cleanly, and the same on every machine."""

import hashlib
import json
import operator
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.builtin import problems as module
from trainer.builtin.problems import (
    PROMPT,
    TEMPLATE_NAMES,
    Problem,
    few_shot_prompt,
    generate,
    split_of,
)
from trainer.builtin.templates import NAMES, OBJECTS

SEEDS = st.integers(min_value=0, max_value=2**32)
SPLITS = st.sampled_from(["train", "test"])
STEP = re.compile(r"[A-Z][A-Za-z ]* (\d+) ([-+*/]) (\d+) = (\d+) [a-z]+\.")
FINAL = re.compile(r"#### (\d+)")


def parse(problem):
    """The steps as (left, sign, right, result), and the number after ####."""
    *lines, last = problem.answer.split("\n")
    steps = [STEP.fullmatch(line).groups() for line in lines]
    return [(int(a), sign, int(b), int(c)) for a, sign, b, c in steps], int(FINAL.fullmatch(last)[1])


@given(SPLITS, SEEDS)
@settings(max_examples=40, deadline=None)
def test_every_worked_step_is_right_and_the_last_gives_the_answer(split, seed):
    for problem in generate(split, 40, seed):
        steps, final = parse(problem)
        assert 2 <= len(steps) <= 4
        for left, sign, right, result in steps:
            if sign == "/":
                assert (left, left % right) == (right * result, 0)
            else:
                assert {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](left, right) == result
        assert steps[-1][3] == final


@given(SPLITS, SEEDS)
@settings(max_examples=40, deadline=None)
def test_the_steps_use_all_of_the_question_and_nothing_else(split, seed):
    for problem in generate(split, 40, seed):
        asked = {int(number) for number in re.findall(r"\d+", problem.question)}
        if "alf of them" in problem.question:
            asked.add(2)
        steps, _ = parse(problem)
        used = {number for left, _, right, _ in steps for number in (left, right)}
        derived = {result for *_, result in steps}
        assert asked <= used <= asked | derived
        for (_, _, _, result), *later in (steps[index:] for index in range(len(steps) - 1)):
            assert any(result in (left, right) for left, _, right, _ in later), problem.answer


def test_operands_are_mostly_at_most_sixty():
    operands = [
        number
        for problem in generate("train", 2000, 0)
        for number in map(int, re.findall(r"\d+", problem.question))
    ]
    assert sum(number <= 60 for number in operands) > 0.85 * len(operands)


@given(SEEDS, SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_splits_are_disjoint_whatever_the_seeds(seed, other_seed):
    train = {problem.question for problem in generate("train", 200, seed)}
    test = {problem.question for problem in generate("test", 200, other_seed)}
    assert not train & test
    assert {split_of(question) for question in train} == {"train"}
    assert {split_of(question) for question in test} == {"test"}


@given(SPLITS, SEEDS, st.integers(0, 50), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_a_seed_gives_the_same_problems_and_fewer_are_their_beginning(split, seed, count, more):
    long = generate(split, count + more, seed)
    assert len(long) == count + more
    assert generate(split, count, seed) == long[:count]


def test_different_seeds_give_different_problems():
    draws = [tuple(generate("train", 5, seed)) for seed in range(20)]
    assert len(set(draws)) == len(draws)


def test_the_problems_are_the_ones_the_checked_in_model_was_measured_on():
    text = "\n\n".join(problem.document for problem in generate("test", 500, 0))
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "27e186acd0ff91af8d33603852f35ff3bf99f4b76197a649d27f15854cc7c2ee"
    )


def test_questions_are_unique():
    questions = [problem.question for problem in generate("train", 20_000, 3)]
    assert len(set(questions)) == len(questions)


def test_a_duplicate_or_a_question_of_the_other_split_is_drawn_again(monkeypatch):
    supply = [Problem(f"q{index // 3}", "#### 1") for index in range(300)]
    draws = iter(supply)
    monkeypatch.setattr(module, "_draw", lambda _rng: next(draws))
    questions = [problem.question for problem in generate("test", 10, 0)]
    expected = [f"q{index}" for index in range(100) if split_of(f"q{index}") == "test"]
    assert questions == expected[:10]


def test_an_exhausted_supply_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "_MAX_REJECTED", 100)
    monkeypatch.setattr(module, "_draw", lambda _rng: Problem("the only one", "#### 1"))
    with pytest.raises(ValueError, match="not 2 different problems; found 1"):
        generate(split_of("the only one"), 2, 0)


def test_a_negative_count_is_an_error():
    with pytest.raises(ValueError, match="-1"):
        generate("train", -1, 0)


def test_every_template_name_and_object_turns_up_about_equally_often():
    drawn = generate("test", 4000, 1)
    assert len(TEMPLATE_NAMES) >= 12
    counts = Counter(problem.template for problem in drawn)
    assert set(counts) == set(TEMPLATE_NAMES)
    assert min(counts.values()) > 0.7 * len(drawn) / len(TEMPLATE_NAMES)
    words = Counter(word for problem in drawn for word in set(re.findall(r"[A-Za-z]+", problem.question)))
    for vocabulary in (NAMES, OBJECTS):
        occurrences = [words[word] for word in vocabulary]
        assert min(occurrences) > 0.5 * max(occurrences)


def test_operation_counts_from_two_to_four_occur():
    lengths = {len(parse(problem)[0]) for problem in generate("train", 500, 0)}
    assert lengths == {2, 3, 4}


def test_a_document_reads_as_lm_eval_will_format_it():
    problem = Problem("How many?", "Tom has 1 + 2 = 3 nuts.\n#### 3")
    assert PROMPT == "Question: {question}\nAnswer:"
    assert problem.prompt == "Question: How many?\nAnswer:"
    assert problem.document == "Question: How many?\nAnswer: Tom has 1 + 2 = 3 nuts.\n#### 3"
    assert problem.terse_answer == "#### 3"
    assert few_shot_prompt("Which?", [problem, problem]) == (
        "Question: How many?\nAnswer: Tom has 1 + 2 = 3 nuts.\n#### 3\n\n"
        "Question: How many?\nAnswer: Tom has 1 + 2 = 3 nuts.\n#### 3\n\n"
        "Question: Which?\nAnswer:"
    )
    assert few_shot_prompt("Which?", []) == "Question: Which?\nAnswer:"


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_command_prints_gsm8k_lines_without_loading_torch(split):
    script = (
        "import sys; from trainer.builtin.__main__ import app;"
        "app(sys.argv[1:], standalone_mode=False);"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    arguments = ["problems", "--split", split, "--count", "3", "--seed", "7"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [
        {"question": problem.question, "answer": problem.answer} for problem in generate(split, 3, 7)
    ]


def test_names_and_objects_are_as_many_as_promised_and_distinct():
    assert len(set(NAMES)) == 24
    assert len(set(OBJECTS)) == 16
