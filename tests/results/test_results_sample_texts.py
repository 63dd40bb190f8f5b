"""Texts of one question come from its line of the samples, whatever else is in the file."""

import json

import pytest

from results.files.sample_texts import SampleText, read_sample_text

RESULT = "sweep/run/eval/step_000004/gsm8k_0shot.json"


@pytest.fixture
def write(tmp_path):
    def lines(*lines):
        path = tmp_path / RESULT.replace(".json", ".samples.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        )
        return tmp_path

    return lines


def line(doc_id, filter_name="strict-match", **changes):
    return {
        "doc_id": doc_id,
        "filter": filter_name,
        "doc": {"question": f"How many are {doc_id}?"},
        "target": f"#### {doc_id}",
        "arguments": {"gen_args_0": {"arg_0": f"Question: {doc_id}\nAnswer:", "arg_1": {"until": ["Q"]}}},
        "resps": [[f"It is {doc_id}."]],
        "filtered_resps": [str(doc_id)],
        "exact_match": 1.0,
    } | changes


def test_the_question_of_that_number_and_filter(write):
    root = write(line(1), line(2), line(2, "flexible-extract", resps=[["About two."]]))
    assert read_sample_text(root, RESULT, "strict-match", 2) == SampleText(
        "How many are 2?", "Question: 2\nAnswer:", "#### 2", ("It is 2.",)
    )
    assert read_sample_text(root, RESULT, "flexible-extract", 2).completions == ("About two.",)
    assert read_sample_text(root, RESULT, "strict-match", 3) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arguments": [["Given:", {"until": []}]]}, {"prompt": "Given:"}),
        ({"arguments": []}, {"prompt": None}),
        ({"resps": [["one", "two"]]}, {"completions": ("one", "two")}),
        ({"resps": []}, {"completions": ()}),
        ({"doc": {"problem": "no such field"}}, {"question": None}),
        ({"doc": [1]}, {"question": None}),
        ({"target": 7}, {"target": "7"}),
        ({"target": None}, {"target": ""}),
    ],
)
def test_other_forms(write, changes, expected):
    found = read_sample_text(write(line(5, **changes)), RESULT, "strict-match", 5)
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_line_with_less_than_lm_eval_writes(write):
    found = read_sample_text(write({"doc_id": 4, "exact_match": 0}), RESULT, "none", 4)
    assert found == SampleText(None, None, "", ())


def test_broken_lines_hide_no_other(write):
    root = write(b"not json\n", line("five"), b"[1, 2]\n", b"\xff\xfe\n", line(5), b'{"doc_id": 6, "fil')
    assert read_sample_text(root, RESULT, "strict-match", 5).question == "How many are 5?"
    assert read_sample_text(root, RESULT, "strict-match", 6) is None


def test_samples_that_are_gone_are_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sample_text(tmp_path, RESULT, "strict-match", 0)
