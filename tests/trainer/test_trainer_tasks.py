"""Where prompts come from: files, the hub, the built-in problems; and what is wrong with them."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from trainer.builtin.problems import generate, split_of
from trainer.errors import ConfigError
from trainer.models import BUILTIN, model_path
from trainer.rewards import exact_match
from trainer.settings import TaskSettings
from trainer.tasks import Problem, load_task, token_ids
from trainer.tasks.rows import Row
from trainer.tasks.template import Template

GSM8K = Path(__file__).parents[3] / "shared" / "gsm8k"


def rows(count, start=0):
    return [
        {"question": f"How many is {i}?", "answer": f"{i} is\n#### {i}"} for i in range(start, start + count)
    ]


def write_jsonl(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, content)) + "\n\n")
    return str(path)


def write_parquet(path, content):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
    return str(path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Writes a folder that `datasets` takes for a dataset of that name, by its split's rows."""
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(name, subset, splits):
        files = [{"split": split, "path": f"{split}.jsonl"} for split in splits]
        for split, content in splits.items():
            write_jsonl(tmp_path / name / f"{split}.jsonl", content)
        card = json.dumps({"configs": [{"config_name": subset, "data_files": files}]})  # JSON is YAML
        (tmp_path / name / "README.md").write_text(f"---\n{card}\n---\n")

    return write


def error_of(**settings):
    held_out = settings.pop("held_out", 0)
    with pytest.raises(ConfigError) as error:
        load_task(TaskSettings(**settings), held_out)
    return str(error.value)


# arithmetic


def test_arithmetic_trains_and_is_tested_on_different_problems_that_can_be_solved():
    task = load_task(TaskSettings(problems=300), held_out=50)
    assert {split_of(problem.row["question"]) for problem in task.problems} == {"train"}
    assert {split_of(problem.row["question"]) for problem in task.held_out} == {"test"}
    assert len({problem.prompt_id for problem in [*task.problems, *task.held_out]}) == 350
    assert all(exact_match(problem.answer, problem.answer) for problem in [*task.problems, *task.held_out])
    assert task.problems[0].prompt == f"Question: {task.problems[0].row['question']}\nAnswer:"
    assert (task.stop, task.reward) == (("\n\n",), "exact_match")


def test_held_out_arithmetic_is_not_what_checkpoints_are_evaluated_on():
    held_out = {problem.row["question"] for problem in load_task(TaskSettings(problems=1), 200).held_out}
    evaluated = {problem.question for problem in generate("test", 2000, seed=0)}
    assert len(held_out & evaluated) < 10


# gsm8k


def test_gsm8k_from_files_asks_as_it_is_evaluated():
    files = {"path": str(GSM8K / "train.jsonl"), "held_out_path": str(GSM8K / "test.jsonl")}
    task = load_task(TaskSettings(name="gsm8k", **files), held_out=3)
    assert (len(task.problems), len(task.held_out)) == (7473, 3)
    assert task.problems[0].prompt.startswith("Q: Natalia sold clips to 48 of her friends in April")
    assert task.problems[0].prompt.endswith("in April and May?\nA:")
    assert task.problems[0].answer.endswith("#### 72")
    assert task.problems[7472].prompt_id == "gsm8k-7472"
    assert task.held_out[0].prompt.startswith("Q: Janet’s ducks lay 16 eggs per day.")
    assert (task.stop, task.reward) == (("Q:", "\n\n\n"), "math_verify")


def test_gsm8k_from_the_hub_has_its_test_split_held_out(hub):
    hub("openai/gsm8k", "main", {"train": rows(5), "test": rows(5, start=100)})
    task = load_task(TaskSettings(name="gsm8k", problems=2), held_out=3)
    assert [problem.prompt for problem in task.problems] == ["Q: How many is 0?\nA:", "Q: How many is 1?\nA:"]
    assert [problem.answer[-8:] for problem in task.held_out] == [f"#### {i}" for i in (100, 101, 102)]
    assert task.held_out[0].prompt_id == "gsm8k-held-out-0"


def test_without_a_network_gsm8k_says_what_to_download(hub):
    assert "download its train.jsonl and set task.path to that file" in error_of(name="gsm8k")
    train = write_jsonl(Path("train.jsonl"), rows(3))
    assert "set task.held_out_path to another one" in error_of(name="gsm8k", path=train, held_out=1)


# dataset

_COLUMNS = [{"problem": f"{i} + 1?", "solution": i + 1, "level": f"L{i}"} for i in range(4)]


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_any_columns_of_a_file_make_a_prompt(tmp_path, write):
    path = write(tmp_path / f"a.{write.__name__.removeprefix('write_')}", _COLUMNS)
    task = load_task(
        TaskSettings(
            name="dataset",
            path=path,
            question_column="problem",
            answer_column="solution",
            template="[{level}] {question} {{=}} {problem}\n",
            problems=3,
        )
    )
    assert task.problems[1] == Problem("dataset-1", "[L1] 1 + 1? {=} 1 + 1?\n", "2", _COLUMNS[1])
    assert (len(task.problems), task.stop, task.reward) == (3, (), "math_verify")


def test_a_dataset_of_the_hub_by_subset_and_splits(hub):
    hub("some/set", "hard", {"main": rows(3), "rest": rows(4, start=2)})
    named = {"name": "dataset", "path": "some/set", "subset": "hard", "split": "main"}
    task = load_task(TaskSettings(**named, held_out_split="rest", stop=["X"]), held_out=9)
    assert [problem.prompt_id for problem in task.problems] == ["dataset-0", "dataset-1", "dataset-2"]
    # Row 0 of the split is also trained on.
    assert [problem.prompt_id for problem in task.held_out] == [f"dataset-held-out-{i}" for i in (1, 2, 3)]
    assert task.stop == ("X",)
    message = error_of(**(named | {"split": "nowhere"}))
    assert "'some/set' (subset 'hard', split 'nowhere')" in message
    assert "Should be one of ['main', 'rest']" in message
    message = error_of(name="dataset", path="nobody/nothing")
    assert "Couldn't reach 'nobody/nothing' on the Hub" in message
    assert "download its rows as .jsonl or .parquet and set task.path" in message


def test_held_out_problems_that_are_trained_on_are_left_out_however_they_are_spaced(tmp_path):
    held_out = [{"question": " How many\n is 1? ", "answer": "#### 1"}, *rows(3, start=3)]
    settings = TaskSettings(
        name="dataset",
        path=write_jsonl(tmp_path / "train.jsonl", rows(4)),
        held_out_path=write_jsonl(tmp_path / "test.jsonl", held_out),
    )
    assert [problem.answer for problem in load_task(settings, 2).held_out] == ["4 is\n#### 4", "5 is\n#### 5"]
    assert load_task(settings).held_out == []
    same = settings.model_copy(update={"held_out_path": settings.path})
    with pytest.raises(ConfigError, match=r"all of them are trained on\. Set task.held_out_path"):
        load_task(same, 2)
    unseen = load_task(same.model_copy(update={"problems": 3}), 2).held_out
    assert [problem.answer for problem in unseen] == ["3 is\n#### 3"]


def test_a_reward_of_ones_own_needs_no_answer_that_states_a_number(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": "Who?", "answer": "It was all of us, of course."}])
    (tmp_path / "my_rewards_for_tasks.py").write_text("def f(completion, answer, row): ...")
    monkeypatch.syspath_prepend(tmp_path)
    task = load_task(TaskSettings(name="dataset", path=path, reward="my_rewards_for_tasks:f"))
    assert (len(task.problems), task.reward) == (1, "my_rewards_for_tasks:f")
    assert "a.jsonl:1 (dataset-0): math_verify finds no final answer" in error_of(name="dataset", path=path)


# errors


@pytest.mark.parametrize("name", ["gsm8k", "dataset"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"question": "a"}\n',
            "there is no column 'answer'; set task.answer_column to one of: question",
        ),
        (
            '{"question": "a", "answer": "#### 1"}\nnot json\n',
            ":2: every line must be a JSON object (Exp",
        ),
        ("\n[1]\n", ":2: every line must be a JSON object, found b'[1]"),
        (b"\xff\n", ":1: every line must be a JSON object ('utf-8' codec"),
        (
            '{"question": null, "answer": "1"}\n',
            ":1: column 'question' must be a text or a number, found N",
        ),
        ('{"question": "a", "answer": [1]}\n', ":1: column 'answer' must be a text or a number, found [1]"),
        (
            '{"question": "a", "answer": "Some of seventy more"}',
            ":1 (<name>-0): math_verify finds no final",
        ),
        ("", "there are no problems in"),
        (None, "some.jsonl is no file"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, name, content, message):
    path = tmp_path / "some.jsonl"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = error_of(name=name, path=str(path))
    assert message.replace("<name>", name) in found
    assert str(path) in found


def test_files_of_the_wrong_kind_are_refused(tmp_path):
    table, damaged = tmp_path / "a.csv", tmp_path / "a.parquet"
    table.write_text("question,answer\n")
    damaged.write_text("no parquet")
    assert "must end with .jsonl or .parquet" in error_of(name="dataset", path=str(table))
    assert "a.parquet cannot be read as Parquet" in error_of(name="dataset", path=str(damaged))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "x.jsonl"}, "task.path is 'x.jsonl', but arithmetic makes its own problems; leave it out"),
        ({"template": "{question}"}, "task.template is '{question}', but arithmetic"),
        ({"name": "gsm8k", "subset": "main"}, "task.subset is 'main', but gsm8k always is openai/gsm8k"),
        ({"name": "gsm8k", "answer_column": "a"}, "`name: dataset` takes any; leave it out"),
        ({"name": "dataset"}, "task.path is missing"),
        (
            {"name": "dataset", "path": "x.jsonl", "subset": "main"},
            "task.path x.jsonl is a local file",
        ),
        (
            {"name": "dataset", "path": "x.jsonl", "split": "a"},
            "task.split is 'a', but task.path x.jsonl",
        ),
        ({"reward": "exact"}, "task.reward 'exact' does not exist"),
        ({"reward": "no_such_module:f"}, "No module named 'no_such_module'"),
    ],
)
def test_keys_that_make_no_sense_for_a_task_are_errors(settings, message):
    assert message in error_of(**settings)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{qestion}",
            "a.jsonl:1: task.template names {qestion}, which is no column; did you mean {q",
        ),
        ("{x}", "which is no column; There are: question, answer, hint"),
        ("{question} {hint}", "a.jsonl:1: column 'hint', which task.template names, is null"),
        (r"{question} \boxed{}", "a brace that is no placeholder is written {{ or }}"),
        ("{question:>9}", "a placeholder is a column's name in braces and nothing else"),
        ("{question!r}", "a placeholder is a column's name in braces and nothing else"),
        ("{question", "expected '}' before end of string; a brace that is no placeholder is written"),
        ("Say it.", "has no placeholder, so every prompt would be the same"),
    ],
)
def test_a_wrong_template_says_what_is_wrong(tmp_path, template, message):
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": "a", "answer": "1", "hint": None}])
    assert message in error_of(name="dataset", path=path, template=template)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_template_changes_nothing_but_its_placeholders(before, between, question):
    escaped = [part.replace("{", "{{").replace("}", "}}") for part in (before, between)]
    template = Template(f"{escaped[0]}{{question}}{escaped[1]}{{a.b}}")
    prompt = template.render(Row("", {"a.b": 1, "question": "another"}), question)
    assert prompt == f"{before}{question}{between}1"


# prompts in tokens


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(model_path(BUILTIN))


def test_prompts_are_encoded_one_by_one_as_by_the_tokenizer(tokenizer):
    problems = load_task(TaskSettings(problems=20)).problems
    encoded = token_ids(problems, tokenizer, room=1000)
    assert encoded == [tokenizer.encode(problem.prompt) for problem in problems]
    assert [tokenizer.decode(tokens) for tokens in encoded] == [problem.prompt for problem in problems]
    assert token_ids([], tokenizer, room=1000) == []


def test_prompts_that_are_too_long_are_refused_together(tokenizer):
    problems = [Problem(f"p-{length}", "\n" + "7" * length, "#### 7") for length in (3, 9, 12, 4)]
    lengths = [len(tokenizer.encode(problem.prompt)) for problem in problems]
    assert token_ids(problems, tokenizer, room=max(lengths))
    with pytest.raises(ConfigError) as error:
        token_ids(problems, tokenizer, room=lengths[3])
    assert str(error.value) == (
        f"2 of 4 prompts are too long: p-12 has {lengths[2]} tokens, but engine.max_model_len - "
        f"sampling.max_completion_tokens leaves room for {lengths[3]}. Raise engine.max_model_len by "
        f"{lengths[2] - lengths[3]}, or lower sampling.max_completion_tokens"
    )


def test_a_prompt_without_a_token_is_refused_unless_the_tokenizer_begins_it(tokenizer):
    problems = [Problem("p-0", "7", "#### 7"), Problem("p-1", "", "#### 7"), Problem("p-2", "", "#### 7")]
    with pytest.raises(
        ConfigError, match=r"2 of 3 prompts are empty, the first of them p-1, .*task\.template"
    ):
        token_ids(problems, tokenizer, room=1000)
    begins = AutoTokenizer.from_pretrained(model_path(BUILTIN))
    begins.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begins.eos_token_id)]
    )
    assert token_ids(problems, begins, room=1000)[1:] == [[begins.eos_token_id]] * 2
