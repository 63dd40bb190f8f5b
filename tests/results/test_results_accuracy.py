"""Accuracy of single runs: deltas against a recomputation from the samples, families, refusals."""

import json

import duckdb
import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_lm_eval, write_synthetic_sweep
from statsmodels.stats.multitest import multipletests

from results.ingest import ingest
from results.store import Store
from results.tables.accuracy import default_filter_rows, delta_table, learned_runs
from trainer.paths import metadata_path, samples_path, store_path


def deltas_of(runs_dir):
    ingest(runs_dir)
    return delta_table(Store(runs_dir), "staleness", 2.0)


def test_deltas_equal_a_recomputation_from_the_samples(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=60)
    table = deltas_of(tmp_path)
    assert set(table["method"]) == {"paired"}

    def right(path, filter_name):
        lines = map(json.loads, samples_path(tmp_path / path).open())
        return {s["doc_id"]: s["exact_match"] for s in lines if s["filter"] == filter_name}

    for row in table.to_dict("records"):
        mine, others = right(row["path"], row["filter"]), right(row["other_path"], row["filter"])
        only_a = sum(mine[doc] > others[doc] for doc in mine)
        only_b = sum(mine[doc] < others[doc] for doc in mine)
        assert (row["only_a"], row["only_b"]) == (only_a, only_b)
        assert row["delta_points"] == pytest.approx(100 * (only_a - only_b) / len(mine))


def test_holm_adjusts_within_each_delta_table(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=60)
    for _, family in deltas_of(tmp_path).groupby(["against", "filter"]):
        expected = multipletests(family["p"], method="holm")[1]
        assert family["p_adjusted"].to_numpy() == pytest.approx(expected)


def test_learned_is_better_than_base(tmp_path):
    write_synthetic_sweep(tmp_path / "learned", steps=4)
    write_synthetic_sweep(tmp_path / "not", steps=4, learns=False)
    assert len(learned_runs(deltas_of(tmp_path / "learned"))) == 5
    assert learned_runs(deltas_of(tmp_path / "not")) == set()


def test_without_samples_the_delta_is_unpaired(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60)
    for path in folder.glob("base_models/*/*.samples.jsonl"):
        path.unlink()
    table = deltas_of(tmp_path)
    assert set(table.loc[table["against"] == "base", "method"]) == {"unpaired"}
    assert set(table.loc[table["against"] == "reference", "method"]) == {"paired"}


def test_a_missing_standard_error_of_a_share_is_worked_out(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60)
    path = next(folder.glob("base_models/*/*_0shot.json"))
    content = json.loads(path.read_text())
    metrics = content["results"]["arithmetic_cot"]
    known = 100 * metrics["exact_match_stderr,strict-match"]
    metrics["exact_match_stderr,strict-match"] = "N/A"  # what lm-eval writes without bootstrap
    path.write_text(json.dumps(content))
    ingest(tmp_path)
    found = Store(tmp_path).query(
        "SELECT stderr_percent FROM accuracy "
        "WHERE label = 'base' AND num_fewshot = 0 AND filter = 'strict-match'"
    )
    assert found["stderr_percent"].iloc[0] == pytest.approx(known)


def ours(**changes):
    """A result of our own evaluation, and the metadata beside it."""
    meta = {"evaluation_id": "e", "engine": "vllm 0.32.0", "dtype": "bfloat16", "max_model_len": 2048}
    return {"config": {"model": "EngineModel"}}, {**meta, **changes}


LIKE = {"config": {"model": "local-completions", "model_args": {"dtype": "bfloat16"}, "limit": None}}
TASK = {"dataset_path": "arithmetic_cot", "generation_kwargs": {"do_sample": False, "max_gen_toks": 128}}


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """A run's result and its base's under the same settings, and the result's text."""
    runs_dir = tmp_path_factory.mktemp("alike")
    folder = write_synthetic_sweep(runs_dir, steps=4, questions=60, arms=REFERENCE_ARMS[:1])
    run = folder / REFERENCE_ARMS[0].run_name(0, False) / "eval" / "step_000004"
    for path in (*folder.glob("base_models/*/*_0shot.json"), run / "arithmetic_cot_0shot.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **LIKE}))
    assert "refused" not in set(deltas_of(runs_dir)["verdict"])
    return runs_dir, path, path.read_text()


def with_config(**changes):
    return {"config": {**LIKE["config"], **changes}}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"versions": {"arithmetic_cot": 2.0}}, "task_version: 2.0 and 1.0"),
        ({"n-samples": {"arithmetic_cot": {"original": 60, "effective": 50}}}, "questions: 50 and 60"),
        (with_config(limit=10), "limit: 10 and None"),
        ({"configs": {"arithmetic_cot": {**TASK, "dataset_path": "other"}}}, "dataset: "),
        ({"configs": {"arithmetic_cot": {**TASK, "test_split": "train"}}}, "dataset: "),
        ({"task_hashes": {"arithmetic_cot": "other"}}, "dataset_hash: 'other' and None"),
        ({"chat_template_sha": "abc"}, "chat_template: 'abc' and None"),
        ({"system_instruction_sha": "abc"}, "system_instruction: 'abc' and None"),
        (
            {"configs": {"arithmetic_cot": {**TASK, "generation_kwargs": {"max_gen_toks": 64}}}},
            "generation: ",
        ),
        (with_config(gen_kwargs={"temperature": 0.7}), "generation_overrides: {'temperature': 0.7} and None"),
        ({"max_length": 512}, "context_length: 512 and 1024"),
        (with_config(model="vllm"), "engine: 'vllm' and 'local-completions'"),
        (with_config(model_args="pretrained=x,dtype=float32"), "dtype: 'float32' and 'bfloat16'"),
        (
            with_config(model_args={"dtype": "bfloat16", "enable_thinking": False}),
            "engine_arguments: {'enable_thinking': False} and {}",
        ),
    ],
)
def test_each_unlike_setting_is_refused_and_named(alike, change, named):
    runs_dir, path, text = alike
    path.write_text(json.dumps({**json.loads(text), **change}))
    table = deltas_of(runs_dir)
    refused = table[table["verdict"] == "refused"]
    assert set(refused["num_fewshot"]) == {0}
    assert refused["refusal"].str.startswith(named).all()
    assert "; " not in "".join(refused["refusal"])
    assert refused[["p", "p_adjusted", "low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"engine": "vllm 0.33.0"}, "engine: 'vllm 0.33.0' and 'vllm 0.32.0'"),
        ({"dtype": "float32"}, "dtype: 'float32' and 'bfloat16'"),
        ({"max_model_len": 512}, "context_length: 512 and 2048"),
    ],
)
def test_unlike_settings_of_our_own_engine_are_refused(tmp_path, change, named):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:1])
    run = folder / REFERENCE_ARMS[0].run_name(0, False) / "eval" / "step_000004" / "arithmetic_cot_0shot.json"
    base = next(folder.glob("base_models/*/*_0shot.json"))
    for path, changes in ((run, change), (base, {})):
        content, meta = ours(**changes)
        path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
        metadata_path(path).write_text(json.dumps(meta))
    refused = deltas_of(tmp_path).query("verdict == 'refused'")
    assert set(refused["refusal"]) == {named}


def test_other_shots_are_never_set_side_by_side(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:1])
    for path in folder.glob("base_models/*/*_0shot*"):
        path.unlink()
    assert set(deltas_of(tmp_path)["num_fewshot"]) == {4, 8}


def test_other_questions_are_not_compared(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:1])
    path = next(folder.glob("base_models/*/*_0shot.samples.jsonl"))
    path.write_text(path.read_text().replace('"hash3"', '"another"'))
    table = deltas_of(tmp_path)
    assert table[table["verdict"] == "refused"]["refusal"].str.contains("documents").all()
    assert set(table[table["verdict"] == "refused"]["num_fewshot"]) == {0}


def test_only_the_last_checkpoint_is_compared(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:1])
    run = folder / REFERENCE_ARMS[0].run_name(0, False)
    right = {"strict-match": np.zeros(60, dtype=bool)}
    write_lm_eval(run / "eval" / "step_000002" / "arithmetic_cot_0shot.json", "arithmetic_cot", 0, right)
    table = default_filter_rows(deltas_of(tmp_path))
    assert set(table["checkpoint"]) == {"step_000004"}


def test_a_question_that_is_there_twice_makes_no_pair(tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:1])
    path = next(folder.glob("base_models/*/*_0shot.samples.jsonl"))
    path.write_text(path.read_text().replace('"doc_id": 3,', '"doc_id": 4,'))
    table = deltas_of(tmp_path)
    assert set(table.loc[table["num_fewshot"] == 0, "method"]) == {"unpaired"}
    assert set(table.loc[table["num_fewshot"] == 4, "method"]) == {"paired"}


def test_samples_in_any_order_are_compared_question_by_question(tmp_path):
    write_synthetic_sweep(tmp_path / "a", steps=4, questions=60, arms=REFERENCE_ARMS[:2])
    folder = write_synthetic_sweep(tmp_path / "b", steps=4, questions=60, arms=REFERENCE_ARMS[:2])
    for path in folder.glob("s1*/eval/*/*.samples.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(np.random.default_rng(0).permutation(lines)))
    columns = ["only_a", "only_b", "p", "low", "high"]
    assert deltas_of(tmp_path / "a")[columns].equals(deltas_of(tmp_path / "b")[columns])


def test_no_comparison_yet(tmp_path):
    write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:2], finished=False)
    table = deltas_of(tmp_path)
    assert table.empty
    assert {"verdict", "p_adjusted", "low", "method", "within_noise"} <= set(table.columns)
    assert default_filter_rows(table).empty


PAIR = [arm.run_name(0, False) for arm in (REFERENCE_ARMS[0], REFERENCE_ARMS[1])]


def evaluated_at(tmp_path, first, second):
    """Deltas of the first two arms, four steps planned of each, by the checkpoints of these names."""
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:2])
    for name, checkpoint in zip(PAIR, (first, second), strict=True):
        (folder / name / "eval" / "step_000004").rename(folder / name / "eval" / checkpoint)
    table = deltas_of(tmp_path)
    base = table["against"] == "base"
    return table[base], table[~base & (table["run_name"] == PAIR[1])]


def test_checkpoints_of_unlike_progress_are_refused_and_named(tmp_path):
    base, others = evaluated_at(tmp_path, "step_000004", "step_000001")
    assert len(others) and set(others["verdict"]) == {"refused"}
    assert set(others["refusal"]) == {"checkpoints: step_000001 of 4 and step_000004 of 4"}
    assert set(others["checkpoint"]) == {"step_000001"}
    assert set(others["other_checkpoint"]) == {"step_000004"}
    batches = [arm.prompts_per_optim_step for arm in REFERENCE_ARMS[:2]]
    assert set(others["prompts_trained"]) == {1 * batches[1]}
    assert set(others["other_prompts_trained"]) == {4 * batches[0]}
    assert "refused" not in set(base["verdict"])
    assert set(base["other_checkpoint"]) == {"base"} and base["other_prompts_trained"].isna().all()


def test_checkpoints_of_like_progress_are_compared(tmp_path):
    _, others = evaluated_at(tmp_path, "step_000002", "step_000002")
    assert len(others) and "refused" not in set(others["verdict"])


@pytest.mark.parametrize("name", ["final", "step_4_merged", "step_99999999999999999999"])
def test_a_checkpoint_whose_step_is_not_known_is_compared(tmp_path, name):
    _, others = evaluated_at(tmp_path, "step_000004", name)
    assert len(others) and "refused" not in set(others["verdict"])
    assert others["prompts_trained"].isna().all()


@pytest.mark.parametrize(("planned", "refused"), [(4, True), (2, False), (None, False)])
def test_progress_is_a_share_of_the_steps_planned(tmp_path, planned, refused):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:2])
    (folder / PAIR[1] / "eval" / "step_000004").rename(folder / PAIR[1] / "eval" / "step_000002")
    ingest(tmp_path)
    with duckdb.connect(str(store_path(tmp_path))) as connection:
        connection.execute("UPDATE runs SET max_steps = ? WHERE run_name = ?", [planned, PAIR[1]])
    table = delta_table(Store(tmp_path), "staleness", 2.0)
    others = table[table["run_name"].eq(PAIR[1]) & (table["against"] != "base")]
    assert set(others["verdict"] == "refused") == {refused}
