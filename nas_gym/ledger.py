"""The account of a search: what was asked, what is known already, what it cost, what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Literal, NoReturn, TypeAlias

from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import Evaluator
from nas_gym.objectives import Objective
from nas_gym.search_spaces.base import SearchSpace
from nas_gym.search_spaces.enumeration import Enumeration
from nas_gym.sources import checked
from nas_gym.store import Store, evaluation_key

Ended: TypeAlias = Literal["budget", "exhausted", "stalled"]

STALL = 1_000  # repeats in a row after which a search is over


class BudgetExhausted(Exception):
    """The search is over: its budget is spent, or nothing is left or found to spend it on.

    What it evaluated before is on record.
    """


class Ledger:
    """Asks an evaluator: repeats are free, results are kept, budgets are exact.

    A repeat within the search is answered from memory. What the store knows (an earlier run, or
    this one before it was killed) is recalled and not trained, but still counts as a distinct
    child of this search, so that a search costs the same budget whatever the store held.

    A copy (`copy.deepcopy`, `pickle`) has the same account and budget, and its own from then on.
    What belongs to this process or to one search only stays behind: the store, the run's name, the
    watchers.

    Args:
        evaluator: Who is asked for what is not known.
        objective: What best means.
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
        best: The incumbent by the objective.
        cpu_seconds: What this process spent of the processor while children were evaluated.
        watchers: Called with this ledger and each distinct evaluation, as they come in.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        objective: Objective,
        store: Store | None = None,
        run: str | None = None,
        space: SearchSpace | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.objective = objective
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
        self._known: dict[Request, Evaluation] = {}
        self._cpu_before = 0.0
        self._cpu_since: float | None = None
        self._enumerations: dict[int, Enumeration] = {}  # by seed

    @property
    def context(self) -> Mapping[str, Any]:
        """That of the source."""
        return self.evaluator.source.context

    @property
    def cpu_seconds(self) -> float:
        """Of this process, while children were evaluated; up to now inside of a watcher."""
        running = 0.0 if self._cpu_since is None else time.process_time() - self._cpu_since
        return self._cpu_before + running

    def knows(self, request: Request) -> bool:
        """Whether this search has evaluated a child."""
        return request in self._known

    def evaluate(self, requests: Sequence[Request]) -> list[Evaluation]:
        """Evaluate a batch.

        Returns:
            One evaluation per request, in their order.

        Raises:
            BudgetExhausted: The batch needs more distinct children than are left (those that
                are left have been evaluated and recorded). Or a budget is set, the whole batch was
                known, and so is every network of the space, or the last 1,000 proposals.
            ValueError: What the source or the evaluator gave is no evaluation of the child.
        """
        self.ended = None
        asked = list(requests)
        fresh = [request for request in dict.fromkeys(asked) if request not in self._known]
        left = len(fresh) if self.budget is None else max(0, self.budget - self.distinct)
        over = len(fresh) > left
        if over:  # up to the first child that cannot be paid for
            asked = asked[: asked.index(fresh[left])]
            fresh = fresh[:left]
        self._record_proposals(asked, fresh)
        self._cpu_since = time.process_time()
        try:
            self._evaluate_new(fresh)
        finally:
            self._cpu_before, self._cpu_since = self.cpu_seconds, None
        results = [self._known[request] for request in asked]
        if over:
            self._end("budget", f"the budget of {self.budget} distinct children is spent")
        if self.budget is not None and asked and not fresh:
            self._end_if_nothing_new_comes({request.seed for request in asked})
        return results

    def close(self) -> None:
        """Close the evaluator inside and the store."""
        self.evaluator.close()
        if self.store is not None:
            self.store.close()

    def _record_proposals(self, asked: list[Request], fresh: list[Request]) -> None:
        if self.store is not None and self.run is not None:
            context = self.context
            keys = [evaluation_key(request, context) for request in asked]
            self.store.propose(self.run, self.proposals, keys)
        self.proposals += len(asked)
        self.repeats += len(asked) - len(fresh)
        self.idle = 0 if fresh else self.idle + len(asked)

    def _end_if_nothing_new_comes(self, seeds: set[int]) -> None:
        if self.space is not None and all(self._exhausted(self.space, seed) for seed in seeds):
            count = sum(request.seed in seeds for request in self._known)
            self._end("exhausted", f"all {count:,} networks of {self.space.name} are evaluated")
        if self.idle >= STALL:
            self._end("stalled", f"the last {self.idle:,} proposals were all known already")

    def _exhausted(self, space: SearchSpace, seed: int) -> bool:
        if seed not in self._enumerations:
            self._enumerations[seed] = Enumeration(space)
        known = self._known
        return self._enumerations[seed].exhausted(lambda found: Request(found, seed) in known)

    def __getstate__(self) -> dict[str, Any]:
        own: dict[str, Any] = {"store": None, "run": None, "watchers": [], "_cpu_since": None}
        return self.__dict__ | own

    def _end(self, why: Ended, message: str) -> NoReturn:
        self.ended = why
        raise BudgetExhausted(message)

    def _evaluate_new(self, fresh: list[Request]) -> None:
        context = self.context if self.store is not None else {}
        pending: dict[Future[Evaluation], Request] = {}
        unknown = [request for request in fresh if not self._recall(request, context)]
        try:
            for request in unknown:
                future = self.evaluator.submit(request)
                if not isinstance(future, Future):
                    raise ValueError(
                        f"{type(self.evaluator).__name__}.submit must give a "
                        f"concurrent.futures.Future, it gave {type(future).__name__}"
                    )
                pending[future] = request
                self._take(pending, context)  # inline, each is ready at once
            while pending:
                wait(pending, return_when=FIRST_COMPLETED)
                self._take(pending, context)
        except BaseException:
            for future in pending:
                future.cancel()
            raise

    def _recall(self, request: Request, context: Mapping[str, Any]) -> bool:
        """Enter a child that the store knows."""
        if self.store is None:
            return False
        found = self.store.get(evaluation_key(request, context))
        if found is not None:
            self.recalled += 1
            self._enter(request, found)
        return found is not None

    def _take(self, pending: dict[Future[Evaluation], Request], context: Mapping[str, Any]) -> None:
        """Enter the children that are ready."""
        ready = [future for future in pending if future.done()]
        for future in sorted(ready, key=lambda one: one.cancelled() or bool(one.exception())):
            request = pending.pop(future)  # what is ready is kept, even if another one failed
            evaluation = checked(future.result(), request, self.evaluator.source, self.evaluator)
            if self.store is not None:
                key = evaluation_key(request, context)
                evaluation = self.store.put(key, context, evaluation)
            self._enter(request, evaluation)

    def _enter(self, request: Request, evaluation: Evaluation) -> None:
        self._known[request] = evaluation
        self.distinct += 1
        if self.objective.better(evaluation, self.best):
            self.best = evaluation
        for watcher in self.watchers:
            watcher(self, evaluation)
