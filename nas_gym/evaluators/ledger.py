"""The account of a search: what was asked, what is known already, what it cost, what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeAlias

from nas_gym.evaluation import Evaluation, rank
from nas_gym.evaluators.base import Evaluator, OnResult, seeds_for
from nas_gym.own_code import code_of
from nas_gym.search_spaces.base import Architecture, SearchSpace
from nas_gym.search_spaces.enumeration import Enumeration
from nas_gym.store import Store, evaluation_key

Child: TypeAlias = tuple[Architecture, int]  # what is trained, and with which seed
Ended: TypeAlias = Literal["budget", "exhausted", "stalled"]

STALL = 1_000  # repeats in a row after which a search is over


class BudgetExhausted(Exception):
    """The search is over: its budget is spent, or nothing is left or found to spend it on.

    What it evaluated before is on record.
    """


class Ledger:
    """An evaluator around an evaluator: repeats are free, results are kept, budgets are exact.

    A repeat within the search is answered from memory. What the store knows (an earlier run, or
    this one before it was killed) is recalled and not trained, but still counts as a distinct
    child of this search, so that a search costs the same budget whatever the store held.

    A copy (`copy.deepcopy`, `pickle`) has the same account and budget, and its own from then on.
    What belongs to this process or to one search only stays behind: the store, the run's name, the
    watchers.

    Args:
        inner: Who evaluates what is not known.
        store: Where results are kept; None keeps them in memory only.
        run: Name of the run, under which the order of its proposals is recorded in the store.
        space: The search space, so that a search ends when all of it is evaluated; None where
            there is always another child, as when every proposal has a seed of its own.

    Attributes:
        budget: Number of distinct children after which `BudgetExhausted` is raised; None for no
            limit.
        ended: Why the last batch raised `BudgetExhausted`: the ``"budget"`` is spent, the space is
            ``"exhausted"`` (every network of it is evaluated), or the search has ``"stalled"``
            (the last 1,000 proposals were known). None if it did not.
        proposals: Children asked for, repeats included.
        distinct: Distinct children evaluated.
        repeats: Proposals that were asked for before.
        idle: How many of them were the last ones, in whole batches.
        recalled: Distinct children that the store knew.
        best: The incumbent: highest validation accuracy so far, then lowest loss, then first.
        watchers: Called with this ledger and each distinct evaluation, as they come in.
    """

    def __init__(
        self,
        inner: Evaluator,
        store: Store | None = None,
        run: str | None = None,
        space: SearchSpace | None = None,
    ) -> None:
        self.inner = inner
        self._code = code_of(type(inner))
        self.store = store
        self.run = run
        self.space = space
        self.budget: int | None = None
        self.ended: Ended | None = None
        self.proposals = 0
        self.distinct = 0
        self.repeats = 0
        self.idle = 0
        self.recalled = 0
        self.best: Evaluation | None = None
        self.watchers: list[Callable[[Ledger, Evaluation], None]] = []
        self._known: dict[Child, Evaluation] = {}
        self._enumerations: dict[int, Enumeration] = {}  # by seed

    @property
    def context(self) -> Mapping[str, Any]:
        """That of the evaluator inside, with its code where that is the user's own."""
        context = self.inner.context
        if self._code is None:
            return context
        return {**context, "code": {**context.get("code", {}), "evaluator": self._code}}

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        seeds: Sequence[int] | None = None,
        on_result: OnResult | None = None,
    ) -> list[Evaluation]:
        """Evaluate a batch; see `Evaluator.evaluate`.

        Raises:
            BudgetExhausted: The batch needs more distinct children than are left (those that
                are left have been evaluated and recorded). Or a budget is set, the whole batch was
                known, and so is every network of the space, or the last 1,000 proposals.
        """
        self.ended = None
        asked = list(zip(architectures, seeds_for(architectures, seeds), strict=True))
        fresh = [child for child in dict.fromkeys(asked) if child not in self._known]
        left = len(fresh) if self.budget is None else max(0, self.budget - self.distinct)
        over = len(fresh) > left
        if over:  # up to the first child that cannot be paid for
            asked = asked[: asked.index(fresh[left])]
            fresh = fresh[:left]
        self._record_proposals(asked, fresh)
        places: dict[Child, list[int]] = {}
        for index, child in enumerate(asked):
            places.setdefault(child, []).append(index)

        def tell(child: Child) -> None:
            if on_result is not None:
                for index in places[child]:
                    on_result(index, self._known[child])

        for child in [child for child in places if child in self._known]:
            tell(child)
        self._evaluate_new(fresh, tell)
        results = [self._known[child] for child in asked]
        if over:
            self._end("budget", f"the budget of {self.budget} distinct children is spent")
        if self.budget is not None and asked and not fresh:
            self._end_if_nothing_new_comes({seed for _, seed in asked})
        return results

    def close(self) -> None:
        """Close the evaluator inside and the store."""
        self.inner.close()
        if self.store is not None:
            self.store.close()

    def _record_proposals(self, asked: list[Child], fresh: list[Child]) -> None:
        if self.store is not None and self.run is not None:
            context = self.context
            keys = [evaluation_key(child, context, seed) for child, seed in asked]
            self.store.propose(self.run, self.proposals, keys)
        self.proposals += len(asked)
        self.repeats += len(asked) - len(fresh)
        self.idle = 0 if fresh else self.idle + len(asked)

    def _end_if_nothing_new_comes(self, seeds: set[int]) -> None:
        if self.space is not None and all(self._exhausted(self.space, seed) for seed in seeds):
            count = sum(seed in seeds for _, seed in self._known)
            self._end("exhausted", f"all {count:,} networks of {self.space.name} are evaluated")
        if self.idle >= STALL:
            self._end("stalled", f"the last {self.idle:,} proposals were all known already")

    def _exhausted(self, space: SearchSpace, seed: int) -> bool:
        if seed not in self._enumerations:
            self._enumerations[seed] = Enumeration(space)
        known = self._known
        return self._enumerations[seed].exhausted(lambda found: (found, seed) in known)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"store": None, "run": None, "watchers": []}

    def _end(self, why: Ended, message: str) -> NoReturn:
        self.ended = why
        raise BudgetExhausted(message)

    def _evaluate_new(self, fresh: list[Child], tell: Callable[[Child], None]) -> None:
        context = self.context if self.store is not None else {}
        unknown: list[Child] = []
        for child in fresh:
            found = None
            if self.store is not None:
                found = self.store.get(evaluation_key(child[0], context, child[1]))
            if found is None:
                unknown.append(child)
            else:
                self.recalled += 1
                self._enter(child, found)
                tell(child)

        def finished(index: int, evaluation: Evaluation) -> None:
            child = unknown[index]
            if self.store is not None:
                key = evaluation_key(child[0], context, child[1])
                evaluation = self.store.put(key, context, evaluation)
            self._enter(child, evaluation)
            tell(child)

        if unknown:
            self.inner.evaluate(
                [architecture for architecture, _ in unknown],
                [seed for _, seed in unknown],
                finished,
            )

    def _enter(self, child: Child, evaluation: Evaluation) -> None:
        self._known[child] = evaluation
        self.distinct += 1
        if evaluation.ok and (self.best is None or rank(evaluation) > rank(self.best)):
            self.best = evaluation
        for watcher in self.watchers:
            watcher(self, evaluation)
