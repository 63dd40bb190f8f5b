"""How often the mode finder claims modes: planted ones, and on step times of one kind.

Run as a script, with the project on PYTHONPATH, it prints the table in docs/statistics_modes.md.
"""

import numpy as np
import pytest

from results.statistics.modes import find_modes
from results.statistics.rounding import spread_ties

SIZES = (12, 20, 40, 100, 1000)


def autocorrelated(rng, count, share):
    noise = rng.normal(size=count) * np.sqrt(1 - share**2)
    noise[0] = rng.normal()
    for place in range(1, count):
        noise[place] += share * noise[place - 1]
    return noise


def planted(weights, gap, sigma):
    """Log-normal modes `gap` sigmas apart with exact shares of the steps, the first at 14 s."""

    def draw(rng, count):
        kinds = np.searchsorted(np.cumsum(weights) * count, np.arange(count), side="right")
        return 14 * np.exp(sigma * (rng.normal(size=count) + gap * kinds))

    return draw


OCTAVE = np.log(2)
ONE_KIND = {
    "log-normal, sigma 0.1": lambda rng, count: 20 * rng.lognormal(0, 0.1, count),
    "log-normal, sigma 0.3": lambda rng, count: 20 * rng.lognormal(0, 0.3, count),
    "log-normal, sigma 1": lambda rng, count: 20 * rng.lognormal(0, 1.0, count),
    "gamma(2)": lambda rng, count: rng.gamma(2, 3, count),
    "20 s + gamma(2)": lambda rng, count: 20 + rng.gamma(2, 3, count),
    "10 s + exponential": lambda rng, count: 10 + rng.exponential(5, count),
    "normal, 2 % at 1.5 times": lambda rng, count: (
        28 + 0.3 * rng.normal(size=count) + 14 * (rng.random(count) < 0.02)
    ),
    "Student's t(3)": lambda rng, count: 28 * np.exp(0.02 * rng.standard_t(3, count)),
    "AR(1), 0.5": lambda rng, count: 28 * np.exp(0.05 * autocorrelated(rng, count, 0.5)),
    "AR(1), 0.8": lambda rng, count: 28 * np.exp(0.05 * autocorrelated(rng, count, 0.8)),
    "uniform, 10–20 s": lambda rng, count: rng.uniform(10, 20, count),
    "uniform, 27–29 s": lambda rng, count: rng.uniform(27, 29, count),
    "rounded to 0.1 s, sigma 0.4 s": lambda rng, count: np.round(20 + 0.4 * rng.normal(size=count), 1),
    "rounded to 0.1 s, sigma 0.1 s": lambda rng, count: np.round(28.6 + 0.1 * rng.normal(size=count), 1),
    "two kinds, D = 1.8": planted((0.5, 0.5), 1.8, 0.05),
}
SEVERAL_KINDS = {
    "14/28 s, 50:50": (2, planted((0.5, 0.5), OCTAVE / 0.03, 0.03)),
    "14/28 s, 80:20": (2, planted((0.8, 0.2), OCTAVE / 0.03, 0.03)),
    "14/28 s, 90:10": (2, planted((0.9, 0.1), OCTAVE / 0.03, 0.03)),
    "14/28 s, 50:50, wide (sigma 0.1)": (2, planted((0.5, 0.5), OCTAVE / 0.1, 0.1)),
    "14/28 s, 80:20, wide": (2, planted((0.8, 0.2), OCTAVE / 0.1, 0.1)),
    "50:50, D = 4": (2, planted((0.5, 0.5), 4, 0.05)),
    "50:50, D = 3": (2, planted((0.5, 0.5), 3, 0.05)),
    "50:50, D = 2.5": (2, planted((0.5, 0.5), 2.5, 0.05)),
    "14/28/56 s, equal": (3, planted((1 / 3, 1 / 3, 1 / 3), OCTAVE / 0.05, 0.05)),
}


def share_with(draw, count, repeats, wanted, first_seed=0):
    """Share of simulated runs in which `wanted` is true of the number of modes found."""
    hits = 0
    for seed in range(first_seed, first_seed + repeats):
        rng = np.random.default_rng(seed)
        _, mixture = find_modes(np.log(spread_ties(np.maximum(draw(rng, count), 0.1))), rng)
        hits += wanted(1 if mixture is None else len(mixture.locations))
    return hits / repeats


@pytest.mark.parametrize("name", ONE_KIND)
def test_one_kind_of_step_is_not_taken_for_several(name):
    shares = [share_with(ONE_KIND[name], count, 40, lambda modes: modes > 1) for count in (20, 40, 100)]
    assert np.mean(shares) <= 0.05


@pytest.mark.parametrize("name", [name for name in SEVERAL_KINDS if name.startswith("14/28")])
def test_planted_modes_of_a_hundred_steps_are_recovered(name):
    modes, draw = SEVERAL_KINDS[name]
    assert share_with(draw, 100, 12, lambda found: found == modes) == 1


def test_modes_just_above_the_limit_are_recovered_from_many_steps():
    assert share_with(SEVERAL_KINDS["50:50, D = 3"][1], 1000, 6, lambda found: found == 2) >= 5 / 6


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("name", ONE_KIND)
def test_one_kind_of_step_at_every_size(name, count):
    # 400 runs at a true rate of 5 % give at most 7.5 % in 99 cases of 100.
    assert share_with(ONE_KIND[name], count, 400, lambda modes: modes > 1, 5000) <= 0.075


def table(repeats=400):
    """Lines of the table: share of simulated runs in which several modes, or all planted ones, were found."""
    yield "| step times | " + " | ".join(f"n = {count}" for count in SIZES) + " |"
    yield "|---|" + "---|" * len(SIZES)
    rows = [(name, draw, lambda found: found > 1) for name, draw in ONE_KIND.items()]
    for name, (modes, draw) in SEVERAL_KINDS.items():
        rows.append((name, draw, lambda found, modes=modes: found == modes))
    for name, draw, wanted in rows:
        shares = [
            share_with(draw, count, repeats // 2 if count == 1000 else repeats, wanted, 5000)
            for count in SIZES
        ]
        yield f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
