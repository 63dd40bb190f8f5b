"""Accuracy tests on arrays: against scipy, statsmodels and published examples, laws, and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from results.statistics.families import holm_within
from results.statistics.paired import mcnemar_exact, paired_differences, score, tango_interval
from results.statistics.proportions import (
    detectable_paired,
    reach,
    unpaired_differences,
    verdicts,
)

MARGIN = 2.0


def one(only_a, only_b, questions, margin=MARGIN):
    """A single comparison as plain numbers."""
    counts = (np.array([count]) for count in (only_a, only_b, questions))
    return {name: float(values[0]) for name, values in vars(paired_differences(*counts, margin)).items()}


def holm(p_values):
    """Adjusted as one family."""
    return holm_within(p_values, np.zeros(len(p_values), dtype=np.int64))


@st.composite
def counts(draw):
    questions = draw(st.integers(1, 1500))
    only_a = draw(st.integers(0, questions))
    return only_a, draw(st.integers(0, questions - only_a)), questions


def test_mcnemar_is_that_of_statsmodels_and_the_binomial_test():
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(0, 60, 3), np.arange(0, 60, 4)))
    found = mcnemar_exact(a, b)
    for only_a, only_b, p in zip(a, b, found, strict=True):
        if only_a + only_b:
            assert p == pytest.approx(mcnemar([[7, only_a], [only_b, 9]], exact=True).pvalue)
            assert p == pytest.approx(min(stats.binomtest(int(only_a), int(only_a + only_b)).pvalue, 1))
        else:
            assert p == 1


def test_tangos_interval_of_a_published_example():
    # Airway hyper-responsiveness before and after stem cell transplantation, 21 children:
    # Fagerland, Lydersen & Laake (2014), Recommended tests and confidence intervals for paired proportions.
    low, high = tango_interval(np.array([1]), np.array([7]), np.array([21]))
    assert (low[0], high[0]) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b", "questions"), [(7, 3, 50), (0, 4, 40), (44, 20, 300)])
def test_tangos_interval_inverts_the_restricted_likelihood(only_a, only_b, questions):
    for (end,) in tango_interval(np.array([only_a]), np.array([only_b]), np.array([questions])):

        def negative_likelihood(p_b, end=end):
            cells = np.array([p_b + end, p_b, 1 - 2 * p_b - end])
            counts = np.array([only_a, only_b, questions - only_a - only_b])
            return -float(counts @ np.log(np.maximum(cells, 1e-300)))

        bounds = (max(0.0, -end) + 1e-12, (1 - end) / 2 - 1e-12)
        p_b = optimize.minimize_scalar(
            negative_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}
        ).x
        variance = questions * (2 * p_b + end - end**2)
        assert abs(only_a - only_b - questions * end) / np.sqrt(variance) == pytest.approx(
            stats.norm.ppf(0.975), rel=1e-3
        )


def test_without_discordant_questions_tangos_interval_has_a_closed_form():
    questions = np.array([1, 10, 50, 1319])
    none = np.zeros(4, dtype=int)
    low, high = tango_interval(none, none, questions)
    z2 = stats.norm.ppf(0.975) ** 2
    assert high == pytest.approx(z2 / (questions + z2))
    assert low == pytest.approx(-high)


@given(counts())
def test_interval_and_exact_test_never_contradict_each_other(drawn):
    found = one(*drawn)
    assert (found["low"] > 0 or found["high"] < 0) == (found["p_different"] < 0.05)
    assert -100 <= found["low"] <= found["points"] <= found["high"] <= 100
    assert all(0 <= found[name] <= 1 for name in ("p_different", "p_equivalent"))


def test_where_the_exact_test_rejects_the_score_interval_excludes_zero_at_every_border():
    discordant = np.arange(6, 3000)
    most = stats.binom.ppf(0.025, discordant, 0.5).astype(int)
    fewer = np.where(mcnemar_exact(most, discordant - most) < 0.05, most, most - 1)
    assert (mcnemar_exact(fewer, discordant - fewer) < 0.05).all()
    low, _ = tango_interval(discordant - fewer, fewer, np.full(len(discordant), 3000))
    assert (low > 0).all()


@given(counts(), st.floats(0.1, 20))
def test_swapping_the_two_turns_the_sign(drawn, margin):
    only_a, only_b, questions = drawn
    found, swapped = one(only_a, only_b, questions, margin), one(only_b, only_a, questions, margin)
    assert swapped["points"] == -found["points"]
    assert (swapped["low"], swapped["high"]) == pytest.approx((-found["high"], -found["low"]), abs=1e-7)
    assert swapped["p_different"] == found["p_different"]
    assert swapped["p_equivalent"] == pytest.approx(found["p_equivalent"], abs=1e-9)


@given(counts())
def test_equivalence_is_the_ninety_percent_interval_within_the_margin(drawn):
    only_a, only_b, questions = drawn
    arrays = [np.array([each]) for each in drawn]

    def end(side):
        limit = side * (1 - 1e-9)
        estimate = (only_a - only_b) / questions

        def excess(difference):
            return float(score(*arrays, np.array([difference]))[0]) + side * stats.norm.ppf(0.95)

        if abs(estimate - side) < 1e-9 or excess(limit) * excess(estimate) > 0:
            return side
        return optimize.brentq(excess, estimate, limit)

    margin = 3.0
    edge = max(end(1), -end(-1))
    if abs(edge - margin / 100) > 1e-6:
        assert (one(*drawn, margin)["p_equivalent"] < 0.05) == (edge < margin / 100)


def test_equivalence_needs_evidence():
    assert one(1, 1, 1319)["p_equivalent"] < 0.001
    assert one(60, 60, 400)["p_equivalent"] > 0.05
    assert one(40, 0, 1319)["p_equivalent"] > 0.5


def test_many_at_once_are_as_one_by_one():
    rng = np.random.default_rng(0)
    only_a, only_b = rng.integers(0, 40, (2, 50))
    questions = rng.integers(80, 400, 50)
    together = paired_differences(only_a, only_b, questions, MARGIN)
    for place, values in enumerate(zip(only_a, only_b, questions, strict=True)):
        assert one(*values) == pytest.approx({k: v[place] for k, v in vars(together).items()})


def test_unpaired_is_the_normal_approximation():
    found = unpaired_differences(*(np.array([x]) for x in (56.0, 1.37, 52.0, 1.38)), MARGIN)
    error = np.hypot(1.37, 1.38)
    assert found.p_different[0] == pytest.approx(2 * stats.norm.sf(4 / error))
    assert (found.low[0], found.high[0]) == pytest.approx(stats.norm.interval(0.95, 4, error))
    above, below = stats.norm.sf(6 / error), stats.norm.cdf(2 / error)
    assert found.p_equivalent[0] == pytest.approx(max(above, below))


def test_unpaired_without_any_error_only_the_margin_decides():
    a, b, none = np.array([100.0, 100.0, 100.0]), np.array([100.0, 99.0, 0.0]), np.zeros(3)
    found = unpaired_differences(a, none, b, none, MARGIN)
    assert list(found.p_different) == [1, 0, 0]
    assert list(found.p_equivalent) == [0, 0, 1]


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_holm_is_that_of_statsmodels(size):
    p_values = np.random.default_rng(size).random(size) ** 4
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_step_by_step(p_values, level):
    rejected = 0
    for place, p in enumerate(sorted(p_values)):
        if p * (len(p_values) - place) > level:
            break
        rejected += 1
    assert np.count_nonzero(holm(np.array(p_values)) <= level) == rejected


def test_verdicts():
    words = verdicts(
        np.array([3.0, -3.0, 0.1, 0.1, 1.0]),
        np.array([0.01, 0.01, 0.8, 0.8, np.nan]),
        np.array([1.0, 1.0, 0.01, 0.2, np.nan]),
    )
    assert words == ["better", "worse", "equivalent", "inconclusive", None]


def test_a_detectable_difference_has_the_power_it_says():
    rng, questions, share = np.random.default_rng(0), 1000, 0.2
    discordant = np.array([int(questions * share)])
    for tests in (1, 15):
        points = detectable_paired(discordant, np.array([questions]), np.array([tests]))[0]
        a, b = drawn_counts(rng, questions, share, points / 100, 4000)
        assert np.mean(mcnemar_exact(a, b) < 0.05 / tests) == pytest.approx(0.8, abs=0.04)
    z = rng.normal(reach(np.array([15]))[0], 1, 20_000)
    assert np.mean(2 * stats.norm.sf(np.abs(z)) < 0.05 / 15) == pytest.approx(0.8, abs=0.01)


# By simulation. Pairs of correlated answers are drawn as their two discordant cells.


def drawn_counts(rng, questions, discordance, difference, repeats):
    """Discordant counts of so many evaluations whose true difference and share of discordant are given."""
    cells = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    drawn = rng.multinomial(questions, cells, size=repeats)
    return drawn[:, 0], drawn[:, 1]


def rates(rng, questions, discordance, repeats):
    """False positives of McNemar and TOST, and Tango's coverage at no and at a true difference."""
    size = np.full(repeats, questions)
    a, b = drawn_counts(rng, questions, discordance, 0.0, repeats)
    at_none = paired_differences(a, b, size, MARGIN)
    low, high = tango_interval(a, b, size)
    true = discordance / 2
    low_true, high_true = tango_interval(*drawn_counts(rng, questions, discordance, true, repeats), size)
    margin = min(MARGIN / 100, discordance)
    at_margin = paired_differences(
        *drawn_counts(rng, questions, discordance, margin, repeats), size, 100 * margin
    )
    return {
        "McNemar": np.mean(at_none.p_different < 0.05),
        "TOST": np.mean(at_margin.p_equivalent < 0.05),
        "Tango at 0": np.mean((low <= 0) & (high >= 0)),
        "Tango": np.mean((low_true <= true) & (true <= high_true)),
    }


def family_wise_error(rng, questions, discordance, repeats, tests=15):
    """Share of tables with any false verdict, by Holm, of so many comparisons without a difference."""
    a, b = drawn_counts(rng, questions, discordance, 0.0, repeats * tests)
    adjusted = holm_within(mcnemar_exact(a, b), np.repeat(np.arange(repeats), tests))
    return np.mean(adjusted.reshape(repeats, tests).min(axis=1) < 0.05)


def check_rates(found, expected_discordant):
    assert found["McNemar"] <= 0.055
    assert found["TOST"] <= 0.07  # an asymptotic test: up to 6.5 % where a single question decides
    assert found["Tango"] >= 0.92
    assert found["Tango at 0"] >= 0.92
    if expected_discordant >= 10:  # below, no interval can be so short: counts are whole
        assert found["Tango"] <= 0.98
        assert found["Tango at 0"] <= 0.98


@pytest.mark.parametrize(("questions", "discordance"), [(50, 0.3), (200, 0.1), (1319, 0.02), (1319, 0.2)])
def test_levels_and_coverage(questions, discordance):
    rng = np.random.default_rng(7)
    check_rates(rates(rng, questions, discordance, 4000), questions * discordance)
    assert family_wise_error(rng, questions, discordance, 500) <= 0.07


@pytest.mark.slow
def test_levels_and_coverage_over_the_whole_grid():
    """The table of docs/statistics_accuracy.md: `pytest -m slow -s -k whole_grid`."""
    rng = np.random.default_rng(0)
    print("\n| questions | discordant | McNemar | TOST | Tango at 0 | Tango | Holm |")
    for questions in (50, 100, 250, 500, 1319):
        for discordance in (0.02, 0.05, 0.1, 0.2, 0.3):
            found = rates(rng, questions, discordance, 20_000)
            found["Holm"] = family_wise_error(rng, questions, discordance, 2000)
            print(f"| {questions} | {discordance:.0%} | " + " | ".join(f"{x:.1%}" for x in found.values()))
            assert found["Holm"] <= 0.06
            check_rates(found, questions * discordance)
