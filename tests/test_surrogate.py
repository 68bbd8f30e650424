"""The surrogate and its Gaussian process, beyond what every agent is tested for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_agents import OPTIMUM, Lock, closeness, layers_env, lock_env, searched

from agents import RandomSearch, Surrogate
from agents.episodes import ledger
from agents.gaussian_process import (
    GaussianProcess,
    Kernel,
    encode,
    expected_improvement,
    likeliest,
)
from nas_gym import Architecture, Evaluation, NASVectorEnv, TableEvaluator
from nas_gym.search_spaces import LayerCNN

SPACE = Lock((1, 8, 8), 10)
SIZES = [3, 4, 2, 5]


def random_codes(count: int, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return random.integers(SIZES, size=(count, len(SIZES))).tolist()


class TestGaussianProcess:
    def test_products_of_encodings_are_shares_of_equal_codes(self) -> None:
        codes = random_codes(20)
        rows = encode(codes, SIZES)
        assert rows.shape == (20, sum(SIZES))
        equal = np.mean(np.array(codes)[:, None] == np.array(codes)[None], axis=2)
        assert np.allclose((rows @ rows.T).numpy(), equal)

    def test_posterior_is_that_of_the_textbook(self) -> None:
        """Against the joint normal distribution, conditioned by block inversion."""
        kernel = Kernel(length_scale=0.4, noise=0.1)
        known, asked = encode(random_codes(12), SIZES), encode(random_codes(5, 1), SIZES)
        values = torch.from_numpy(np.random.default_rng(2).normal(size=12))
        process = GaussianProcess(kernel, known, values)
        mean, covariance = process.predict(asked)

        def prior(a: torch.Tensor, b: torch.Tensor) -> np.ndarray[Any, Any]:
            differing = 1 - (a @ b.T).numpy()
            return process.variance * np.exp(-differing / 0.4)

        inverse = np.linalg.inv(prior(known, known) + 0.1 * process.variance * np.eye(12))
        across = prior(asked, known)
        assert np.allclose(mean, across @ inverse @ values.numpy())
        assert np.allclose(covariance, prior(asked, asked) - across @ inverse @ across.T)

    def test_the_variance_is_the_likeliest(self) -> None:
        kernel, points = Kernel(0.4, 0.1), encode(random_codes(15), SIZES)
        values = 3 * torch.from_numpy(np.random.default_rng(0).normal(size=15))
        process = GaussianProcess(kernel, points, values)

        def log_likelihood(variance: float) -> float:
            covariance = variance * (kernel.correlation(points, points) + 0.1 * torch.eye(15))
            zero = torch.zeros(15, dtype=torch.float64)
            normal = torch.distributions.MultivariateNormal(zero, covariance)
            return float(normal.log_prob(values))

        best = log_likelihood(process.variance)
        assert best > log_likelihood(1.1 * process.variance)
        assert best > log_likelihood(process.variance / 1.1)
        constant = 0.5 * 15 * (1 + math.log(2 * math.pi))
        assert best == pytest.approx(process.likelihood - constant)

    @pytest.mark.parametrize(
        "truth", [Kernel(0.2, 1e-3), Kernel(0.2, 0.3), Kernel(1.6, 1e-3), Kernel(1.6, 0.3)]
    )
    def test_the_kernel_that_made_the_values_is_found(self, truth: Kernel) -> None:
        generator = torch.Generator().manual_seed(0)
        sizes = [4] * 8
        points = encode(torch.randint(4, (300, 8), generator=generator).tolist(), sizes)
        covariance = truth.correlation(points, points) + truth.noise * torch.eye(300)
        normal = torch.randn(300, generator=generator, dtype=torch.float64)
        found = likeliest(points, torch.linalg.cholesky(covariance) @ normal)
        assert abs(math.log2(found.length_scale / truth.length_scale)) <= 1
        assert (found.noise > 0.05) == (truth.noise > 0.05)

    def test_expected_improvement_is_the_mean_of_the_excess(self) -> None:
        random = np.random.default_rng(0)
        for mean, deviation, best in ((0.0, 1.0, 0.5), (1.0, 0.3, 0.5), (-1.0, 0.5, 0.2)):
            draws = random.normal(mean, deviation, 400_000)
            excess = np.maximum(draws - best, 0)
            found = expected_improvement(torch.tensor(mean), torch.tensor(deviation), best)
            assert float(found) == pytest.approx(excess.mean(), abs=5 * excess.std() / 632)


class TestSurrogate:
    def test_begins_at_random(self) -> None:
        found = [searched(Surrogate, seed, 10, mutations=m) for seed in (0, 1) for m in (10, 200)]
        assert found[0] == found[1] != found[2]
        assert found[2] == found[3]

    def test_what_it_proposes_gets_better(self) -> None:
        found = [e.val_accuracy for seed in range(5) for e in searched(Surrogate, seed, 30)]
        by_turn = np.array(found).reshape(5, 3, 10).mean((0, 2))
        assert by_turn[1] > by_turn[0] + 0.1
        assert by_turn[2] > by_turn[0] + 0.2

    def test_works_without_random_candidates_or_without_mutations(self) -> None:
        for options in ({"mutations": 0}, {"random": 0}, {"mutations": 0, "random": 0}):
            assert len(searched(Surrogate, 0, 40, **options)) == 40

    @pytest.mark.parametrize(
        "changes",
        [
            {"initial": 20},
            {"incumbents": 1},
            {"mutations": 20},
            {"changes": 1},
            {"random": 0},
            {"clip": 0.5},
        ],
    )
    def test_every_option_changes_the_search(self, changes: dict[str, Any]) -> None:
        plain, other = (searched(Surrogate, 0, 60, **options) for options in ({}, changes))
        assert [e.architecture for e in plain] != [e.architecture for e in other]

    @pytest.mark.parametrize("needed", [1, 2])
    def test_failures_do_not_hide_the_differences(self, needed: int) -> None:
        """Three quarters of the children fail, or fifteen of sixteen."""

        def look_up(architecture: Architecture, seed: int) -> Any:
            dials = [dial for (dial,) in architecture.layers]
            if dials[:needed] != list(OPTIMUM[:needed]):
                return Evaluation(architecture, "diverged")
            return 0.9 + 0.01 * closeness(architecture)

        hits = 0
        for seed in range(5):
            env = lock_env(5, look_up)
            Surrogate(env, seed=seed).learn(100)
            hits += ledger(env).best.architecture == SPACE.decode(OPTIMUM)
        assert hits >= 3

    @pytest.mark.parametrize("value", [0.0, 0.7])
    def test_plays_on_where_all_rewards_are_equal(self, value: float) -> None:
        env = lock_env(5, lambda architecture, seed: value)
        Surrogate(env, seed=0).learn(60)
        assert ledger(env).distinct == 60

    def test_decisions_without_an_alternative_have_a_code_of_their_own(self) -> None:
        agent = Surrogate(layers_env(5), seed=0)
        # The widths of an identity and of a narrow convolution are both action 0.
        rows = agent._encoded([[0] * 12, [1] + [0] * 11, [1, 1] + [0] * 10])
        shares = (rows @ rows.T) * 12
        assert shares[0, 1].item() == pytest.approx(8)
        assert shares[1, 2].item() == pytest.approx(11)

    def test_searches_large_spaces(self) -> None:
        def look_up(architecture: Architecture, seed: int) -> float:
            return sum(layer[:2] == ("conv3", 64) for layer in architecture.layers) / 6

        space = LayerCNN((3, 32, 32), 10)  # about 10^15 architectures
        best = {}
        for agent_class in (Surrogate, RandomSearch):
            env = NASVectorEnv(5, search_space=space, evaluator=TableEvaluator(look_up))
            agent_class(env, seed=0).learn(100)
            best[agent_class] = ledger(env).best.val_accuracy
        assert best[Surrogate] >= best[RandomSearch] + 2 / 6

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"batch_size": 0}, "batch_size of surrogate must be at least 1, got 0"),
            ({"initial": 1}, "initial of surrogate must be at least 2, got 1"),
            ({"clip": 0}, "clip of surrogate must be above 0, got 0"),
            ({"mutation": 5}, "did you mean 'mutations'"),
            ({"recipe": "ei"}, "unknown recipe of surrogate 'ei'; there are: default"),
        ],
    )
    def test_wrong_options_are_named(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Surrogate(lock_env(1), seed=0, **options)

    def test_a_file_of_another_space_is_refused(self, tmp_path: Path) -> None:
        path = str(tmp_path / "agent.pt")
        Surrogate(lock_env(5), seed=0).save(path)
        with pytest.raises(ValueError, match="another space"):
            Surrogate(layers_env(5), seed=0).load(path)
