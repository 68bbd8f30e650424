"""The surrogate, beyond what every agent is tested for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import torch
from test_agents import OPTIMUM, Lock, closeness, layers_env, lock_env, searched

from agents import RandomSearch, Surrogate
from agents.episodes import ledger
from agents.gaussian_process import Kernel, differences
from agents.surrogate import expected_improvement, likeliest
from nas_gym import Architecture, Evaluation, NASVectorEnv, Request
from nas_gym.search_spaces import LayerCNN

SPACE = Lock((1, 8, 8), 10)


class TestKernel:
    @pytest.mark.parametrize(
        "truth", [Kernel(5.0, 1e-3), Kernel(5.0, 0.3), Kernel(0.6, 1e-3), Kernel(0.6, 0.3)]
    )
    def test_the_one_that_made_the_values_is_found(self, truth: Kernel) -> None:
        random = np.random.default_rng(0)
        rows = random.integers(4, size=(300, 8)).tolist()
        difference = differences([Architecture("s", tuple((n,) for n in row)) for row in rows])
        covariance = truth(difference) + truth.noise * torch.eye(300)
        normal = torch.from_numpy(random.normal(size=300))
        found = likeliest(difference, torch.linalg.cholesky(covariance) @ normal)
        assert abs(math.log2(found.rate / truth.rate)) <= 1
        assert (found.noise > 0.05) == (truth.noise > 0.05)

    @pytest.mark.parametrize("weight", [0.0, 0.9])
    def test_counts_are_found_where_they_count(self, weight: float) -> None:
        truth = Kernel(2.5, 1e-2, counts=weight, counts_rate=2.5)
        random = np.random.default_rng(1)
        rows = random.integers(4, size=(200, 6)).tolist()
        difference = differences([Architecture("s", tuple((n,) for n in row)) for row in rows])
        covariance = truth(difference) + truth.noise * torch.eye(200)
        normal = torch.from_numpy(random.normal(size=200))
        values = torch.linalg.cholesky(covariance) @ normal
        assert abs(likeliest(difference, values, counts=True).counts - weight) <= 0.3
        assert likeliest(difference, values).counts == 0

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
        found = [e.scores["accuracy"] for seed in range(5) for e in searched(Surrogate, seed, 30)]
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

    def test_counts_are_looked_at_where_they_tell(self) -> None:
        def twos(architecture: Architecture, seed: int) -> float:
            return sum(dial == 2 for (dial,) in architecture.layers) / 5

        found = {}
        for look_up in (twos, closeness):
            agent = Surrogate(lock_env(5, look_up), seed=0, recipe="counts")
            agent.learn(60)
            assert agent.kernel is not None
            found[look_up] = agent.kernel.counts
        assert found[twos] > 0
        assert found[closeness] == 0

    @pytest.mark.parametrize("needed", [1, 2])
    def test_failures_do_not_hide_the_differences(self, needed: int) -> None:
        """Three quarters of the children fail, or fifteen of sixteen."""

        def look_up(architecture: Architecture, seed: int) -> Any:
            dials = [dial for (dial,) in architecture.layers]
            if dials[:needed] != list(OPTIMUM[:needed]):
                return Evaluation(Request(architecture, seed), "diverged")
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

    def test_searches_large_spaces(self) -> None:
        def look_up(architecture: Architecture, seed: int) -> float:
            return sum(layer[:2] == ("conv3", 64) for layer in architecture.layers) / 6

        space = LayerCNN((3, 32, 32), 10)  # about 10^15 architectures
        best = {}
        for agent_class in (Surrogate, RandomSearch):
            env = NASVectorEnv(5, search_space=space, source=helpers.answers(look_up))
            agent_class(env, seed=0).learn(100)
            best[agent_class] = ledger(env).best.scores["accuracy"]
        assert best[Surrogate] >= best[RandomSearch] + 2 / 6

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"batch_size": 0}, "batch_size of surrogate must be at least 1, got 0"),
            ({"initial": 1}, "initial of surrogate must be at least 2, got 1"),
            ({"clip": 0}, "clip of surrogate must be above 0, got 0"),
            ({"mutation": 5}, "did you mean 'mutations'"),
            ({"recipe": "ei"}, "unknown recipe of surrogate 'ei'; there are: counts, default"),
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
