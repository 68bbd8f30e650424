"""Statistics of few runs, in plain numpy.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
arXiv 2108.13264: interquartile means and probabilities of improvement, with percentile bootstrap
intervals over the seeds, resampled within each environment. Every random number comes from a
fixed seed, so the same runs give the same figures to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]

RESAMPLES = 2_000
BAND_RESAMPLES = 1_000  # at every point of a curve
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A statistic and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies in the interval."""
        return self.low <= 0 <= self.high


def iqm(values: Any, axis: int = -1) -> Any:
    """Interquartile mean: the mean without the lowest and the highest quarter.

    Each of them has ``int(n / 4)`` values, as in ``scipy.stats.trim_mean(values, 0.25)``.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=axis)
    size = ordered.shape[axis]
    kept = np.arange(size // 4, size - size // 4)
    return np.take(ordered, kept, axis=axis).mean(axis=axis)


def estimate(
    strata: Sequence[Values],
    statistic: Callable[..., Any] = iqm,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic of all runs, with its stratified bootstrap interval.

    Args:
        strata: One array of runs per environment; each is resampled by itself.
        statistic: Called with values and ``axis=``, e.g. `iqm` or `numpy.mean`.
        resamples: Number of bootstrap samples.
        seed: Of the resampling.
    """
    random = np.random.default_rng(seed)
    drawn = [one[random.integers(len(one), size=(resamples, len(one)))] for one in strata]
    samples = statistic(np.concatenate(drawn, axis=1), axis=1)
    return Estimate(float(statistic(np.concatenate(strata), axis=0)), *_percentiles(samples))


def band(curves: Values, statistic: Callable[..., Any] = iqm, seed: int = 0) -> Values:
    """A statistic of curves at every point of their axis, with its interval.

    Args:
        curves: ``(runs, points)``.
        statistic: As in `estimate`.
        seed: Of the resampling.

    Returns:
        ``(3, points)``: value, low end, high end.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(len(curves), size=(BAND_RESAMPLES, len(curves)))
    known: dict[bytes, Estimate] = {}
    for column in curves.T:  # between two steps of any run nothing changes
        if column.tobytes() not in known:
            samples = statistic(column[drawn], axis=1)
            found = Estimate(float(statistic(column, axis=0)), *_percentiles(samples))
            known[column.tobytes()] = found
    return np.array([known[column.tobytes()] for column in curves.T]).reshape(-1, 3).T


def probability_of_improvement(
    pairs: Sequence[tuple[Values, Values]], resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """How probable it is that a run of X beats a run of Y, averaged over environments.

    A tie counts one half (Agarwal et al. 2021, section 4.3; the Mann-Whitney U statistic).

    Args:
        pairs: The runs of X and those of Y in each environment, higher is better.
        resamples: Number of bootstrap samples.
        seed: Of the resampling.
    """
    random = np.random.default_rng(seed)
    wins = [(x[:, None] > y) + 0.5 * (x[:, None] == y) for x, y in pairs]
    samples = np.zeros(resamples)
    for matrix in wins:  # how often each run is drawn says all about a sample
        x, y = (random.multinomial(n, np.full(n, 1 / n), resamples) / n for n in matrix.shape)
        samples += np.einsum("ri,ij,rj->r", x, matrix, y, optimize=True) / len(wins)
    value = float(np.mean([matrix.mean() for matrix in wins]))
    return Estimate(value, *_percentiles(samples.round(12)))  # ties are one half, exactly


def paired_difference(
    first: Mapping[Hashable, float],
    second: Mapping[Hashable, float],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean of ``first - second`` over the keys (seeds) that both have, with its interval.

    Raises:
        ValueError: They have no key in common.
    """
    common = [key for key in first if key in second]
    if not common:
        raise ValueError("the two have no seed in common")
    differences = np.array([first[key] - second[key] for key in common], dtype=np.float64)
    return estimate([differences], np.mean, resamples, seed)


def step_curve(
    xs: Sequence[float] | Values, ys: Sequence[float] | Values, axis: Sequence[float] | Values
) -> Values:
    """A step function at the points of an axis: each y holds from its x on.

    Args:
        xs: Where the steps are, rising.
        ys: The values from there on.
        axis: Where to read.

    Returns:
        One value per point; NaN before the first step.
    """
    places = np.searchsorted(np.asarray(xs), np.asarray(axis), side="right")
    return np.concatenate([[np.nan], np.asarray(ys, dtype=np.float64)])[places]


def _percentiles(samples: Values) -> Iterator[float]:
    tail = 50 * (1 - CONFIDENCE)
    return map(float, np.percentile(samples, [tail, 100 - tail]))
