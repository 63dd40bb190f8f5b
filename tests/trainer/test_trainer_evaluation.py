"""`python -m trainer.evaluation`: lm-eval over both engines, its files, and what is not done twice."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from trainer.builtin.problems import generate
from trainer.builtin.tiny import write_tiny_model
from trainer.evaluation.__main__ import main
from trainer.evaluation.checkpoint_id import checkpoint_id
from trainer.paths import metadata_path, samples_path

GSM8K = Path(__file__).parents[3] / "shared" / "gsm8k"
STRICT = {"arithmetic_cot": r"#### (\-?[0-9.,]+)", "gsm8k_cot": r"The answer is (\-?[0-9.,]+)."}

app = typer.Typer()
app.command()(main)


class Evaluations:
    """A configuration of evaluations, and the command over it in this process."""

    def __init__(self, directory, engine, socket=None):
        self.path = directory / "evaluation.json"
        self.directory, self.engine, self.socket = directory, engine, socket
        self.wanted = []

    def add(self, model, task, shots, **fields):
        output = self.directory / "eval" / f"{task}_{shots}shot.json"
        self.wanted.append(
            {
                "label": "base",
                "model": str(model),
                "task": task,
                "num_fewshot": shots,
                "output": str(output),
                **fields,
            }
        )
        return output

    def arguments(self):
        self.path.write_text(json.dumps({"engine": self.engine, "evaluations": self.wanted}))
        return ["--config", str(self.path), *(["--engine", str(self.socket)] if self.socket else [])]

    def run(self):
        return CliRunner().invoke(app, self.arguments())


def rows(result, filter_name):
    found = [json.loads(line) for line in samples_path(result).read_text().splitlines()]
    return [row for row in found if row["filter"] == filter_name]


def number(text):
    return re.sub(r"(?s).*#### ", "", text).replace(",", "").replace("$", "").rstrip(".").lower()


def strict_accuracy(result, task):
    """lm-eval's strict match, computed again from what the model said and what was right."""
    right = []
    for row in rows(result, "strict-match"):
        ((said,),) = row["resps"]
        found = re.findall(STRICT[task], said)
        right.append(bool(found) and number(found[0]) == number(row["target"]))
    return sum(right) / len(right)


def reported(result, task):
    return json.loads(result.read_text())["results"][task]["exact_match,strict-match"]


def test_evaluations_over_the_transformers_engine_are_lm_evals_own_and_done_once(tmp_path):
    evaluations = Evaluations(tmp_path, {"name": "transformers", "dtype": "float32"})
    results = {
        ("arithmetic_cot", 0): evaluations.add("builtin:tiny", "arithmetic_cot", 0, limit=8),
        ("arithmetic_cot", 2): evaluations.add("builtin:tiny", "arithmetic_cot", 2, limit=8),
        ("gsm8k_cot", 0): evaluations.add(
            "builtin:tiny",
            "gsm8k_cot",
            0,
            limit=4,
            data=str(GSM8K / "test.jsonl"),
            max_completion_tokens=40,
        ),
    }
    outcome = evaluations.run()
    assert outcome.exit_code == 0, outcome.output
    assert "0 evaluations are there, 3 to do" in outcome.output

    test, shots = generate("test", 8, seed=0), generate("train", 2, seed=0)
    for (task, count), result in results.items():
        written = json.loads(result.read_text())
        assert written["n-shot"][task] == count
        assert written["config"]["limit"] == (8 if task == "arithmetic_cot" else 4)
        assert reported(result, task) == pytest.approx(strict_accuracy(result, task))
        metadata = json.loads(metadata_path(result).read_text())
        assert (metadata["task"], metadata["num_fewshot"], metadata["checkpoint"]) == (
            task,
            count,
            "builtin:tiny",
        )
        assert metadata["engine"].startswith("transformers ")
    for count in (0, 2):
        result = results["arithmetic_cot", count]
        assert 0 < reported(result, "arithmetic_cot") < 1  # or nothing above would say anything
        for row, problem in zip(rows(result, "strict-match"), test, strict=True):
            context = row["arguments"]["gen_args_0"]["arg_0"]
            assert context.endswith(problem.prompt)
            assert [shot.document in context for shot in shots] == [count == 2] * 2
            assert row["target"] == problem.answer
    questions = [json.loads(line)["question"] for line in (GSM8K / "test.jsonl").read_text().splitlines()[:4]]
    assert [row["doc"]["question"] for row in rows(results["gsm8k_cot", 0], "strict-match")] == questions

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "eval").iterdir()}
    assert len(before) == 9
    again = subprocess.run(
        [sys.executable, "-m", "trainer.evaluation", *evaluations.arguments()],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    assert "3 evaluations are there, 0 to do" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "eval").iterdir()} == before


def test_over_vllm_a_checkpoint_is_evaluated_again_when_its_weights_or_settings_change(
    tmp_path, vllm_server, digit_model
):
    model = tmp_path / "model"
    shutil.copytree(digit_model, model)
    evaluations = Evaluations(tmp_path, {"name": "vllm"}, vllm_server.socket)
    arithmetic = evaluations.add(model, "arithmetic_cot", 2, limit=8, max_completion_tokens=16)
    gsm8k = evaluations.add(
        model, "gsm8k_cot", 0, limit=4, data=str(GSM8K / "test.jsonl"), max_completion_tokens=16
    )
    outcome = evaluations.run()
    assert outcome.exit_code == 0, outcome.output
    said = [row["resps"][0][0] for row in rows(arithmetic, "strict-match")]
    guesses = [re.search(r"#### \d", row["resps"][0][0]) for row in rows(gsm8k, "strict-match")]
    assert sum(map(bool, guesses)) >= 3  # the digit model's, not those of whatever was loaded before
    for task, result in (("arithmetic_cot", arithmetic), ("gsm8k_cot", gsm8k)):
        assert reported(result, task) == pytest.approx(strict_accuracy(result, task))
        assert json.loads(metadata_path(result).read_text())["engine"].startswith("vllm ")

    identity = json.loads(metadata_path(arithmetic).read_text())["evaluation_id"]
    evaluations.wanted[1]["limit"] = 3
    outcome = evaluations.run()
    assert outcome.exit_code == 0, outcome.output
    assert "1 evaluations are there, 1 to do" in outcome.output
    assert len(rows(gsm8k, "strict-match")) == 3
    assert json.loads(metadata_path(arithmetic).read_text())["evaluation_id"] == identity

    write_tiny_model(model, seed=5)
    outcome = evaluations.run()
    assert outcome.exit_code == 0, outcome.output
    assert "0 evaluations are there, 2 to do" in outcome.output
    assert json.loads(metadata_path(arithmetic).read_text())["evaluation_id"] != identity
    assert [row["resps"][0][0] for row in rows(arithmetic, "strict-match")] != said


def test_a_prompt_that_does_not_fit_the_context_fails_with_the_numbers_and_leaves_no_result(
    tmp_path, vllm_server, digit_model
):
    evaluations = Evaluations(tmp_path, {"name": "vllm"}, vllm_server.socket)
    result = evaluations.add(digit_model, "arithmetic_cot", 16, limit=2)
    outcome = evaluations.run()
    assert outcome.exit_code == 1
    assert re.search(
        r"a prompt of \d{4} tokens and 128 new ones exceed the engine's context of 1024", outcome.output
    )
    assert not result.exists()
    assert not metadata_path(result).exists()


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"model": "/no/such/model"}, "/no/such/model"),
        ({"task": "mmlu"}, "mmlu"),
        ({"num_fewshot": -1}, "num_fewshot"),
    ],
)
def test_a_wrong_configuration_is_code_2_and_one_message(tmp_path, evaluation, message):
    evaluations = Evaluations(tmp_path, {})
    evaluations.add("builtin:tiny", "arithmetic_cot", 0, limit=1)
    evaluations.wanted[0] |= evaluation
    outcome = evaluations.run()
    assert outcome.exit_code == 2
    assert outcome.output.count("error:") == 1
    assert message in outcome.output


def test_a_checkpoint_is_known_by_its_weights_wherever_it_lies(tmp_path, digit_model, tiny_model):
    copy = tmp_path / "elsewhere"
    shutil.copytree(digit_model, copy)
    assert checkpoint_id(copy) == checkpoint_id(digit_model) != checkpoint_id(tiny_model)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    assert checkpoint_id(copy) != checkpoint_id(digit_model)
