"""What a child becomes does not depend on what its caller has set, and nothing of it is undone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import helpers
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from nas_gym import Architecture, Evaluation, NASEnv, Request, Task, TrainingSource
from nas_gym.search_spaces import LayerCNN
from nas_gym.tasks import load_task

ACTIONS = [1, 1, 0, 1, 5, 0, 0, 0, 1, 1, 0, 1]
RECIPE = {"epochs": 1, "train_images": 300, "precision": "bfloat16"}
IN_FLOAT32 = RECIPE | {"precision": "float32"}


DIGITS = load_task("digits")
LABELS = torch.arange(400) % 4
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 60, (400, 1, 8, 8), np.uint8))
PIXELS[torch.arange(400), 0, LABELS] += 90  # a class is a row that is bright


def play(
    during: Callable[[], AbstractContextManager[Any]], recipe: dict[str, Any] = RECIPE
) -> Evaluation:
    """One child, with everything that an environment does in somebody's context."""
    with during():
        space = {"name": "layer_cnn", "depth": 3}
        task = Task.from_tensors("rows", PIXELS, LABELS)
        env = gym.make("nas_gym/Custom-v0", task=task, search_space=space, recipe=recipe)
        env.reset(seed=0)
        for action in ACTIONS:
            env.step(action)
    assert isinstance(env.unwrapped, NASEnv)
    best = env.unwrapped.ledger.best
    env.close()
    assert best is not None
    return replace(best, seconds=0.0)


@contextmanager
def setting(write: Callable[[Any], Any], value: Any, usual: Any) -> Iterator[None]:
    write(value)
    try:
        yield
    finally:
        write(usual)


def refuse(*_: Any) -> Any:
    raise AssertionError("a hook of the caller was asked")


def conv_precision(value: str) -> None:
    torch.backends.mkldnn.conv.fp32_precision = value


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    yield
    torch.set_num_threads(1)  # as the other tests have it, whatever thread set another number


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast without cache": lambda: torch.autocast("cpu", torch.float16, cache_enabled=False),
    "default dtype": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "default device": lambda: setting(torch.set_default_device, "meta", None),
    "device": lambda: torch.device("meta"),
    "threads": lambda: setting(torch.set_num_threads, 3, torch.get_num_threads()),
    "precision": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "anomaly": lambda: setting(torch.autograd.set_detect_anomaly, True, False),
    "denormals": lambda: setting(torch.set_flush_denormal, True, False),
    "onednn": lambda: setting(torch._C._set_mkldnn_enabled, False, True),
    "hooks": lambda: saved_tensors_hooks(refuse, refuse),
    "a mode": lambda: FlopCounterMode(display=False),
    "fake tensors": FakeTensorMode,
    "numpy's errors": lambda: np.errstate(all="raise"),
    "seeds": lambda: setting(seed_everything, 7, 8),
}


def seed_everything(seed: int) -> None:
    for write in (random.seed, np.random.seed, torch.manual_seed):
        write(seed)


@pytest.fixture(scope="module")
def plain() -> Evaluation:
    return play(nullcontext)


def test_a_child_in_float32_is_one_whatever_the_precision_of_the_caller() -> None:
    plain = play(nullcontext, IN_FLOAT32)
    assert play(STATES["precision"], IN_FLOAT32) == plain
    with setting(conv_precision, "bf16", "none"):
        assert play(nullcontext, IN_FLOAT32) == plain


@pytest.mark.parametrize("state", STATES)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")  # of the test's own setting
def test_a_child_is_the_same_whatever_the_caller_has_set(state: str, plain: Evaluation) -> None:
    assert play(STATES[state]) == plain
    assert plain.scores["accuracy"] > 0.5


def test_a_caller_who_sets_the_precisions_one_by_one_gets_them_back(plain: Evaluation) -> None:
    with setting(conv_precision, "bf16", "none"):
        assert play(nullcontext) == plain
        assert torch.backends.mkldnn.conv.fp32_precision == "bf16"


@dataclass(frozen=True)
class Meddling(helpers.Probe):
    """Sets everything that a network of somebody's own may set."""

    name: ClassVar[str] = "meddling"

    def build(self, architecture: Architecture) -> nn.Module:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(4)
        torch.use_deterministic_algorithms(True)
        torch.set_float32_matmul_precision("medium")
        torch.set_grad_enabled(True)
        seed_everything(3)
        torch.set_default_dtype(torch.float32)
        return super().build(architecture)


def test_what_a_network_sets_is_undone() -> None:
    space = Meddling((1, 8, 8), 10)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    threads = torch.get_num_threads()
    with torch.no_grad():
        assert TrainingSource(DIGITS, space, helpers.tiny())(Request(space.child("narrow"))).ok
        assert not torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert np.random.get_state()[1].tolist() == state[2]


@dataclass(frozen=True)
class NumpyWeights(helpers.Probe):
    """Draws its first weights from Python's and numpy's global generators."""

    name: ClassVar[str] = "numpy_weights"

    def build(self, architecture: Architecture) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
        weight = 0.1 * np.random.randn(8, 64) + random.gauss(0.0, 0.1)
        with torch.no_grad():
            net[1].weight.copy_(torch.tensor(weight))
        return net


def test_weights_drawn_from_numpy_and_python_belong_to_the_childs_seed() -> None:
    space = NumpyWeights((1, 8, 8), 10)
    source = TrainingSource(DIGITS, space, helpers.tiny())
    child = space.child("narrow")
    losses = [source(Request(child, seed)).scores["loss"] for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_environments_in_several_threads_train_the_children_of_one() -> None:
    space = LayerCNN((1, 8, 8), 10, depth=2)
    source = TrainingSource(DIGITS, space, helpers.tiny())
    draws = np.random.default_rng(0).integers(space.num_actions, size=(12, 8))
    children = [space.decode(row) for row in draws]
    expected = [source(Request(child)).scores["loss"] for child in children]
    found: dict[int, list[float | None]] = {}

    def work(number: int) -> None:
        own = TrainingSource(DIGITS, space, helpers.tiny())
        found[number] = [own(Request(child)).scores["loss"] for child in children]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: expected for number in range(3)}


class Slow(nn.Flatten):
    """Takes for ever, in steps of Python."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        while not x.is_meta:
            Slow.steps += 1
        return super().forward(x)


@dataclass(frozen=True)
class Endless(helpers.Probe):
    name: ClassVar[str] = "endless"

    def build(self, architecture: Architecture) -> nn.Module:
        return nn.Sequential(Slow(), nn.Linear(64, 10))


def test_ctrl_c_ends_an_inline_training_and_leaves_everything_as_it_was() -> None:
    space = Endless((1, 8, 8), 10)
    before = torch.get_num_threads()
    timer = threading.Timer(1.0, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        TrainingSource(DIGITS, space, helpers.tiny(threads=3))(Request(space.child("narrow")))
    timer.join()
    steps = Slow.steps
    assert steps > 0
    time.sleep(0.05)
    assert Slow.steps == steps, "the training goes on behind its caller's back"
    assert torch.get_num_threads() == before
    probe = helpers.Probe((1, 8, 8), 10)
    assert TrainingSource(DIGITS, probe, helpers.tiny())(Request(probe.child("narrow"))).ok


FORKED = """
import sys
import gymnasium as gym, torch
import nas_gym

if __name__ == "__main__":
    recipe = {"epochs": 1, "train_images": 200, "threads": int(sys.argv[1])}
    if sys.argv[2] == "used":  # torch has computed, and trained, in this process already
        torch.rand(512, 512) @ torch.rand(512, 512)
        env = gym.make("nas_gym/Digits-v0", recipe=recipe)
        env.reset()
        for _ in range(24):
            env.step(0)
    env = gym.make_vec("nas_gym/Digits-v0", num_envs=2, vectorization_mode="async",
                       vector_kwargs={"context": "fork"}, recipe=recipe)
    env.reset(seed=0)
    for _ in range(24):
        env.step(env.action_space.sample())
    env.close()
    print("done")
"""


@pytest.mark.parametrize(("threads", "torch_was"), [("1", "new"), ("2", "used")])
def test_environments_in_forked_processes_end(threads: str, torch_was: str, tmp_path: Path) -> None:
    script = tmp_path / "forked.py"
    script.write_text(FORKED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), threads, torch_was],
        capture_output=True,
        text=True,
        timeout=120,
        env={name: value for name, value in os.environ.items() if "NUM_THREADS" not in name},
    )
    assert done.stdout == "done\n", done.stderr


FORKED_STORE = """
import os
import gymnasium as gym
import nas_gym

env = gym.make("nas_gym/Digits-v0", search_space={"name": "plain_cnn", "depth": 1},
               store="s.sqlite", recipe={"epochs": 1, "train_images": 64})


def play(first):
    env.reset()
    for action in (first, 0, 0):
        env.step(action)


play(0)  # the store is open
children = []
for first in (1, 2):
    child = os.fork()
    if not child:
        play(first)
        env.close()
        os._exit(0)
    children.append(child)
play(3)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
env.close()
with nas_gym.Store("s.sqlite") as store:
    print(len(store))
"""


def test_a_store_that_is_open_when_a_process_forks_serves_both(tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKED_STORE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "forks.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "4\n", done.stderr
