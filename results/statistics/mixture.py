"""A mixture of normal distributions in one dimension, fitted by expectation-maximisation.

Small enough to own: scikit-learn, which has one, is in the environment only because lm-eval wants it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

FloatArray = npt.NDArray[np.float64]

_MAX_ITERATIONS = 500
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Mixture:
    """Components by location."""

    locations: FloatArray
    spreads: FloatArray
    weights: FloatArray

    def ashman_d(self, left: int) -> float:
        """How far component `left` and the next are apart: sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2)."""
        gap = self.locations[left + 1] - self.locations[left]
        return float(np.sqrt(2) * gap / np.hypot(self.spreads[left], self.spreads[left + 1]))

    def density(self, points: FloatArray) -> FloatArray:
        """The mixture's density, up to the weight of components left out."""
        parts = stats.norm.pdf(points[:, None], self.locations, self.spreads)
        return np.asarray(parts @ self.weights, dtype=np.float64)

    def has_valley(self, left: int) -> bool:
        """Whether the density between component `left` and the next falls below both of their peaks."""
        points = np.linspace(self.locations[left], self.locations[left + 1], 201)
        density = self.density(points)
        return bool(density.min() < min(density[0], density[-1]))


def fit_mixture(values: FloatArray, components: int) -> Mixture:
    """The likeliest mixture found from two starts: cuts at equal shares, and cuts at the widest gaps.

    A spread may not fall below a hundredth of the data's: a component on one point would have an
    unbounded likelihood.
    """
    ordered = np.sort(values)
    floor = max(float(values.std()) / 100, 1e-9)
    equal = np.linspace(0, len(ordered), components + 1).astype(int)[1:-1]
    widest = np.sort(np.argsort(np.diff(ordered))[::-1][: components - 1] + 1)
    fits = [_maximise(ordered, cuts, floor) for cuts in (equal, widest)]
    best, _ = max(fits, key=lambda fit: fit[1])
    order = np.argsort(best.locations)
    return Mixture(best.locations[order], best.spreads[order], best.weights[order])


def _maximise(ordered: FloatArray, cuts: npt.NDArray[np.int64], floor: float) -> tuple[Mixture, float]:
    """Expectation-maximisation from a partition of the sorted values; the mixture and its log-likelihood."""
    parts = np.split(ordered, cuts)
    mixture = Mixture(
        np.array([part.mean() for part in parts]),
        np.array([max(part.std(), floor) for part in parts]),
        np.array([len(part) / len(ordered) for part in parts]),
    )
    reached = -np.inf
    for _ in range(_MAX_ITERATIONS):
        joint = stats.norm.logpdf(ordered[:, None], mixture.locations, mixture.spreads) + np.log(
            mixture.weights
        )
        total = special.logsumexp(joint, axis=1)
        likelihood = float(total.sum())
        if likelihood - reached < _TOLERANCE * abs(likelihood):
            break
        reached = likelihood
        share = np.exp(joint - total[:, None])
        mass = np.maximum(share.sum(axis=0), 1e-12)
        locations = (share * ordered[:, None]).sum(axis=0) / mass
        variance = (share * (ordered[:, None] - locations) ** 2).sum(axis=0) / mass
        mixture = Mixture(locations, np.maximum(np.sqrt(variance), floor), mass / len(ordered))
    return mixture, likelihood
