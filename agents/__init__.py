"""Agents that play the environments of nas_gym.

Every agent is made as ``Agent(env, seed=0, **options)`` and has ``learn(budget)``, ``save(path)``
and ``load(path)``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.a2c import A2C as A2C
    from agents.budget import Budgeted as Budgeted
    from agents.dqn import DQN as DQN
    from agents.evolution import Evolution as Evolution
    from agents.local_search import LocalSearch as LocalSearch
    from agents.maskable_ppo import MaskablePPO as MaskablePPO
    from agents.ppo import PPO as PPO
    from agents.random_search import RandomSearch as RandomSearch
    from agents.recurrent_ppo import RecurrentPPO as RecurrentPPO
    from agents.reinforce import REINFORCE as REINFORCE
    from agents.reinforce_categorical import ReinforceCategorical as ReinforceCategorical
    from agents.surrogate import Surrogate as Surrogate

# Name on the command line: where it lives, and what it is in a line.
AGENTS: dict[str, tuple[str, str]] = {
    "reinforce": (
        "agents.reinforce:REINFORCE",
        "Gaussian process that plans (default: nine of ten of its choices are mutations of the "
        "best) beside an LSTM policy by policy gradient (Zoph & Le 2016), which is alone in the "
        "recipes model_free, zoph2016, enas2018",
    ),
    "reinforce_categorical": (
        "agents.reinforce_categorical:ReinforceCategorical",
        "the same with independent softmaxes for the LSTM (Dong & Yang 2020); the policy alone in "
        "the recipes model_free, nasbench201",
    ),
    "ppo": ("agents.ppo:PPO", "Stable-Baselines3's PPO (Schulman et al. 2017)"),
    "maskable_ppo": (
        "agents.maskable_ppo:MaskablePPO",
        "sb3-contrib's PPO with action masks (Huang & Ontanon 2022)",
    ),
    "recurrent_ppo": ("agents.recurrent_ppo:RecurrentPPO", "sb3-contrib's PPO with an LSTM"),
    "a2c": ("agents.a2c:A2C", "Stable-Baselines3's A2C (Mnih et al. 2016)"),
    "dqn": (
        "agents.dqn:DQN",
        "Stable-Baselines3's DQN (Mnih et al. 2015; MetaQNN, Baker et al. 2017)",
    ),
    "random": (
        "agents.random_search:RandomSearch",
        "uniform random search without repeats (Li & Talwalkar 2019)",
    ),
    "evolution": (
        "agents.evolution:Evolution",
        "regularised evolution (Real et al. 2019); recipes default, real2019",
    ),
    "local_search": (
        "agents.local_search:LocalSearch",
        "first-improvement hill climbing with restarts (White et al. 2021)",
    ),
    "surrogate": (
        "agents.surrogate:Surrogate",
        "Bayesian optimisation: a Gaussian process and expected improvement (White et al. 2021); "
        "recipes default, counts",
    ),
}

_HOMES = {
    "A2C": "a2c",
    "Budgeted": "budget",
    "DQN": "dqn",
    "Evolution": "evolution",
    "LocalSearch": "local_search",
    "MaskablePPO": "maskable_ppo",
    "PPO": "ppo",
    "REINFORCE": "reinforce",
    "RandomSearch": "random_search",
    "RecurrentPPO": "recurrent_ppo",
    "ReinforceCategorical": "reinforce_categorical",
    "Surrogate": "surrogate",
}

__all__ = ["AGENTS", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"agents.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'agents' has no attribute {name!r}")
