"""Algorithms of other libraries on the environment as it is, each in a few lines.

Run as ``python library_plays.py LIBRARY``: every algorithm trains small networks for digits until a
budget ends its endless loop, and a line of JSON says how many. ``test_libraries.py`` does so, in
a process of its own for each library: some start processes, and all have warnings of their own.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import nn

import nas_gym  # noqa: F401  (registers the ids)
from agents.budget import Budgeted, BudgetedEnv

ENV, BUDGET, STEPS = "nas_gym/Digits-v0", 6, 12
OPTIONS = {
    "search_space": "plain_cnn",
    "recipe": {"epochs": 1, "train_images": 64, "batch_size": 32, "bn_images": 64},
}
FOR_EVER = 1_000_000_000  # steps

Play = Callable[[Any], None]  # plays an environment for ever


@dataclass(frozen=True)
class Library:
    """A library and what plays.

    Attributes:
        name: As it calls itself.
        url: Where it is found.
        module: What is imported.
        distribution: What is installed; its version is told.
        algorithms: By name, each makes an environment, plays it until the budget is spent, and
            returns it.
    """

    name: str
    url: str
    module: str
    distribution: str
    algorithms: dict[str, Callable[[], BudgetedEnv]]


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, outputs))


# ------------------------------------------------------------------------------ Stable-Baselines3


ROLLOUT = {"n_steps": 4 * STEPS, "batch_size": 4 * STEPS}
REPLAY = {"buffer_size": 10_000, "learning_starts": 4 * STEPS}


def sb3(package: str, name: str, **settings: Any) -> Play:
    def play(env: Any) -> None:
        algorithm = getattr(importlib.import_module(package), name)
        policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
        algorithm(policy, env, gamma=1.0, device="cpu", **settings).learn(FOR_EVER)

    return play


# --------------------------------------------------------------------------------------- Tianshou


def tianshou_ppo(env: Any) -> None:
    from tianshou.algorithm import PPO
    from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.utils.net.common import Net
    from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
    from torch.distributions import Categorical

    net = Net(state_shape=env.observation_space.shape, hidden_sizes=[32])
    actor = DiscreteActor(preprocess_net=net, action_shape=env.action_space.n, softmax_output=False)
    policy = ProbabilisticActorPolicy(
        actor=actor,
        dist_fn=lambda logits: Categorical(logits=logits),
        action_space=env.action_space,
        action_scaling=False,
    )
    algorithm = PPO(
        policy=policy,
        critic=DiscreteCritic(preprocess_net=net),
        optim=AdamOptimizerFactory(lr=1e-3),
        gamma=1.0,
        gae_lambda=1.0,
    )
    tianshou_loop(env, algorithm, {"n_episode": 4}, {"batch_size": None, "repeat": 4}, forget=True)


def tianshou_dqn(env: Any) -> None:
    from tianshou.algorithm import DQN
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.utils.net.common import Net

    shape, actions = env.observation_space.shape, env.action_space.n
    policy = DiscreteQLearningPolicy(
        model=Net(state_shape=shape, action_shape=actions, hidden_sizes=[32]),
        action_space=env.action_space,
        eps_training=0.5,
    )
    algorithm = DQN(
        policy=policy, optim=AdamOptimizerFactory(lr=1e-3), gamma=1.0, target_update_freq=10
    )
    tianshou_loop(env, algorithm, {"n_step": STEPS}, {"sample_size": 32})


def tianshou_loop(
    env: Any, algorithm: Any, collect: Any, update: Any, forget: bool = False
) -> None:
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.utils.torch_utils import policy_within_training_step

    buffer = VectorReplayBuffer(10_000, 1)
    collector = Collector(
        algorithm,
        DummyVectorEnv([lambda: env]),
        buffer,
        exploration_noise=True,
        raise_on_nan_in_buffer=False,  # texts of the last step's info have no value before
    )
    collector.reset()
    while True:
        with policy_within_training_step(algorithm.policy):
            collector.collect(**collect)
            algorithm.update(buffer, **update)
        if forget:
            buffer.reset()


# ---------------------------------------------------------------------------------------- TorchRL


def torchrl_ppo(env: Any) -> None:
    from tensordict.nn import TensorDictModule
    from torchrl.collectors import Collector
    from torchrl.envs import GymWrapper
    from torchrl.modules import ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    inputs, actions = env.observation_space.shape[0], int(env.action_space.n)
    policy = TensorDictModule(perceptron(inputs, actions), ["observation"], ["logits"])
    actor = ProbabilisticActor(
        policy,
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        return_log_prob=True,
    )
    critic = ValueOperator(perceptron(inputs, 1))
    loss = ClipPPOLoss(actor, critic)
    advantage = GAE(gamma=1.0, lmbda=1.0, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    played = GymWrapper(env, categorical_action_encoding=True)
    for batch in Collector(played, actor, frames_per_batch=4 * STEPS, total_frames=-1):
        for _ in range(4):
            advantage(batch)
            losses = loss(batch)
            optimizer.zero_grad()
            sum(losses[f"loss_{part}"] for part in ("objective", "critic", "entropy")).backward()
            optimizer.step()


def torchrl_dqn(env: Any) -> None:
    from tensordict.nn import TensorDictSequential
    from torchrl.collectors import Collector
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
    from torchrl.envs import GymWrapper
    from torchrl.modules import EGreedyModule, QValueActor
    from torchrl.objectives import DQNLoss, SoftUpdate

    played = GymWrapper(env, categorical_action_encoding=True)
    inputs, actions = env.observation_space.shape[0], int(env.action_space.n)
    actor = QValueActor(perceptron(inputs, actions), spec=played.action_spec)
    explorer = TensorDictSequential(
        actor, EGreedyModule(played.action_spec, eps_init=0.5, eps_end=0.5)
    )
    loss = DQNLoss(actor, action_space=played.action_spec, delay_value=True)
    loss.make_value_estimator(gamma=1.0)
    target = SoftUpdate(loss, tau=0.05)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    memory = TensorDictReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=32)
    for batch in Collector(played, explorer, frames_per_batch=STEPS, total_frames=-1):
        memory.extend(batch)
        optimizer.zero_grad()
        loss(memory.sample())["loss"].backward()
        optimizer.step()
        target.step()


# ------------------------------------------------------------------------------------------ RLlib


def rllib(algorithm: str, **settings: Any) -> Callable[[], BudgetedEnv]:
    """RLlib makes environments by itself, so the budget goes onto the one that it made."""

    def play() -> BudgetedEnv:
        import ray
        from ray.tune.registry import get_trainable_cls, register_env

        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        register_env("nas", lambda options: gym.make(ENV, **options))
        config = get_trainable_cls(algorithm).get_default_config()
        config = config.environment("nas", env_config=OPTIONS).env_runners(num_env_runners=0)
        trained = config.training(gamma=1.0, lr=1e-3, **settings).build_algo()
        with Budgeted(trained.env_runner.env.unwrapped.envs[0], BUDGET) as env:
            while True:
                trained.train()
        ray.shutdown()
        return env

    return play


# ------------------------------------------------------------------------------------------- all


def played(play: Play) -> Callable[[], BudgetedEnv]:
    """The environment of ``gymnasium.make``, played within the budget."""

    def run() -> BudgetedEnv:
        with Budgeted(gym.make(ENV, **OPTIONS), BUDGET) as env:
            play(env)
        return env

    return run


LIBRARIES = {
    library.module: library
    for library in (
        Library(
            "Stable-Baselines3",
            "https://github.com/DLR-RM/stable-baselines3",
            "stable_baselines3",
            "stable-baselines3",
            {
                "PPO": played(sb3("stable_baselines3", "PPO", **ROLLOUT)),
                "A2C": played(sb3("stable_baselines3", "A2C", n_steps=STEPS)),
                "DQN": played(sb3("stable_baselines3", "DQN", **REPLAY)),
            },
        ),
        Library(
            "sb3-contrib",
            "https://github.com/Stable-Baselines-Team/stable-baselines3-contrib",
            "sb3_contrib",
            "sb3-contrib",
            {
                "MaskablePPO": played(sb3("sb3_contrib", "MaskablePPO", **ROLLOUT)),
                "RecurrentPPO": played(sb3("sb3_contrib", "RecurrentPPO", **ROLLOUT)),
                "TRPO": played(sb3("sb3_contrib", "TRPO", **ROLLOUT)),
                "QR-DQN": played(sb3("sb3_contrib", "QRDQN", **REPLAY)),
            },
        ),
        Library(
            "Tianshou",
            "https://github.com/thu-ml/tianshou",
            "tianshou",
            "tianshou",
            {"PPO": played(tianshou_ppo), "DQN": played(tianshou_dqn)},
        ),
        Library(
            "TorchRL",
            "https://github.com/pytorch/rl",
            "torchrl",
            "torchrl",
            {"PPO": played(torchrl_ppo), "DQN": played(torchrl_dqn)},
        ),
        Library(
            "RLlib",
            "https://github.com/ray-project/ray",
            "ray.rllib",
            "ray",
            {
                "PPO": rllib(
                    "PPO", train_batch_size=4 * STEPS, minibatch_size=4 * STEPS, num_epochs=4
                )
            },
        ),
    )
}


def main(module: str) -> None:
    """Play with every algorithm of a library, and print a line for each."""
    torch.set_num_threads(1)
    library = LIBRARIES[module]
    for algorithm, play in library.algorithms.items():
        env = play()
        row = {
            "algorithm": algorithm,
            "version": importlib.metadata.version(library.distribution),
            "distinct": env.distinct,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
