"""One architecture per episode, as a Gymnasium environment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from nas_gym._resolve import unknown
from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import Evaluator
from nas_gym.ledger import Ledger
from nas_gym.objectives import Spec
from nas_gym.problem import Problem, SourceSpec, SpaceSpec
from nas_gym.registry import parts_of
from nas_gym.rendering import render_pixels, render_text
from nas_gym.search_spaces import SearchSpace
from nas_gym.store import Store
from nas_gym.tasks import Task

SeedPolicy = Literal["fixed", "resample"]
Observation = NDArray[np.float32]


class NASEnv(gym.Env[Observation, Any]):
    """Neural architecture search, one decision per step.

    ## Description
    An episode writes one architecture: each step answers the next decision of the search space
    (an operation, a width, ...). When the last decision is made the child network is built,
    really trained on the training data, and scored on the validation data; its score is the
    reward. The test data are not touched by anything here.

    ## Action Space
    `Discrete(n)`, where `n` is the largest number of choices of any decision. At step `t` the
    action is the index of the chosen answer to decision `t`.

    | search space | decisions (steps) | `n` |
    |---|---|---|
    | `layer_cnn` (default, depth 6) | 24: operation, width, activation, regularisation x 6 | 7 |
    | `plain_cnn` (depth 4) | 12: filters, kernel, padding x 4 | 4 |

    Every action is valid at every step: an index beyond the choices wraps around
    (`action % len(choices)`), and a choice that cannot change anything here (the width of a
    pooling layer, pooling of a 1x1 map) is accepted and ignored. `info["action_mask"]` (int8)
    and `action_masks()` (bool) tell which actions are distinct; sampling with them is optional.

    ## Observation Space
    `Box(0, 1, (d,), float32)`: for each decision a one-hot of the choice made (zeros while it is
    open), then a one-hot of the step (zeros after the last).

    | search space, on 8x8 to 32x32 images | `d` |
    |---|---|
    | `layer_cnn` | 6 x (7 + 3 + 3 + 3) + 24 = 120 |
    | `plain_cnn` | 4 x (4 + 3 + 2) + 12 = 48 |

    ## Rewards
    0.0 until the last step, then `reward(evaluation)`: the task's headline metric (default; of
    one where less is better `1 / (1 + value)`), another metric, `accuracy_cubed`, `mnasnet_soft`,
    `mnasnet_hard`, `tunas_absolute`, or the user's own function. What is called best is another
    matter: the objective says it, which is what the reward pays unless it is named. A child that is
    too large, diverges, runs out of memory or time, or whose process dies earns the floor (0.0;
    `tunas_absolute`: -1.0; `failure_reward` sets another), and `info["status"]` says what
    happened. Any other exception is a bug and is raised, never paid for.

    ## Starting State
    No decision is made.

    ## Episode End
    Termination: after the last decision, so every episode of an environment has the same length.
    Truncation: never.

    ## Information
    | key | type | when |
    |---|---|---|
    | `action_mask` | int8 `(n,)`: the distinct actions of the next decision | reset, every step |
    | `architecture` | str: JSON, for `Architecture.from_json` | last step |
    | `status` | str: `ok`, `rejected`, `diverged`, `out_of_memory`, `timeout`, `crashed` | last |
    | `val_accuracy`, `val_loss`, ... | float: every metric of the task; nan unless ok | last step |
    | `cached` | bool: this environment has answered this child before | last step |
    | `params`, `macs` | int: parameters, multiply-adds of one input; nan if unknown | last step |
    | `seconds` | float: what training it took, when it was trained | last step |

    ## Arguments
    ```python
    import gymnasium as gym
    import nas_gym

    env = gym.make("nas_gym/Digits-v0", search_space="layer_cnn", recipe={"epochs": 4})
    ```

    | parameter | type | default | description |
    |---|---|---|---|
    | `task` | str, dict or Task | by id | name, `module:function`, or `folder:PATH` |
    | `search_space` | str or dict | `"layer_cnn"` | name, `module:Class`, or name and options |
    | `reward` | str, dict, callable | headline metric | as above |
    | `objective` | str, dict, callable, list | as the reward | what best means |
    | `source` | str, dict, callable | training | `module:function` that answers for a child |
    | `table` | str or None | by id | the table that answers where there is no task |
    | `recipe` | dict or None | None | changes to the task's own `Recipe` |
    | `evaluator` | str, dict, object | `"inline"` | `{"name": "pool", "workers": 2}`, an Executor |
    | `device` | str | `"cpu"` | where children train; `"auto"` takes a card if there is one |
    | `data_dir` | str or None | None | data root; else `$NAS_GYM_DATA`, else `~/.cache/nas-gym` |
    | `store` | str or None | None | SQLite file that keeps every evaluation |
    | `run` | str or None | None | name under which the store records the proposals' order |
    | `seed_policy` | str | `"fixed"` | `"resample"` trains each episode with a fresh seed |
    | `train_seed` | int | 0 | the children's seed under `"fixed"` |
    | `failure_reward` | float or None | None | the floor; None for the reward's own |
    | `render_mode` | str or None | None | `human`, `ansi` or `rgb_array` |
    | `problem` | Problem or None | None | a ready one, instead of what describes it |
    | `**options` | JSON values | | those of the task or table, e.g. `dataset="cifar100"` |

    Values of JSON types survive `EnvSpec.to_json`; live objects work, but leave no spec.

    A copy (`copy.deepcopy`, `pickle`) goes on from where this is, with the account and the budget
    of `ledger`, and keeps its evaluations in the same store; it is not the run named ``run``.

    ## Vectorized environment
    `gym.make_vec(id, num_envs=B)` gives `NASVectorEnv`: B architectures in lockstep, evaluated
    together in one call of the evaluator.

    ## References
    Zoph & Le 2016, "Neural Architecture Search with Reinforcement Learning", arXiv 1611.01578.

    ## Version History
    * v0: Initial version release. The number rises when the default recipe or the meaning of an
      action changes.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (the base class declares it so)
        "render_modes": ["human", "ansi", "rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self,
        task: str | Mapping[str, Any] | Task | None = None,
        search_space: SpaceSpec | None = None,
        reward: Spec | None = None,
        objective: Spec | Sequence[Spec] | None = None,
        source: SourceSpec | None = None,
        table: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        evaluator: str | Mapping[str, Any] | Evaluator | Executor = "inline",
        device: str = "cpu",
        data_dir: str | None = None,
        store: str | None = None,
        run: str | None = None,
        seed_policy: SeedPolicy = "fixed",
        train_seed: int = 0,
        failure_reward: float | None = None,
        render_mode: str | None = None,
        problem: Problem | None = None,
        **options: Any,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(unknown("render_mode", render_mode, self.metadata["render_modes"]))
        if seed_policy not in get_args(SeedPolicy):
            raise ValueError(unknown("seed_policy", seed_policy, get_args(SeedPolicy)))
        self.render_mode = render_mode
        self.seed_policy = seed_policy
        self.train_seed = train_seed
        described = {
            "task": task,
            "search_space": search_space,
            "reward": reward,
            "objective": objective,
            "source": source,
            "table": table,
            "recipe": recipe,
            "device": device,
            "data_dir": data_dir,
            "failure_reward": failure_reward,
            **options,
        }
        self.problem, self._evaluator = parts_of(problem, evaluator, described)
        self._store, self._run = store, run
        self._ledger: Ledger | None = None
        self._closed = False

        space = self.search_space
        self.action_space: gym.spaces.Discrete = gym.spaces.Discrete(space.num_actions)
        size = int(space.sizes.sum()) + len(space.decisions)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        self._actions: list[int] = []

    @property
    def search_space(self) -> SearchSpace:
        """What the decisions are and mean."""
        return self.problem.space

    @property
    def ledger(self) -> Ledger:
        """The account of everything evaluated here; a budget is set on it."""
        if self._ledger is None:
            space = self.search_space if self.seed_policy == "fixed" else None
            self._ledger = Ledger(
                self._evaluator, self.problem.objective, run=self._run, space=space
            )
        if self._store is not None and self._ledger.store is None:
            self._ledger.store = Store(self._store)  # at the first use: making an env is cheap
        return self._ledger

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an architecture; see the class for the observation and the info."""
        super().reset(seed=seed)
        del options
        self._actions = []
        if self.render_mode == "human":
            self.render()
        return self._observation(), {"action_mask": self._mask()}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Answer one decision; the last one trains the child.

        Raises:
            BudgetExhausted: The ledger's budget does not allow another distinct child.
            RuntimeError: The episode is over and `reset` was not called.
        """
        steps = len(self.search_space.decisions)
        if len(self._actions) == steps:
            raise RuntimeError("the episode is over: call reset() first")
        action = int(action)
        if not 0 <= action < self.action_space.n:
            raise ValueError(f"action must be 0 to {self.action_space.n - 1}, got {action}")
        self._actions.append(action)
        reward, done, info = 0.0, len(self._actions) == steps, {"action_mask": self._mask()}
        if done:
            seed = self.draw_seed(self.np_random)
            ((reward, result),) = self.evaluate([self._actions], [seed])
            info |= result
        if self.render_mode == "human":
            self.render()
        return self._observation(), reward, done, False, info

    def evaluate(
        self, sequences: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> list[tuple[float, dict[str, Any]]]:
        """Reward and terminal info of finished episodes, evaluated together."""
        if self._closed and self._store is not None:
            self.ledger.store = None  # it is closed, and opened anew
        self._closed = False
        pairs = zip(sequences, seeds, strict=True)
        requests = [Request(self.search_space.decode(actions), seed) for actions, seed in pairs]
        known = [self.ledger.knows(request) for request in requests]
        evaluations = self.ledger.evaluate(requests)
        fresh: set[Request] = set()
        results = []
        for request, cached, evaluation in zip(requests, known, evaluations, strict=True):
            if not cached:
                cached = request in fresh
                fresh.add(request)
            results.append((self.problem.reward(evaluation), self._info(evaluation, cached)))
        return results

    def _info(self, evaluation: Evaluation, cached: bool) -> dict[str, Any]:
        scores, cost = evaluation.scores, evaluation.cost
        return {
            "architecture": evaluation.architecture.to_json(),
            "status": evaluation.status,
            **{
                f"val_{metric.name}": scores.get(metric.name, math.nan)
                for metric in self.problem.source.metrics
            },
            "cached": cached,
            **{name: cost.get(name, math.nan) for name in ("params", "macs")},
            "seconds": evaluation.seconds,
        }

    def draw_seed(self, random: np.random.Generator) -> int:
        """The next child's training seed under the seed policy."""
        return self.train_seed if self.seed_policy == "fixed" else int(random.integers(2**31))

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are distinct now, shape ``(n,)``; the form sb3-contrib asks for."""
        return self.search_space.mask(self._actions)

    def render(self) -> Any:
        """The architecture so far: text for ``ansi``, printed for ``human``, pixels otherwise."""
        if self.render_mode == "rgb_array":
            return render_pixels(self.search_space, self._actions)
        if self.render_mode is None:
            gym.logger.warn("render() needs a render_mode: gym.make(id, render_mode='ansi')")
            return None
        text = render_text(self.search_space, self._actions)
        if self.render_mode == "ansi":
            return text
        print(text, flush=True)
        return None

    def close(self) -> None:
        """End worker processes and close the store; a later step would begin them anew."""
        if self._ledger is None:
            self._evaluator.close()
        else:
            self._ledger.close()
            self._closed = True

    def _mask(self) -> NDArray[np.int8]:
        return self.search_space.mask(self._actions).astype(np.int8)

    def _observation(self) -> Observation:
        batch = encode(self.search_space, np.array([self._actions], dtype=np.int64))
        return batch.reshape(-1)

    def __getstate__(self) -> dict[str, Any]:
        # A copy opens files of its own, and what it asks for is not the run on record.
        return self.__dict__ | {"_run": None, "_closed": False}


def encode(space: SearchSpace, actions: NDArray[np.int64]) -> Observation:
    """One-hot observations of B prefixes of the same length.

    Args:
        space: The search space.
        actions: ``(B, t)``, the actions so far.

    Returns:
        ``(B, sizes.sum() + len(decisions))``, float32.
    """
    batch, step = actions.shape
    sizes = space.sizes
    observation = np.zeros((batch, int(sizes.sum()) + len(sizes)), dtype=np.float32)
    offsets = np.cumsum(sizes) - sizes
    columns = offsets[:step] + actions % sizes[:step]
    observation[np.arange(batch)[:, None], columns] = 1.0
    if step < len(sizes):
        observation[:, int(sizes.sum()) + step] = 1.0
    return observation
