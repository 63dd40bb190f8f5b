"""Where prompts come from, in which order, and what a right answer is."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.builtin.problems import generate
from trainer.config import TaskSettings
from trainer.errors import ConfigError
from trainer.frontier import PromptFrontier
from trainer.rewards import exact_match, final_number
from trainer.tasks import load_task


@given(st.integers(1, 50), st.integers(0, 1000))
def test_every_epoch_is_a_permutation_and_a_seed_fixes_all_of_them(problems, seed):
    frontier, twin = PromptFrontier(problems, seed), PromptFrontier(problems, seed)
    drawn = [frontier.next() for _ in range(3 * problems)]
    assert drawn == [twin.next() for _ in range(3 * problems)]
    for epoch in range(3):
        part = drawn[epoch * problems : (epoch + 1) * problems]
        assert sorted(part) == [(index, epoch) for index in range(problems)]


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = []
    for seed in range(3):
        frontier = PromptFrontier(30, seed)
        drawn = [frontier.next()[0] for _ in range(60)]
        orders += [tuple(drawn[:30]), tuple(drawn[30:])]
    assert len(set(orders)) == 6


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 + 4 = 7 left.\n#### 7", "7"),
        ("#### 72", "72"),
        ("####72", "72"),
        ("#### 72.0", "72"),
        ("#### 72.", "72"),
        ("#### $1,234", "1234"),
        ("#### 1,234,567.50", "1234567.5"),
        ("#### -5", "-5"),
        ("#### .5", "0.5"),
        ("#### 3\nand again #### 4", "4"),
        (r"so \boxed{42}", "42"),
        (r"so \boxed{ -42 }", "-42"),
        (r"so \boxed{\$1,000}", "1000"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        ("The answer is 5.", "5"),
        ("the answer is: $18", "18"),
        ("The answer is -3.25", "-3.25"),
        ("The answer is 9 but #### 8", "8"),
        (r"The answer is 9, \boxed{10}", "10"),
        ("no number at all", None),
        ("7", None),
        ("#### none", None),
        ("", None),
    ],
)
def test_the_final_number_is_found_in_every_known_format(text, number):
    assert final_number(text) == (None if number is None else Decimal(number))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9))
def test_a_number_is_read_back_with_or_without_thousands(value):
    assert final_number(f"#### {value}") == value
    assert final_number(f"#### {value:,}") == value


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("#### 72", 1.0),
        ("The answer is $72.0.", 1.0),
        ("#### 27", 0.0),
        ("72", 0.0),
        ("", 0.0),
        ("#### -72", 0.0),
    ],
)
def test_a_reward_is_one_for_the_same_number_only(completion, reward):
    assert exact_match(completion, "48 + 24 = 72\n#### 72") == reward


def test_a_solution_without_an_answer_is_refused():
    with pytest.raises(ValueError, match="states no answer: 'seventy'"):
        exact_match("#### 70", "seventy")


def test_gsm8k_from_a_file_keeps_its_order_and_asks_as_it_is_evaluated(tmp_path):
    path = tmp_path / "some.jsonl"
    rows = [{"question": f"How many is {i}?", "answer": f"{i} is\n#### {i}"} for i in range(5)]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    task = load_task(TaskSettings(name="gsm8k", path=str(path), problems=3))
    assert [problem.prompt for problem in task.problems] == [f"Q: How many is {i}?\nA:" for i in range(3)]
    assert [problem.prompt_id for problem in task.problems] == ["gsm8k-0", "gsm8k-1", "gsm8k-2"]
    assert task.reward(task.problems[2], " so #### 2") == 1.0
    assert task.reward(task.problems[2], " so #### 3") == 0.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "a"}\n', r"some.jsonl:1: every line must .*answer"),
        ('{"question": "a", "answer": "#### 1"}\nnot json\n', r"some.jsonl:2: every line must"),
        ("[1]\n", r"some.jsonl:1"),
        ('{"question": "a", "answer": "seventy"}\n', r"some.jsonl: gsm8k-0 has an answer without.*seventy"),
        ("", r"no problems in .*some.jsonl"),
        (None, r"some.jsonl is no file"),
    ],
)
def test_a_wrong_gsm8k_file_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "some.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_task(TaskSettings(name="gsm8k", path=str(path)))


def test_arithmetic_trains_on_problems_it_is_not_tested_on():
    task = load_task(TaskSettings(problems=300))
    test = {problem.prompt for problem in generate("test", 300, seed=0)}
    assert len({problem.prompt for problem in task.problems} - test) == 300
    assert all(task.reward(problem, problem.answer) == 1.0 for problem in task.problems)
    with pytest.raises(ConfigError, match="makes its own problems"):
        load_task(TaskSettings(path="x.jsonl"))
