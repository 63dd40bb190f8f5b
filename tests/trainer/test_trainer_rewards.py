"""What a right answer is."""

import itertools
import json
import random
import re
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.errors import ConfigError
from trainer.rewards import check_reward, exact_match, final_number, load_reward, states_answer
from trainer.rewards.answers import MAX_CHARACTERS, final_answer, reference_answer
from trainer.rewards.symbolic import math_verify

GSM8K = Path(__file__).parents[3] / "shared" / "gsm8k" / "train.jsonl"


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


@given(st.text("012,.-", max_size=12))
def test_a_box_holds_digits_and_commas_with_a_fraction_at_most_or_no_number(inside):
    is_number = re.fullmatch(r"-?[\d,]*\.?\d+", inside)
    expected = Decimal(inside.replace(",", "")) if is_number else None
    assert final_number(f"\\boxed{{{inside}}}") == expected


def test_a_model_that_repeats_a_digit_for_ever_costs_no_time():
    # When every split of the digits into two numbers was tried, 8,000 of them took a second.
    began = time.process_time()
    assert final_number("\\boxed{" + "1" * 200_000) is None
    assert time.process_time() - began < 5


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
def test_exact_match_is_one_for_the_same_number_only(completion, reward):
    assert exact_match(completion, "48 + 24 = 72\n#### 72") == reward


@pytest.mark.parametrize("reward", [exact_match, math_verify])
def test_a_solution_without_an_answer_is_refused(reward):
    with pytest.raises(ValueError, match="states no answer: 'Nobody knows how many there are'"):
        reward("#### 70", "Nobody knows how many there are")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6 + 1 = 7\n#### 7 apples\nQ: next", "7 apples"),
        ("####\n7", "7"),
        (r"\boxed{\frac{1}{2}} \boxed{x", r"\frac{1}{2}"),
        (r"\boxed {a} then \boxed{\boxed{b}}", "b"),
        ("The final answer is $5$. I hope", "$5$. I hope"),
        (r"The answer is 1, \boxed{2} #### 3", "3"),
        ("#### 3 #### 4", "3 #### 4"),
        ("#### 3\n#### 4", "4"),
        ("#### " + "9" * (MAX_CHARACTERS + 1), None),
        ("6 + 1 = 7, so 7", None),
        (r"\boxed{7", None),
        ("####", None),
        ("", None),
    ],
)
def test_the_final_answer_is_what_is_marked_as_such(text, answer):
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("72", "72"),
        (r" \frac{1}{2} ", r"\frac{1}{2}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("10 square feet", "10 square feet"),
        ("Half of 6 is 3.\n#### 3", "3"),
        ("Half of six is three of course.", None),
        ("1\n2", None),
        (" ", None),
    ],
)
def test_a_reference_may_be_a_bare_answer_but_no_sentence(text, answer):
    assert reference_answer(text) == answer


EQUAL = [
    ("#### 0.5", r"\frac{1}{2}"),
    ("#### 1/2", "0.5"),
    (r"\boxed{\frac{1}{2}}", "1/2"),
    (r"\boxed{\frac{2}{4}}", r"\boxed{\frac12}"),
    ("#### 3 1/2", "3.5"),
    ("#### 1,000", "1000"),
    (r"#### 1{,}000", "1000"),
    (r"\boxed{10\,000}", "10,000"),
    ("#### $5", "5"),
    ("#### $18.00", r"\$18"),
    ("#### 50%", "0.5"),
    (r"#### 50\%", "50%"),
    ("#### -5", "-5"),
    ("#### -$5", "-5"),
    ("#### $-5", "-5"),
    ("#### 5 apples", "5"),
    ("#### 5", "5 apples"),
    ("#### 7 (seven)", "7"),
    ("#### **7**", "7"),
    ("####7)", "7"),
    ("#### 72</s>", "72"),
    ("The answer is 7, since 3 + 4 = 7.", "7"),
    ("The answer is $5$. But 6 is nice too.", "5"),
    (r"The final answer is \frac{1}{2}. I hope it is correct.", "1/2"),
    ("#### 6\nNo, wait.\n#### 7", "7"),
    ("#### $1+x$.", "x+1"),
    (r"\boxed{2\sqrt{2}}", r"\sqrt{8}"),
    (r"\boxed{x=5}", "5"),
    (r"\boxed{5\text{ cm}}", "5"),
    (r"\boxed{\text{(B)}}", "B"),
    (r"\boxed{\text{paris}}", "Paris"),
    (r"\boxed{(1, 2)}", "(1,2)"),
    ("#### 100000000000000000000000001", "100,000,000,000,000,000,000,000,001"),
]
DIFFERENT = [
    ("#### 5", "-5"),
    ("#### 5", "1/5"),
    ("#### 1,000", "1"),
    ("#### 1,00", "100.5"),
    ("#### 12.5%", "1.25"),
    ("#### 5 or 6", "5"),
    ("#### 5 or 6", "6"),
    ("#### 9 9", "18"),
    (r"\boxed{9 9}", "9"),
    (r"\boxed{5 x}", "5"),
    ("It is 5, so 5.", "5"),
    ("#### 6\n5", "5"),
    ("The answer is 6, not 5", "5"),
    ("#### 9**9**9", "9"),
    (r"\boxed{Sirap}", "Paris"),
    (r"\boxed{B}", "A"),
    (r"\boxed{(2, 1)}", "(1,2)"),
    (r"\boxed{5", "5"),
    ("#### 3.14", "3.14159"),
    ("#### 100000000000000000000000001", "100000000000000000000000002"),
    ("####", "5"),
    ("", "5"),
    (r"#### \frac{", "5"),
    (r"#### }{\\$$", "5"),
    ("#### 5" + " five" * 100, "5"),
]


@pytest.mark.parametrize(("completion", "answer"), EQUAL)
def test_math_verify_knows_the_same_answer_in_another_dress(completion, answer):
    assert math_verify(completion, answer) == 1.0


@pytest.mark.parametrize(("completion", "answer"), DIFFERENT)
def test_math_verify_is_not_fooled(completion, answer):
    assert math_verify(completion, answer) == 0.0


def test_both_rewards_agree_on_the_reference_solutions_of_gsm8k():
    rows = [json.loads(line) for line in GSM8K.read_text().splitlines()]
    solutions = [row["answer"] for row in random.Random(0).sample(rows, 300)]
    assert [exact_match(solution, solution) for solution in solutions] == [1.0] * 300
    assert [math_verify(solution, solution) for solution in solutions] == [1.0] * 300
    shifted = list(itertools.pairwise(solutions))
    agreed = [exact_match(given, solution) for given, solution in shifted]
    assert [math_verify(given, solution) for given, solution in shifted] == agreed
    assert 0 < sum(agreed) < 100  # some neighbours do have the same answer, most have not


_FORMS = ("#### {}", "#### ${}", r"\boxed{{{}}}", "The answer is {}.", "#### {} dollars")


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12), st.integers(-2, 2), st.sampled_from(_FORMS), st.booleans())
@example(0, 0, "#### {}", False)
def test_both_rewards_agree_on_integers_and_are_right(number, error, form, thousands):
    completion = form.format(f"{number + error:,}" if thousands else number + error)
    right = float(error == 0)
    assert exact_match(completion, f"#### {number}") == right
    assert math_verify(completion, f"#### {number}") == right


@settings(deadline=None)
@given(st.text(alphabet="0123456789#$\\{}^.,%/ -ab\n", max_size=40))
def test_no_text_earns_anything_without_a_mark(text):
    if "####" not in text:
        assert math_verify(text, "#### 5") == exact_match(text, "#### 5") == 0.0


@pytest.mark.parametrize(
    ("reward", "answer", "stated"),
    [
        ("exact_match", "#### 5", True),
        ("exact_match", r"#### \frac{1}{2}", False),
        ("math_verify", r"#### \frac{1}{2}", True),
        ("math_verify", "There is no such number at all.", False),
        ("my.own:reward", "", True),
    ],
)
def test_whether_an_answer_can_ever_be_matched_is_known(reward, answer, stated):
    assert states_answer(reward, answer) == stated


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Writes a module into a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)

    return write


def test_a_reward_of_ones_own_is_found_in_the_working_directory(write_module):
    write_module(
        "rewards_beside", "def longer(completion, answer, row):\n    return len(completion) + row['x']"
    )
    assert load_reward("rewards_beside:longer")("abc", "", {"x": 2}) == 5


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (
            "import nothing_like_it",
            "f",
            r"cannot be imported \(ModuleNotFoundError: No module named 'nothing_",
        ),
        ("def f(:", "f", r"cannot be imported \(SyntaxError"),
        ("import sys; sys.exit('not today')", "f", "SystemExit: not today"),
        ("g = 1", "f", "has no function 'f'"),
        ("f = 1", "f", "has no function 'f'"),
        (
            "def f(completion): ...",
            "f",
            r"must take \(completion: str, answer: str, row: Mapping\): too many",
        ),
        ("async def f(completion, answer, row): ...", "f", "is a coroutine function"),
    ],
)
def test_a_reward_that_cannot_be_used_says_why(write_module, tmp_path, source, name, message):
    module = tmp_path.name  # of every case its own, since modules are imported once
    write_module(module, source)
    with pytest.raises(ConfigError, match=message):
        check_reward(f"{module}:{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math_verfy", "did you mean math_verify?"),
        ("package.module", "or a function of your own as `package.module:function`"),
        ("no_such_module_anywhere:f", "No module named 'no_such_module_anywhere'.*working directory"),
        (":f", "cannot be imported"),
    ],
)
def test_an_unknown_reward_is_an_error_with_the_next_step(name, message):
    with pytest.raises(ConfigError, match=message):
        check_reward(name)
