"""What is being solved, as one value: environments play it, ``retrain`` trains it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from nas_gym._resolve import resolve
from nas_gym.evaluation import Metric
from nas_gym.formulas import SAME_ORDER
from nas_gym.objectives import Objective, Spec, columns_of, make_objective
from nas_gym.own_code import code_of
from nas_gym.rewards import Reward, make_reward
from nas_gym.search_spaces import SearchSpace, form_of, make_search_space
from nas_gym.sources import FunctionSource, Source, TrainingSource
from nas_gym.sources.function import SCORE
from nas_gym.tables import Sealed, load_table, options_of
from nas_gym.tasks import Task, load_task, task_code

SpaceSpec: TypeAlias = str | Mapping[str, Any] | type[SearchSpace] | SearchSpace
SourceSpec: TypeAlias = str | Mapping[str, Any] | Callable[..., Any] | Source


@dataclass(frozen=True)
class Problem:
    """A search space, what answers for its networks, what is best, and what is paid.

    Holds no process and no open file.

    Attributes:
        space: What can be written.
        source: What answers for a child.
        objective: What best means.
        reward: What the last step of an episode pays.
        sealed: Of a table: from a run's ``train_seed`` to the scores that this run does not see.
            None where a test set is opened by ``retrain``, or there is nothing sealed.
        code: sha256 of the user's own code in task, reward and objective, by part.
        spec: What `make_problem` was given; JSON values, where the user gave no live objects.
    """

    space: SearchSpace
    source: Source
    objective: Objective
    reward: Reward
    sealed: Callable[[int], Sealed] | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def training(self) -> TrainingSource | None:
        """How children are trained; None where they are not."""
        return self.source if isinstance(self.source, TrainingSource) else None

    @property
    def context(self) -> dict[str, Any]:
        """What a run's results depend on, beside its agent, as JSON."""
        # a source of the user's own need not say what it is asked for
        context = {"search_space": self.space.describe(), **self.source.context}
        code = {**context.get("code", {}), **self.code}
        return {**context, **({"code": code} if code else {})}


def make_problem(
    task: str | Mapping[str, Any] | Task | None = None,
    search_space: SpaceSpec | None = None,
    reward: Spec | None = None,
    *,
    objective: Spec | Sequence[Spec] | None = None,
    source: SourceSpec | None = None,
    table: str | None = None,
    recipe: Mapping[str, Any] | None = None,
    device: str = "cpu",
    data_dir: str | None = None,
    failure_reward: float | None = None,
    **options: Any,
) -> Problem:
    """The problem that JSON values (or live objects) describe.

    Args:
        task: What children are trained for; see `load_task`.
        search_space: What can be written; see `make_search_space`. None: that of the table, else
            ``layer_cnn``. Without a task it must say the form of inputs and outputs itself.
        reward: What is paid; see `make_reward`. None: the first column of the objective.
        objective: What best means; see `make_objective`. None: what the reward pays; without one
            the first metric of the source.
        source: A function of the user's own that answers instead of training, as
            ``"package.module:function"``, a mapping with such a ``"name"`` and the ``"metrics"``
            that it gives, a callable of architecture and seed, or a ready `Source`.
        table: A benchmark table that answers where no task and no source is named.
        recipe: Changes to the task's own recipe.
        device: Where children train.
        data_dir: The data root.
        failure_reward: What a failed child earns; see `make_reward`.
        **options: Of the task or the table, beside those in ``task``.

    Raises:
        ValueError: Something is unknown, missing, or does not fit; the message says what.
        DataError: Data are missing or damaged.
    """
    spec = {name: value for name, value in locals().items() if name != "options"} | options
    sealed = None
    if task is not None:
        if table is not None and (own := options.keys() & options_of(table)):
            raise ValueError(
                f"{', '.join(sorted(own))}: options of the table {table}, which is not read when "
                "children are trained on a task"
            )
        loaded = _task(task, options, data_dir)
        form = loaded.input_shape, loaded.num_classes, loaded.vocabulary
        space = make_search_space(_default(search_space, table), *form)
        if source is None:
            changed = loaded.recipe.replaced(recipe or {})
            found: Source = TrainingSource(loaded, space, changed, device)
        else:
            found = _source(source, space, loaded.metrics[:1])
    elif source is None and table is not None:
        given = {"search_space": search_space, "recipe": recipe}
        wrong = [name for name, value in given.items() if value is not None]
        wrong += ["device"] if device != "cpu" else []
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)}: options of training, but {table} is a table; name a task to "
                "train its networks, e.g. task='cifar10'"
            )
        answers = load_table(table, data_dir, options)
        space, found, sealed = answers.space, answers.source, answers.sealed
    else:
        space = _formed(search_space)
        if source is None:
            raise ValueError(
                "no task is named: give one, as task='folder:PATH' or 'module:function', or a "
                "function that answers for a child, as source='module:function'"
            )
        if options:
            raise ValueError(f"{', '.join(options)}: no task or table is named that has options")
        found = _source(source, space, (SCORE,))
    if source is not None and recipe:
        raise ValueError("recipe: children are not trained where a source is named")
    best, pays = goals(found.metrics, reward, objective, failure_reward)
    code: dict[str, str] = {}
    for part, things in (
        ("task", (task_code(task),)),
        ("reward", (pays.function,)),
        ("objective", () if objective is None else [one.function for one in best.columns]),
    ):
        digest = code_of(*things)
        code |= {} if digest is None else {part: digest}
    return Problem(space, found, best, pays, sealed, code, spec)


def goals(
    metrics: Sequence[Metric],
    reward: Spec | None = None,
    objective: Spec | Sequence[Spec] | None = None,
    failure_reward: float | None = None,
) -> tuple[Objective, Reward]:
    """What best means and what is paid; each follows the other where only one is named.

    Args:
        metrics: Those of the source; the first is both where nothing is named.
        reward: See `make_problem`.
        objective: See `make_problem`.
        failure_reward: See `make_reward`.

    Raises:
        ValueError: An unknown name, or options that do not fit.
    """
    # what is named is read first, so that a message is about that
    best = None if objective is None else make_objective(objective, metrics)
    if reward is not None:
        paid = reward
    else:
        paid = metrics[0].name if objective is None else columns_of(objective)[0]
    pays = make_reward(paid, metrics, failure_reward)
    name = paid["name"] if isinstance(paid, Mapping) and set(paid) == {"name"} else paid
    same = SAME_ORDER.get(name, name) if isinstance(name, str) else paid
    return best or make_objective(same, metrics), pays


def _task(task: Any, options: Mapping[str, Any], data_dir: str | None) -> Task:
    if isinstance(task, Task):
        if options:
            raise ValueError(f"{', '.join(options)}: a ready task takes no options")
        return task
    named = dict(task) if isinstance(task, Mapping) else {"name": task}
    return load_task({**named, **options}, data_dir)


def _default(search_space: SpaceSpec | None, table: str | None) -> Any:
    """The space asked for; the table's own where only its options are given."""
    name = "layer_cnn" if table is None else table
    if search_space is None:
        return name
    return {"name": name, **search_space} if isinstance(search_space, Mapping) else search_space


def _formed(search_space: SpaceSpec | None) -> SearchSpace:
    """A space that says the form of inputs and outputs itself."""
    if isinstance(search_space, SearchSpace):
        return search_space
    if isinstance(search_space, Mapping) and {"input_shape", "num_classes"} <= search_space.keys():
        described = dict(search_space)
        form = form_of(described)
        return make_search_space(described, *form)
    raise ValueError(
        "no task is named: give one, as task='folder:PATH' or 'module:function' (without one, "
        "search_space must be a SearchSpace object, or name input_shape and num_classes, and "
        "source must answer for its networks)"
    )


def _source(spec: SourceSpec, space: SearchSpace, metrics: Sequence[Metric]) -> Source:
    if isinstance(spec, Source) and not isinstance(spec, type):
        return spec
    options: dict[str, Any] = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", None)
    known = options.pop("metrics", None)
    if options:
        raise ValueError(f"source {name!r} has no option {next(iter(options))!r}, only metrics")
    function = name if callable(name) else resolve(str(name), {}, "source")
    if not callable(function):
        raise ValueError(f"source {name!r} must be a function of an architecture and a seed")
    if isinstance(function, Source) and not isinstance(function, type):
        return function
    if known is not None:
        try:
            metrics = [one if isinstance(one, Metric) else Metric(**one) for one in known]
        except TypeError as error:
            raise ValueError(
                f"source {name!r}: metrics are a list of name, up and unit, got {known!r}"
            ) from error
    label = name if isinstance(name, str) else ""
    return FunctionSource(function, label, space, tuple(metrics), origin="trained")
