"""What cannot become a sweep: an error that names the file and the line."""

import pytest
from importing import refusal, take, write_results

from trainer.errors import ConfigError
from trainer.paths import samples_path


def empty(folder):
    folder.mkdir()


def other_json(folder):
    folder.mkdir()
    (folder / "config.json").write_text("{}")


def not_lm_eval(folder):
    write_results(folder, "base", 1)
    (folder / "exp1_0shot.json").write_text('{"results": 3}')


def no_json(folder):
    folder.mkdir()
    (folder / "exp1_0shot.json").write_text("{")


def no_metric(folder):
    folder.mkdir()
    (folder / "exp1_0shot.json").write_text('{"results": {"gsm8k": {"alias": "gsm8k"}}}')


def other_shots(folder):
    write_results(folder, "exp1", 1, shots=4).rename(folder / "exp1_0shot.json")


def twice(folder):
    write_results(folder / "a", "exp1", 1)
    write_results(folder / "b", "exp1", 2)


def bases_of_two_steps(folder):
    write_results(folder, "base_step10", 1)
    write_results(folder, "base_step20", 2)
    write_results(folder, "exp1", 3)


def collision(folder):
    write_results(folder, "exp 1", 1)
    write_results(folder, "exp_1", 2)


def bad_sample(folder):
    path = write_results(folder, "exp1", 1)
    with samples_path(path).open("a") as file:
        file.write("torn\n")


def loop(folder):
    folder.mkdir()
    (folder / "exp1_0shot.json").symlink_to(folder / "exp1_0shot.json")


def folder_loop(folder):
    folder.mkdir()
    (folder / "again").symlink_to(folder, target_is_directory=True)


def two_bases(folder):
    write_results(folder, "a_base", 1)
    write_results(folder, "b-base", 2)


def engine_log(folder):
    write_results(folder, "engine.log", 1)


def only_a_base(folder):
    write_results(folder, "base", 1, model_name="Qwen/Q-Base")


def own_folder(folder):
    folder.mkdir()
    (folder / "sweep.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "in: no lm-eval results here; they are named"),
        (other_json, "no lm-eval results here (config.json: passed over, it is not named as a result)"),
        (not_lm_eval, "in/exp1_0shot.json: not an lm-eval result: results: Input should be"),
        (no_json, "in/exp1_0shot.json: not an lm-eval result: Invalid JSON"),
        (no_metric, "in/exp1_0shot.json: not an lm-eval result: it holds no metric of any task"),
        (other_shots, "its name says 0 shots, lm-eval's `n-shot` of gsm8k_cot says 4"),
        (twice, "the same as"),
        (bases_of_two_steps, "would lie at the same place as"),
        (collision, "would both be called 'exp_1'; rename one"),
        (bad_sample, "in/exp1_0shot.samples.jsonl:41: not a sample of lm-eval: Invalid JSON"),
        (loop, "in/exp1_0shot.json: cannot be read: Too many levels of symbolic links"),
        (folder_loop, "no lm-eval results here (again: a linked folder, not entered)"),
        (two_bases, "several base models: a_base, b-base; say which with `base_model`"),
        (only_a_base, "results of the base model 'Qwen/Q-Base' only; those of a run are needed"),
        (engine_log, "a run cannot be called 'engine.log'; rename the file"),
        (own_folder, "no MANIFEST.sha256: not an exported sweep, or not the whole of one"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused(make, message, tmp_path):
    make(tmp_path / "in")
    assert message in refusal(tmp_path / "in", tmp_path / "runs")


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    not_lm_eval(tmp_path / "in")
    (tmp_path / "in" / "exp2_4shot.json").write_text("[")
    message = refusal(tmp_path / "in", tmp_path / "runs")
    assert "exp1_0shot.json" in message and "exp2_4shot.json" in message


TABLES = {
    "runs: 3": ":1: runs: should be a list, found 3",
    "runs: []": ":1: runs: there is no run, found []",
    "[1]": ":1: a table of runs is a map; it has a list `runs`",
    "runs: [": "not valid YAML",
    "runs:\n- label: a": ":2: the key 'run_name' is missing",
    "runs:\n- run_name: a\n  lable: b": ":3: unknown key 'lable'; did you mean 'label'?",
    "runs:\n- run_name: a\n  step_time_s:\n    maen: 3": ":4: unknown key 'maen'; did you mean 'mean'?",
    "runs:\n- run_name: a\n  step_time_s: [1, x]": ":3: runs.0.step_time_s.1: should be a valid number",
    "runs:\n- run_name: a\n  step_time_s: {min: 3, mean: 2}": ":3: runs.0.step_time_s: min is 3.0, above",
    "runs:\n- run_name: a\n  training_time: 70 min": ":3: runs.0.training_time: a duration is",
    "runs:\n- run_name: a\n  knobs: {max_stalenes: 1}": ":3: unknown key 'max_stalenes'; did you mean",
    "runs:\n- run_name: a\n  knobs:\n    max_staleness: -1": ":4: max_staleness: should be greater",
    "base: {optim: {lr: x}}\nruns:\n- run_name: a": ":1: optim.lr: should be a valid number",
    "reference: {nothing: 1}\nruns:\n- run_name: a": ":1: unknown key 'nothing'",
    "runs:\n- run_name: ../a": ":2: run_name: letters, digits",
    "runs:\n- run_name: base_models": ":2: run_name: letters, digits",
    "runs:\n- run_name: sweep.json": ":2: run_name: letters, digits",
    "runs:\n- run_name: .lock": ":2: run_name: letters, digits",
    "runs:\n- run_name: a\n- run_name: a": ":3: run_name 'a' is given twice; first on line 2",
    "runs:\n- run_name: a\n  label: <b>x</b>": ":3: label: figures would take '<' for markup; leave out '<'",
    "runs:\n- run_name: a\n  label: A & B": ":3: label: figures would take '&' for markup; leave out",
    'runs:\n- run_name: a\n  label: "A\\nB"': ":3: label: figures would take '\\n' for markup; leave out",
    "runs:\n- run_name: a\n  evaluations: exp2": ":3: evaluations: no results of 'exp2'; did you",
    "base_model: bace\nruns:\n- run_name: a": ":1: base_model: no results of 'bace'; did you mean 'base'?",
    "runs:\n- run_name: a\n  accuracy: [{task: t, num_fewshot: 0, percent: 5, questions: 10, correct: 9}]": (
        ":3: 9 of 10 is 90.00 %, not 5.0 %"
    ),
}


@pytest.mark.parametrize("text", TABLES, ids=range(len(TABLES)))
def test_what_is_wrong_in_a_table_is_told_with_its_line(text, tmp_path):
    write_results(tmp_path / "in", "base", 1)
    write_results(tmp_path / "in", "exp1", 2)
    table = tmp_path / "table.yaml"
    table.write_text(text)
    message = refusal(tmp_path / "in", tmp_path / "runs", runs=table)
    assert TABLES[text] in message
    assert message.startswith(str(table))
    assert len(message.splitlines()) == 1, "one mistake, one line"


def test_a_table_that_is_not_there_or_not_text_is_refused(tmp_path):
    write_results(tmp_path / "in", "base", 1)
    binary = tmp_path / "table.yaml"
    binary.write_bytes(b"\xff\xfe\xff")
    assert "No such file" in refusal(tmp_path / "in", tmp_path / "runs", runs=tmp_path / "none.yaml")
    assert "not UTF-8 text" in refusal(tmp_path / "in", tmp_path / "runs", runs=binary)


def test_names_that_will_not_do_are_refused(tmp_path):
    write_results(tmp_path / "in", "exp1", 1)
    runs_dir = tmp_path / "runs"
    assert "no such folder" in refusal(tmp_path / "none", runs_dir)
    assert "cannot be a sweep's name" in refusal(tmp_path / "in", runs_dir, name="../x")
    for name in (".hidden", "results.duckdb", "a" * 201):
        assert "cannot be a sweep's name" in refusal(tmp_path / "in", runs_dir, name=name)
    sweep = take(tmp_path / "in", runs_dir)
    before = sweep.manifest.read_bytes()
    with pytest.raises(ConfigError, match="is there already; give the import another name with --name"):
        take(tmp_path / "in", runs_dir)
    assert sweep.manifest.read_bytes() == before
