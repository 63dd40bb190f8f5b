"""The checked-in model is what its figures say, and so is its tokenizer; the tiny model loads."""

import json
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from trainer.builtin import MODEL_DIR, pretrain
from trainer.builtin.__main__ import app
from trainer.builtin.accuracy import Sampled, Solver, is_right
from trainer.builtin.pretrain import MIXED, WORKED, Stage, batches, model_config, train
from trainer.builtin.problems import Problem, few_shot_prompt, generate
from trainer.builtin.tiny import write_tiny_model
from trainer.builtin.tokenizer import train_tokenizer


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Tiny matrices gain nothing from a second thread, and lose much where others want the core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def solver():
    return Solver.load(MODEL_DIR)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIR)


@pytest.fixture(scope="module")
def recorded():
    return json.loads((MODEL_DIR / "accuracy.json").read_text())


def recorded_greedy(recorded, problems, shots):
    (row,) = [row for row in recorded["greedy"] if (row["problems"], row["shots"]) == (problems, shots)]
    return row["accuracy"]


def test_the_model_reproduces_its_recorded_accuracy(solver, recorded):
    measured = solver.greedy(problems=200, shots=0).accuracy
    # In float32 a greedy token changes only where two are tied to within rounding; 1 % is two problems.
    assert measured == pytest.approx(recorded_greedy(recorded, 200, 0), abs=0.01)


def test_the_recorded_figures_leave_grpo_something_to_learn(recorded):
    assert 0.45 <= recorded_greedy(recorded, 500, 0) <= 0.60
    assert recorded["first_stage"]["accuracy"] >= 0.85
    assert recorded["sampled"]["pass_at_n"] >= 0.75
    assert recorded["sampled"]["mixed"] >= 0.65


def test_sampling_gives_groups_of_mixed_rewards(solver):
    figures = solver.sampled(problems=20, completions=4)
    assert 0 < figures.pass_at_1 < figures.pass_at_n <= 1
    # Four completions are mixed less often than the recorded eight; a collapsed model would give none.
    assert figures.mixed >= 0.3


def test_the_folder_is_small_and_in_bfloat16():
    files = list(MODEL_DIR.iterdir())
    assert sum(file.stat().st_size for file in files) <= 8 * 2**20
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.num_parameters() == 853_376


def test_generation_stops_at_the_end_of_text(solver, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == tokenizer.eos_token_id
    prompts = [problem.prompt for problem in generate("test", 20, 5)]
    encoded = tokenizer(prompts, return_tensors="pt", padding=True)
    output = solver.model.generate(**encoded, do_sample=False, max_new_tokens=120)
    for completion in tokenizer.batch_decode(output[:, encoded.input_ids.shape[1] :]):
        text, end, padding = completion.partition(tokenizer.eos_token)
        assert end
        assert text.count("####") == 1
        assert padding.replace(tokenizer.pad_token, "") == ""


def test_the_checked_in_tokenizer_is_the_one_training_makes(tokenizer):
    trained = train_tokenizer(problem.document for problem in generate("train", 10_000, 0))
    assert (
        json.loads(trained.backend_tokenizer.to_str())["model"]
        == (json.loads(tokenizer.backend_tokenizer.to_str())["model"])
    )
    assert len(tokenizer) == 512


@given(st.integers(1, 10**12))
@settings(max_examples=100, deadline=None)
def test_digits_are_split_singly_and_a_numbers_first_keeps_its_space(tokenizer, number):
    digits = str(number)
    assert [tokenizer.decode([token]) for token in tokenizer(f" {digits}").input_ids] == [
        f" {digits[0]}",
        *digits[1:],
    ]
    assert tokenizer.convert_ids_to_tokens(tokenizer(digits).input_ids) == list(digits)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_survives_encoding(tokenizer, text):
    assert (
        tokenizer.decode(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
        == text
    )


def test_a_prompt_and_its_completion_tokenize_separately_as_they_do_together(tokenizer):
    for problem in generate("test", 200, 1):
        whole = tokenizer(problem.document).input_ids
        assert tokenizer(problem.prompt).input_ids + tokenizer(f" {problem.answer}").input_ids == whole


def test_an_eight_shot_context_leaves_room_for_an_answer(tokenizer):
    train = generate("train", 8 * 500, 2)
    contexts = [
        few_shot_prompt(problem.question, train[8 * index : 8 * index + 8])
        for index, problem in enumerate(generate("test", 500, 2))
    ]
    lengths = [len(tokens) for tokens in tokenizer(contexts).input_ids]
    assert max(lengths) <= 1024 - 128
    answers = tokenizer([f" {problem.answer}" for problem in train]).input_ids
    assert max(map(len, answers)) < 80


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        (" 1 + 2 = 3.\n#### 3", True),
        (" #### 1,234", False),
        (" #### 3\n\nQuestion: and then? #### 4", True),
        (" #### 4\n\nQuestion: and then? #### 3", False),
        (" #### 33", False),
        (" 3", False),
        ("", False),
    ],
)
def test_the_first_final_number_decides(completion, right):
    assert is_right(completion, Problem("?", "1 + 2 = 3.\n#### 3")) is right


def test_a_thousands_separator_does_not_make_an_answer_wrong():
    assert is_right(" #### 1,234", Problem("?", "#### 1234"))


def targets_of(stage, tokenizer):
    """Every problem's target tokens that count fully, as text, over the stage's batches."""
    texts = []
    for inputs, targets, weights in batches(tokenizer, stage, seed=0):
        assert inputs.shape == targets.shape == weights.shape
        for row in range(len(inputs)):
            texts.append(tokenizer.decode(targets[row][weights[row] == 1.0]))
    return texts


def test_stage_one_teaches_worked_answers_and_an_end_of_text_after_each(tokenizer):
    stage = Stage("test", steps=16, lr=1e-3, terse_shares=WORKED.terse_shares)
    texts = targets_of(stage, tokenizer)
    answers = "".join(texts).split(tokenizer.eos_token)
    assert answers.pop() == ""
    assert len(answers) == 16 * 64
    assert len(texts) < len(answers)  # some documents are few-shot
    assert all(answer.count("####") == 1 and "=" in answer for answer in answers)


def test_stage_two_teaches_about_as_many_terse_answers(tokenizer):
    stage = Stage("test", steps=16, lr=1e-3, terse_shares=MIXED.terse_shares)
    answers = "".join(targets_of(stage, tokenizer)).split(tokenizer.eos_token)[:-1]
    terse = sum("=" not in answer for answer in answers) / len(answers)
    assert terse == pytest.approx(0.5, abs=0.06)  # 1,024 draws: four standard errors


def test_every_target_is_the_next_token_or_the_end_of_an_answer(tokenizer):
    stage = Stage("test", steps=4, lr=1e-3, terse_shares=(0.5, 0.5))
    for inputs, targets, weights in batches(tokenizer, stage, seed=1):
        inside = weights[:, :-1] > 0
        followed = inputs[:, 1:] == targets[:, :-1]
        ended = targets[:, :-1] == tokenizer.eos_token_id
        assert bool((followed | ended)[inside].all())


def test_training_lowers_the_loss_and_a_seed_repeats_it(tokenizer, caplog, monkeypatch):
    monkeypatch.setattr(pretrain, "_BATCH_PROBLEMS", 8)
    caplog.set_level("INFO", logger="trainer.builtin.pretrain")
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(model_config(tokenizer), attn_implementation="eager")
        train(model, tokenizer, Stage("test", steps=6, lr=4e-3, terse_shares=(0.0, 0.0)), seed=0)
        states.append(model.state_dict())
    losses = [record.args[3] for record in caplog.records]
    assert losses[0] == losses[1]
    assert losses[0] < 5.9  # the mean over six steps; ln 512 = 6.24 is where it starts
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_tiny_model_loads_and_depends_on_its_seed_alone(tmp_path):
    before = torch.random.get_rng_state()
    folders = [write_tiny_model(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert torch.equal(torch.random.get_rng_state(), before)
    first, same, other = (AutoModelForCausalLM.from_pretrained(folder) for folder in folders)
    assert first.num_parameters() < 50_000
    tokens = AutoTokenizer.from_pretrained(folders[0])("Question: how many?", return_tensors="pt")
    with torch.no_grad():
        logits = [model(**tokens).logits for model in (first, same, other)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2], atol=0.1)


def test_the_accuracy_command_prints_the_figures(tmp_path):
    folder = write_tiny_model(tmp_path / "tiny")
    run = CliRunner().invoke(
        app, ["accuracy", "--model", str(folder), "--problems", "3", "--completions", "2"]
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout) == asdict(Sampled(3, 2, pass_at_1=0.0, pass_at_n=0.0, mixed=0.0))


def test_the_accuracy_command_says_what_is_wrong(tmp_path):
    empty = CliRunner().invoke(app, ["accuracy", "--model", str(tmp_path)])
    assert empty.exit_code == 2
    assert "holds no config.json" in " ".join(empty.output.replace("│", " ").split())
    both = CliRunner().invoke(app, ["accuracy", "--shots", "2", "--completions", "2"])
    assert both.exit_code == 2
    assert "leave --shots out" in " ".join(both.output.replace("│", " ").split())
