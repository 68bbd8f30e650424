"""Gaussian processes over architectures: differences, kernels, posteriors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from agents.gaussian_process import Differences, GaussianProcess, Kernel, Posterior, differences
from nas_gym import Architecture
from nas_gym.search_spaces import LayerCNN

KERNELS = [
    Kernel(2.5, 0.1),
    Kernel(2.5, 0.1, linear=0.4),
    Kernel(2.5, 0.1, counts=0.6, counts_rate=4.0),
    Kernel(0.7, 1e-3, linear=0.6, counts=0.9, counts_rate=0.6),
]
SPACE = LayerCNN((1, 8, 8), 10)


def cell(*operations: int) -> Architecture:
    return Architecture("cell", tuple((operation,) for operation in operations))


def cells(count: int, seed: int = 0) -> list[Architecture]:
    random = np.random.default_rng(seed)
    return [cell(*row) for row in random.integers([3, 4, 2, 5], size=(count, 4)).tolist()]


def split(architectures: list[Architecture], known: int) -> list[Differences]:
    """Among the known, across to the others, and among these."""
    difference = differences(architectures)
    seen, asked = slice(known), slice(known, None)
    pairs = ((seen, seen), (seen, asked), (asked, asked))
    return [difference.between(rows, columns) for rows, columns in pairs]


class TestDifferences:
    def test_slots_are_compared_in_place_and_counts_anywhere(self) -> None:
        found = differences([cell(0, 0, 1, 2), cell(0, 1, 0, 2), cell(3, 3, 3, 3)])
        assert found.slots.tolist() == [[0, 0.5, 1], [0.5, 0, 1], [1, 1, 0]]
        assert found.counts.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]

    def test_the_same_value_at_another_place_of_a_layer_is_another_choice(self) -> None:
        one, other = Architecture("s", ((1, 2), (1, 2))), Architecture("s", ((2, 1), (2, 1)))
        assert differences([one, other]).counts[0, 1] == 1

    def test_a_layer_that_is_not_there_differs_from_every_layer(self) -> None:
        found = differences([cell(0, 1), cell(0, 1, 1, 1), cell()])
        assert found.slots[0].tolist() == [0, 0.5, 0.5]
        assert found.counts[0].tolist() == [0, 0.5, 0.5]

    def test_networks_without_a_layer_do_not_differ(self) -> None:
        found = differences([cell(), cell()])
        assert found.slots.eq(0).all()
        assert found.counts.eq(0).all()

    @given(st.lists(st.lists(st.integers(0, 6), min_size=24, max_size=24), min_size=2, max_size=6))
    def test_they_are_distances_and_counts_never_exceed_slots(self, rows: list[list[int]]) -> None:
        found = differences([SPACE.decode(row) for row in rows])
        for matrix in (found.slots, found.counts):
            assert torch.equal(matrix, matrix.T)
            assert matrix.diagonal().eq(0).all()
            assert ((matrix >= 0) & (matrix <= 1)).all()
            for i, j, k in itertools.product(range(len(rows)), repeat=3):
                assert matrix[i, k] <= matrix[i, j] + matrix[j, k] + 1e-12
        assert (found.counts <= found.slots + 1e-12).all()


class TestKernel:
    def test_is_the_squared_exponential_on_the_one_hot_encoding(self) -> None:
        architectures = cells(10)
        rows = torch.tensor([[op for (op,) in a.layers] for a in architectures])
        points = torch.nn.functional.one_hot(rows, 5).flatten(1).double()
        squares = torch.cdist(points, points) ** 2  # two for every slot that differs
        found = Kernel(2.5, 0.1)(differences(architectures))
        assert torch.allclose(found, torch.exp(-2.5 * squares / 8))

    @pytest.mark.parametrize("kernel", KERNELS)
    def test_is_a_correlation(self, kernel: Kernel) -> None:
        architectures = list(dict.fromkeys(cells(60)))
        values = kernel(differences(architectures))
        assert torch.equal(values, values.T)
        assert torch.allclose(values.diagonal(), torch.ones(len(values), dtype=torch.float64))
        assert float(torch.linalg.eigvalsh(values).min()) > -1e-9

    def test_with_counts_order_matters_less(self) -> None:
        difference = differences([cell(0, 1, 2, 3), cell(3, 2, 1, 0), cell(4, 4, 4, 4)])
        plain, counting = (Kernel(3.0, 0.1, counts=weight)(difference) for weight in (0.0, 0.9))
        assert plain[0, 1] == plain[0, 2]
        assert counting[0, 1] > counting[0, 2] + 0.3


class TestGaussianProcess:
    @pytest.mark.parametrize("kernel", KERNELS)
    def test_posterior_is_that_of_the_textbook(self, kernel: Kernel) -> None:
        """Against the joint normal distribution, conditioned by block inversion."""
        architectures = list(dict.fromkeys(cells(30)))[:17]
        among, across, others = split(architectures, 12)
        values = torch.from_numpy(np.random.default_rng(2).normal(size=12))
        process = GaussianProcess(kernel, among, values)
        belief = process.predict(across, others)
        prior = process.variance * kernel(differences(architectures))
        noisy = prior[:12, :12] + kernel.noise * process.variance * torch.eye(12)
        inverse = torch.linalg.inv(noisy)
        gain = prior[12:, :12] @ inverse
        assert torch.allclose(belief.mean, gain @ values, atol=1e-3)
        expected = prior[12:, 12:] - gain @ prior[:12, 12:]
        assert torch.allclose(belief.covariance, expected, atol=1e-3)

    def test_the_variance_is_the_likeliest(self) -> None:
        kernel, difference = Kernel(2.5, 0.1), differences(cells(15))
        values = 3 * torch.from_numpy(np.random.default_rng(0).normal(size=15))
        process = GaussianProcess(kernel, difference, values)

        def log_likelihood(variance: float) -> float:
            covariance = variance * (kernel(difference) + (0.1 + 1e-6) * torch.eye(15))
            zero = torch.zeros(15, dtype=torch.float64)
            normal = torch.distributions.MultivariateNormal(zero, covariance)
            return float(normal.log_prob(values))

        best = log_likelihood(process.variance)
        assert best > log_likelihood(1.1 * process.variance)
        assert best > log_likelihood(process.variance / 1.1)
        constant = 0.5 * 15 * (1 + math.log(2 * math.pi))
        assert best == pytest.approx(process.likelihood - constant)

    def test_what_counts_tell_is_known_of_architectures_never_seen(self) -> None:
        """A value is how often a choice was made; most orders were never evaluated."""
        everything = [cell(*row) for row in itertools.product(range(3), repeat=5)]
        order = np.random.default_rng(0).permutation(len(everything))
        architectures = [everything[index] for index in order]
        truth = torch.tensor([float(sum(op == 2 for (op,) in a.layers)) for a in architectures])
        among, across, others = split(architectures, 20)
        error = {}
        for weight in (0.0, 0.9):
            kernel = Kernel(2.5, 1e-3, counts=weight, counts_rate=2.0)
            values = truth[:20].double() - truth[:20].mean()
            belief = GaussianProcess(kernel, among, values).predict(across, others)
            left = belief.mean + truth[:20].mean() - truth[20:]
            error[weight] = float((left**2).mean().sqrt())
        assert error[0.9] < 0.75 * error[0.0]


@pytest.mark.parametrize("spread", [1.0, 0.5])
def test_draws_have_the_mean_and_covariance_of_the_belief(spread: float) -> None:
    random = np.random.default_rng(0)
    root = torch.from_numpy(random.normal(size=(3, 3)))
    belief = Posterior(torch.tensor([1.0, -2.0, 0.0], dtype=torch.float64), root @ root.T)
    draws: Tensor = torch.stack([belief.draw(random, spread) for _ in range(20_000)])
    assert torch.allclose(draws.mean(0), belief.mean, atol=0.1)
    assert torch.allclose(torch.cov(draws.T), spread**2 * belief.covariance, atol=0.2 * spread**2)
