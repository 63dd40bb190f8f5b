"""Accuracy: tests against scipy and brute force, verdicts, refusals."""

import json

import numpy as np
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_lm_eval, write_synthetic_sweep
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests

from results.ingest import ingest
from results.statistics.proportions import (
    detectable_points,
    paired_difference,
    tango_interval,
    unpaired_difference,
    verdict,
)
from results.store import Store
from results.tables.accuracy import default_filter_rows, delta_table, learned_runs
from trainer.paths import samples_path


def deltas_of(runs_dir):
    ingest(runs_dir)
    return delta_table(Store(runs_dir), "staleness", 2.0)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (6, 0), (30, 20), (20, 44), (5, 5)])
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert paired_difference(only_a, only_b, 1319, 2.0).p_different == pytest.approx(min(expected, 1.0))


def test_tangos_interval_of_a_published_example():
    # Airway hyper-responsiveness before and after stem cell transplantation, 21 children:
    # Fagerland, Lydersen & Laake (2014), Recommended tests and confidence intervals for paired proportions.
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b", "questions"), [(7, 3, 50), (0, 4, 40), (44, 20, 300)])
def test_tangos_interval_inverts_the_restricted_likelihood(only_a, only_b, questions):
    for end in tango_interval(only_a, only_b, questions):

        def negative_likelihood(p_b, end=end):
            cells = np.array([p_b + end, p_b, 1 - 2 * p_b - end])
            counts = np.array([only_a, only_b, questions - only_a - only_b])
            return -float(counts @ np.log(np.maximum(cells, 1e-300)))

        bounds = (max(0.0, -end) + 1e-12, (1 - end) / 2 - 1e-12)
        p_b = optimize.minimize_scalar(
            negative_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}
        ).x
        variance = questions * (2 * p_b + end - end**2)
        score = (only_a - only_b - questions * end) / np.sqrt(variance)
        assert abs(score) == pytest.approx(stats.norm.ppf(0.975), rel=1e-3)


def test_interval_and_exact_test_never_contradict_each_other():
    for discordant in range(60):
        for only_a in range(discordant + 1):
            found = paired_difference(only_a, discordant - only_a, 200, 2.0)
            excludes_zero = found.low > 0 or found.high < 0
            assert excludes_zero == (found.p_different < 0.05)
            assert found.low <= found.points <= found.high


def test_equivalence_needs_evidence():
    assert paired_difference(1, 1, 1319, 2.0).p_equivalent < 0.001
    assert paired_difference(60, 60, 400, 2.0).p_equivalent > 0.05
    assert paired_difference(40, 0, 1319, 2.0).p_equivalent > 0.5


def test_unpaired_is_the_normal_approximation():
    found = unpaired_difference(56.0, 1.37, 52.0, 1.38, 2.0)
    error = np.hypot(1.37, 1.38)
    assert found.p_different == pytest.approx(2 * stats.norm.sf(4 / error))
    assert (found.low, found.high) == pytest.approx(stats.norm.interval(0.95, 4, error))
    assert found.p_equivalent == pytest.approx(stats.norm.cdf(2 / error))


@pytest.mark.parametrize(
    ("points", "different", "equivalent", "expected"),
    [
        (3, 0.01, 1, "better"),
        (-3, 0.01, 1, "worse"),
        (0.1, 0.8, 0.01, "equivalent"),
        (0.1, 0.8, 0.2, "inconclusive"),
    ],
)
def test_verdicts(points, different, equivalent, expected):
    assert verdict(points, different, equivalent) == expected


def test_detectable_difference_has_the_power_it_says():
    rng, questions, share = np.random.default_rng(0), 1000, 0.2
    points = detectable_points(int(questions * share), questions, 0.0, tests=1)
    p_a, p_b = share / 2 + points / 200, share / 2 - points / 200
    cells = rng.multinomial(questions, [p_a, p_b, 1 - p_a - p_b], size=400)
    found = np.mean(
        [paired_difference(int(a), int(b), questions, 2.0).p_different < 0.05 for a, b, _ in cells]
    )
    assert 0.72 <= found <= 0.88


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


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"versions": {"arithmetic_cot": 2.0}}, "task_version"),
        ({"n-samples": {"arithmetic_cot": {"original": 60, "effective": 50}}}, "questions"),
        ({"task_hashes": {"arithmetic_cot": "other"}}, "dataset_hash"),
        ({"chat_template_sha": "abc"}, "chat_template"),
        ({"max_length": 512}, "context_length"),
        ({"config": {"model": "vllm", "model_args": {"dtype": "bfloat16"}}}, "engine"),
        ({"config": {"model": "local-completions", "model_args": "pretrained=x,dtype=float32"}}, "dtype"),
        ({"configs": {"arithmetic_cot": {"generation_kwargs": {"max_gen_toks": 64}}}}, "generation"),
    ],
)
def test_unlike_settings_are_not_compared(tmp_path, change, named):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=60, arms=REFERENCE_ARMS[:1])
    path = next(folder.glob("base_models/*/*_0shot.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    table = deltas_of(tmp_path)
    refused = table[table["verdict"] == "refused"]
    assert set(refused["num_fewshot"]) == {0}
    assert refused["refusal"].str.contains(named).all()
    assert refused["p"].isna().all()


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
