"""A mixture of normal distributions in one dimension over a flat background, fitted by
expectation-maximisation.

The background, uniform over the range of the data, takes up the few far values that would otherwise widen
a component or take one for themselves (Banfield & Raftery 1993, Model-based Gaussian and non-Gaussian
clustering).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MAX_ITERATIONS = 200
_TOLERANCE = 1e-6
"""Log-likelihood gained in a step of the iteration, per value."""
_FIRST_BACKGROUND = 0.02
_MOST_BACKGROUND = 0.1
"""Of the weight: or a flat background alone would pass for any set of modes."""
_LEAST_WEIGHT = 1e-9


@dataclass(frozen=True)
class Mixture:
    """Components by location. The weights and the background's sum to one."""

    locations: FloatArray
    spreads: FloatArray
    weights: FloatArray

    def ashman_d(self, left: int) -> float:
        """How far component `left` and the next are apart: sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2)."""
        gap = self.locations[left + 1] - self.locations[left]
        return float(np.sqrt(2) * gap / np.hypot(self.spreads[left], self.spreads[left + 1]))

    def has_valley(self, left: int) -> bool:
        """Whether the density between component `left` and the next falls below both of their peaks."""
        points = np.linspace(self.locations[left], self.locations[left + 1], 201)
        density = np.exp(self.log_joint(points)).sum(axis=1)
        return bool(density.min() < min(density[0], density[-1]))

    def log_joint(self, values: FloatArray) -> FloatArray:
        """Log of weight times density of each component, (values, components)."""
        scaled = (values[:, None] - self.locations) / self.spreads
        constant = np.log(np.maximum(self.weights, _LEAST_WEIGHT) / self.spreads) - 0.5 * np.log(2 * np.pi)
        return np.asarray(constant - 0.5 * scaled**2, dtype=np.float64)

    def likeliest(self, values: FloatArray) -> IntArray:
        """The component each value most likely comes from."""
        return np.asarray(self.log_joint(values).argmax(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class Fit:
    """The likeliest mixture found."""

    mixture: Mixture
    bic: float
    """Bayesian information criterion, less is better (Schwarz 1978)."""
    aic: float
    """Akaike's, less is better (Akaike 1974)."""


def fit_mixture(values: FloatArray, components: int) -> Fit:
    """The likeliest mixture found from two starts: cuts at equal shares, and cuts at the widest gaps.

    The gaps are those within the middle 95 % of the values. A spread may not fall below a hundredth of the
    data's: a component on one point would have an unbounded likelihood.

    Args:
        values: more than `components`, not all equal.
        components: at least 1.
    """
    ordered = np.sort(values)
    count = len(ordered)
    outer = count // 40
    gaps = np.diff(ordered)[outer : count - 1 - outer]
    starts = [np.linspace(0, count, components + 1).astype(np.int64)[1:-1]]
    if components > 1:
        starts.append(np.sort(np.argsort(gaps)[::-1][: components - 1]) + outer + 1)
    fits = [_maximise(ordered, cuts) for cuts in starts]
    best, log_likelihood = max(fits, key=lambda fit: fit[1])
    order = np.argsort(best.locations)
    mixture = Mixture(best.locations[order], best.spreads[order], best.weights[order])
    parameters = 3 * components  # locations, spreads, and the weights with the background's, less one
    deviance = -2 * log_likelihood
    return Fit(mixture, deviance + parameters * float(np.log(count)), deviance + 2 * parameters)


def _maximise(ordered: FloatArray, cuts: IntArray) -> tuple[Mixture, float]:
    """Expectation-maximisation from a partition of the sorted values; the mixture and its log-likelihood."""
    floor = float(ordered.std()) / 100
    density = 1 / float(np.ptp(ordered))
    parts = np.split(ordered, cuts)
    background = _FIRST_BACKGROUND
    mixture = Mixture(
        np.array([part.mean() for part in parts]),
        np.array([max(float(part.std()), floor) for part in parts]),
        np.array([len(part) / len(ordered) for part in parts]) * (1 - background),
    )
    reached = -np.inf
    for _ in range(_MAX_ITERATIONS):
        joint = np.exp(mixture.log_joint(ordered))
        total = joint.sum(axis=1) + background * density
        log_likelihood = float(np.log(total).sum())
        if log_likelihood - reached < _TOLERANCE * len(ordered):
            break
        reached = log_likelihood
        share = joint / total[:, None]
        mass = np.maximum(share.sum(axis=0), _LEAST_WEIGHT)
        locations = ordered @ share / mass
        variance = (share * (ordered[:, None] - locations) ** 2).sum(axis=0) / mass
        background = float(np.clip(1 - mass.sum() / len(ordered), _LEAST_WEIGHT, _MOST_BACKGROUND))
        weights = (1 - background) * mass / mass.sum()
        mixture = Mixture(locations, np.maximum(np.sqrt(variance), floor), weights)
    return mixture, log_likelihood
