"""PPO in one file, in the style of CleanRL (Huang et al. 2022): PyTorch and Gymnasium only.

    python examples/cleanrl_ppo.py --env-id nas_gym/Digits-v0 --budget 60
    python examples/cleanrl_ppo.py --env-id nas_gym/NASBench201-v0 --record runs/compare

All that it knows of nas_gym is the ids and `Budgeted`, which ends the endless loop.
"""

import json
import random
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
import tyro
from torch.distributions import Categorical

import nas_gym  # noqa: F401  (registers the ids)
from agents import Budgeted


@dataclass
class Args:
    """PPO on an environment of nas_gym."""

    env_id: str = "nas_gym/Digits-v0"
    """the environment"""
    env_kwargs: str = "{}"
    """its arguments as JSON, e.g. '{"recipe": {"epochs": 1}}'"""
    budget: int = 60
    """distinct children to train"""
    num_envs: int = 8
    """architectures per update"""
    seed: int = 1
    """seed of the agent, and of the children's training"""
    record: str | None = None
    """a folder of nas-gym compare that gets the run"""
    learning_rate: float = 3e-3
    """of Adam"""
    update_epochs: int = 10
    """gradient steps per update"""
    clip_coef: float = 0.2
    """how far an update may move a probability's ratio from 1"""
    ent_coef: float = 0.02
    """weight of the entropy"""
    vf_coef: float = 0.5
    """weight of the value function"""
    max_grad_norm: float = 0.5
    """the gradient's norm is clipped to it"""


class Agent(nn.Module):
    """A policy and a value function, two layers each."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__()
        inputs = int(np.prod(envs.single_observation_space.shape))
        self.actor = self.network(inputs, int(envs.single_action_space.n), 0.01)
        self.critic = self.network(inputs, 1, 1.0)

    @staticmethod
    def network(inputs: int, outputs: int, std: float) -> nn.Sequential:
        """A perceptron with orthogonal weights."""
        layers = [nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
        for layer, gain in zip(layers, (2**0.5, 2**0.5, std), strict=True):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.constant_(layer.bias, 0.0)
        return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])

    def forward(self, obs: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """The policy and the value of each observation."""
        return Categorical(logits=self.actor(obs)), self.critic(obs).squeeze(-1)


def train(args: Args, envs: gym.vector.VectorEnv) -> None:
    """Play and learn for ever."""
    agent = Agent(envs)
    optimizer = optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    paid: list[float] = []  # reward of every episode so far
    next_obs, _ = envs.reset(seed=args.seed)

    while True:
        # ROLLOUT: one episode of every copy; all of them end in the same step
        obs, actions, logprobs, values = [], [], [], []
        ended = False
        while not ended:
            obs.append(torch.tensor(next_obs))
            with torch.no_grad():
                policy, value = agent(obs[-1])
                action = policy.sample()
            actions.append(action)
            logprobs.append(policy.log_prob(action))
            values.append(value)
            next_obs, reward, terminated, _, infos = envs.step(action.numpy())
            ended = bool(terminated.all())

        # ADVANTAGES: one reward at the end and no discount, so the return of a step is that reward,
        # in standard deviations from the mean so far
        paid += reward.tolist()
        returns = torch.tensor((reward - np.mean(paid)) / (np.std(paid) + 1e-8)).float()
        b_obs, b_actions, b_logprobs = torch.cat(obs), torch.cat(actions), torch.cat(logprobs)
        b_returns = returns.repeat(len(obs))
        b_advantages = b_returns - torch.cat(values)
        b_advantages = (b_advantages - b_advantages.mean()) / (b_advantages.std() + 1e-8)

        # UPDATE
        for _ in range(args.update_epochs):
            policy, newvalue = agent(b_obs)
            ratio = (policy.log_prob(b_actions) - b_logprobs).exp()
            clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
            pg_loss = -torch.min(b_advantages * ratio, b_advantages * clipped).mean()
            v_loss = 0.5 * ((newvalue - b_returns) ** 2).mean()
            loss = pg_loss - args.ent_coef * policy.entropy().mean() + args.vf_coef * v_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()

        accuracies = infos["final_info"]["val_accuracy"]
        print(
            f"{len(paid)} episodes, accuracy {accuracies.mean():.4f}, best {accuracies.max():.4f}"
        )


if __name__ == "__main__":
    args = tyro.cli(Args)
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    envs = gym.make_vec(
        args.env_id, num_envs=args.num_envs, train_seed=args.seed, **json.loads(args.env_kwargs)
    )
    with Budgeted(
        envs, args.budget, record=args.record, agent="cleanrl_ppo", seed=args.seed
    ) as envs:
        train(args, envs)
    print(f"{envs.distinct} distinct children, {envs.repeats} repeats; best: {envs.best}")
