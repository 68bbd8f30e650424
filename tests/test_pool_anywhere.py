"""Worker processes need no script file, no guard, and no module for what a program defines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
from torch import nn
import nas_gym
from nas_gym import Decision, SearchSpace

WIDTHS = (8, 16)

def last(width, classes):
    return nn.Linear(width, classes)

class Own(Exception):
    pass

@dataclass(frozen=True)
class Typed(SearchSpace):
    name: ClassVar[str] = "typed"
    broken: bool = False

    @property
    def decisions(self):
        return (Decision("width", WIDTHS, "width"),)

    def canonical(self, choices):
        return (choices,)

    def build(self, architecture):
        if self.broken:
            raise Own("on purpose")
        width = architecture.layers[0][0]
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), last(width, 10))

def play(space):
    env = gym.make_vec("nas_gym/Digits-v0", num_envs=2, search_space=space,
                       recipe={"epochs": 1, "train_images": 200},
                       evaluator={"name": "pool", "workers": 2})
    env.reset(seed=0)
    for _ in env.unwrapped.search_space.decisions:
        _, rewards, *_ = env.step([0, 1])
    env.close()
    return rewards

print((play("plain_cnn") > 0).all(), (play(Typed) > 0.2).all())
try:
    play({"name": Typed, "broken": True})
except Own as error:
    print("raised", error)

"""


@pytest.mark.parametrize("way", ["file", "stdin", "-c", "interactive"])
def test_a_pool_works_wherever_the_program_comes_from(way: str, tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT, encoding="utf-8")
    told, text = {
        "file": ([str(script)], None),
        "stdin": (["-"], SCRIPT),
        "-c": (["-c", SCRIPT], None),
        "interactive": (["-i", "-q", "-c", f"exec({SCRIPT!r})"], ""),
    }[way]
    done = subprocess.run(
        [sys.executable, *told],
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert done.stdout == "True True\nraised on purpose\n", done.stderr


CANNOT = """
import threading
import gymnasium as gym
import nas_gym
from nas_gym.search_spaces import PlainCNN

LOCK = threading.Lock()

class Locked(PlainCNN):
    def build(self, architecture):
        with LOCK:
            return super().build(architecture)

env = gym.make("nas_gym/Digits-v0", search_space=Locked, evaluator={"name": "pool", "workers": 1})
env.reset()
for _ in range(12):
    env.step(0)
"""

DAEMON = """
import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv
import nas_gym

if __name__ == "__main__":
    kwargs = {"evaluator": {"name": "pool", "workers": 1}}
    make_vec_env("nas_gym/Digits-v0", 1, vec_env_cls=SubprocVecEnv, env_kwargs=kwargs)
"""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (CANNOT, "cannot be sent to a worker process (TypeError: cannot pickle '_thread.lock'"),
        (DAEMON, "a pool of workers cannot start inside a process of SubprocVecEnv"),
    ],
)
def test_where_it_cannot_the_sentence_names_the_cause(
    script: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "script.py"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode != 0
    assert f"ValueError: {'this ' if said.startswith('cannot') else ''}{said}" in done.stderr
    assert "__name__ ==" not in done.stderr
