"""One architecture per episode, as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from nas_gym._resolve import unknown
from nas_gym.evaluation import Evaluation
from nas_gym.evaluators import Evaluator, Ledger, make_evaluator
from nas_gym.own_code import own_code
from nas_gym.rendering import render_pixels, render_text
from nas_gym.rewards import make_reward
from nas_gym.search_spaces import Architecture, SearchSpace, make_search_space
from nas_gym.store import Store
from nas_gym.tasks import Task, load_task, task_code
from nas_gym.training import Trainer

SeedPolicy = Literal["fixed", "resample"]
Observation = NDArray[np.float32]


class NASEnv(gym.Env[Observation, Any]):
    """Neural architecture search, one decision per step.

    ## Description
    An episode writes one architecture: each step answers the next decision of the search space
    (an operation, a width, ...). When the last decision is made the child network is built,
    really trained on the training images, and scored on the validation images; its score is the
    reward. The test images are not touched by anything here.

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
    0.0 until the last step, then `reward(evaluation)`: `accuracy` (default), `accuracy_cubed`,
    `mnasnet_soft`, `mnasnet_hard`, `tunas_absolute`, or the user's own function. A child that is
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
    | `val_accuracy` | float in [0, 1]; 0.0 unless ok | last step |
    | `cached` | bool: this environment has answered this child before | last step |
    | `params`, `macs` | int: parameters, multiply-adds of one input; 0 if unknown | last step |
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
    | `reward` | str, dict, callable | `"accuracy"` | as above |
    | `recipe` | dict or None | None | changes to the task's own `Recipe` |
    | `evaluator` | str, dict, object | `"inline"` | `{"name": "pool", "workers": 2}`, ... |
    | `device` | str | `"cpu"` | where children train; `"auto"` takes a card if there is one |
    | `data_dir` | str or None | None | data root; else `$NAS_GYM_DATA`, else `~/.cache/nas-gym` |
    | `store` | str or None | None | SQLite file that keeps every evaluation |
    | `run` | str or None | None | name under which the store records the proposals' order |
    | `seed_policy` | str | `"fixed"` | `"resample"` trains each episode with a fresh seed |
    | `train_seed` | int | 0 | the children's seed under `"fixed"` |
    | `failure_reward` | float or None | None | the floor; None for the reward's own |
    | `render_mode` | str or None | None | `human`, `ansi` or `rgb_array` |

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
        search_space: str | Mapping[str, Any] | type[SearchSpace] | SearchSpace = "layer_cnn",
        reward: str | Mapping[str, Any] | Callable[[Evaluation], float] = "accuracy",
        recipe: Mapping[str, Any] | None = None,
        evaluator: str | Mapping[str, Any] | Evaluator = "inline",
        device: str = "cpu",
        data_dir: str | None = None,
        store: str | None = None,
        run: str | None = None,
        seed_policy: SeedPolicy = "fixed",
        train_seed: int = 0,
        failure_reward: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(unknown("render_mode", render_mode, self.metadata["render_modes"]))
        if seed_policy not in get_args(SeedPolicy):
            raise ValueError(unknown("seed_policy", seed_policy, get_args(SeedPolicy)))
        self.render_mode = render_mode
        self.seed_policy = seed_policy
        self.train_seed = train_seed
        self.reward = make_reward(reward, failure_reward)
        self.trainer: Trainer | None = None  # how children are trained; None for a table
        self._store, self._run = store, run
        self._ledger: Ledger | None = None
        self.code = own_code(
            environment=type(self), task=task_code(task), reward=self.reward.function
        ).get("code", {})
        self._closed = False
        self._evaluator = self._make(task, search_space, recipe, evaluator, device, data_dir)

        space = self.search_space
        self.action_space: gym.spaces.Discrete = gym.spaces.Discrete(space.num_actions)
        size = int(space.sizes.sum()) + len(space.decisions)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        self._actions: list[int] = []
        self._answered: set[tuple[Architecture, int]] = set()

    def _make(
        self,
        task: str | Mapping[str, Any] | Task | None,
        search_space: Any,
        recipe: Mapping[str, Any] | None,
        evaluator: Any,
        device: str,
        data_dir: str | None,
    ) -> Evaluator:
        if task is None:
            if not isinstance(search_space, SearchSpace) or not isinstance(evaluator, Evaluator):
                raise ValueError(
                    "no task is named: give one, as task='folder:PATH' or 'module:function' "
                    "(without one, search_space must be a SearchSpace object and evaluator an "
                    "Evaluator object)"
                )
            self.search_space = search_space
            return evaluator
        loaded = task if isinstance(task, Task) else load_task(task, data_dir)
        self.search_space = make_search_space(search_space, loaded.input_shape, loaded.num_classes)
        trainer = Trainer(loaded, self.search_space, loaded.recipe.replaced(recipe or {}), device)
        self.trainer = trainer
        ready = not isinstance(evaluator, str | Mapping | type)
        if ready and not isinstance(evaluator, Evaluator):
            raise ValueError(f"evaluator {evaluator!r} lacks context, evaluate or close")
        return evaluator if ready else make_evaluator(evaluator, trainer)

    @property
    def ledger(self) -> Ledger:
        """The account of everything evaluated here; a budget is set on it."""
        if self._ledger is None:
            space = self.search_space if self.seed_policy == "fixed" else None
            self._ledger = Ledger(self._evaluator, run=self._run, space=space)
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
        architectures = [self.search_space.decode(actions) for actions in sequences]
        evaluations = self.ledger.evaluate(architectures, seeds)
        results = []
        for child, evaluation in zip(
            zip(architectures, seeds, strict=True), evaluations, strict=True
        ):
            info = {
                "architecture": child[0].to_json(),
                "status": evaluation.status,
                "val_accuracy": evaluation.val_accuracy,
                "cached": child in self._answered,
                "params": evaluation.params or 0,
                "macs": evaluation.macs or 0,
                "seconds": evaluation.seconds,
            }
            self._answered.add(child)
            results.append((self.reward(evaluation), info))
        return results

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
