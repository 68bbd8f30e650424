from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import pytest

from nas_gym import ledger as ledger_module
from nas_gym.evaluation import ACCURACY, Evaluation, Metric, Request
from nas_gym.evaluators import Evaluator, ExecutorEvaluator, InlineEvaluator
from nas_gym.ledger import BudgetExhausted, Ledger
from nas_gym.objectives import Objective, make_objective
from nas_gym.search_spaces import Architecture
from nas_gym.store import ReplayError, Store, StoreError

METRICS = (ACCURACY, Metric("loss", up=False))
OBJECTIVE: Objective = make_objective("accuracy", METRICS)


def child(number: int) -> Architecture:
    return Architecture("x", (("conv", number),))


def children(*numbers: int) -> list[Architecture]:
    return [child(number) for number in numbers]


def requests(*numbers: int, seed: int = 0) -> list[Request]:
    return [Request(child(number), seed) for number in numbers]


def over(evaluator: Evaluator, *args: Any, **kwargs: Any) -> Ledger:
    """The account of an evaluator."""
    return Ledger(evaluator, OBJECTIVE, *args, **kwargs)


def answering(function: Callable[..., Any], name: str = "made_up") -> InlineEvaluator:
    return InlineEvaluator(helpers.answers(function, name))


@pytest.fixture
def inner() -> helpers.Recorder:
    return helpers.Recorder()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.db") as store:
        yield store


def asked(inner: helpers.Recorder) -> list[int]:
    """The numbers of the children that were really evaluated, in order."""
    return [int(request.architecture.layers[0][1]) for request in inner.asked]


def account(ledger: Ledger) -> tuple[int, int, int, int]:
    return ledger.proposals, ledger.distinct, ledger.repeats, ledger.recalled


# ---------------------------------------------------------------- repeats


def test_repeats_are_free_and_counted_apart(inner: helpers.Recorder) -> None:
    ledger = over(inner)
    first = ledger.evaluate(requests(1, 2, 1))
    assert [e.architecture for e in first] == children(1, 2, 1)
    assert first[0] is first[2]
    assert ledger.evaluate(requests(2, 3, 2, 2))[0] is first[1]
    assert asked(inner) == [1, 2, 3]
    assert account(ledger) == (7, 3, 4, 0)


def test_another_seed_is_another_child(inner: helpers.Recorder) -> None:
    ledger = over(inner)
    one, two, three = ledger.evaluate([Request(child(1), seed) for seed in (5, 6, 5)])
    assert one is three
    assert one.scores != two.scores
    assert account(ledger) == (3, 2, 1, 0)


def test_nothing_new_asks_nobody(inner: helpers.Recorder) -> None:
    ledger = over(inner)
    ledger.evaluate(requests(1))
    ledger.evaluate(requests(1, 1))
    ledger.evaluate([])
    assert len(inner.asked) == 1


# ---------------------------------------------------------------- the store


@pytest.mark.parametrize(("origin", "again"), [("trained", "recalled"), ("table", "table")])
def test_what_the_store_knows_is_recalled_and_counted(
    origin: Any, again: str, store: Store
) -> None:
    recorders = [helpers.Recorder(), helpers.Recorder()]
    for recorder in recorders:
        recorder.source = replace(helpers.answers(), origin=origin)
    first, ledger = (over(recorder, store) for recorder in recorders)
    before = first.evaluate(requests(1, 2))
    after = ledger.evaluate(requests(2, 3, 1, 2))
    assert asked(recorders[1]) == [3]
    assert account(ledger) == (4, 3, 1, 2)
    assert [e.origin for e in after] == [again, origin, again, again]
    assert after[0].scores == before[1].scores
    assert len(store) == 3


def test_the_context_is_part_of_what_is_recalled(store: Store) -> None:
    over(answering(helpers.score, "one"), store).evaluate(requests(1))
    other = over(answering(helpers.score, "two"), store)
    other.evaluate(requests(1))
    assert account(other) == (1, 1, 0, 0)
    assert len(store) == 2


def test_failures_are_kept_too(store: Store) -> None:
    failed = Evaluation(Request(child(1)), "diverged", detail="nan", origin="table")
    over(answering(lambda *_: failed), store).evaluate(requests(1))
    again = over(answering(lambda *_: pytest.fail("was trained again")), store)
    assert again.evaluate(requests(1))[0].status == "diverged"
    assert again.best is None


def test_what_ended_before_an_exception_is_kept(store: Store) -> None:
    def third_is_a_bug(architecture: Architecture, seed: int) -> float:
        if architecture == child(3):
            raise helpers.Bug("third")
        return 0.5

    ledger = over(answering(third_is_a_bug), store, run="a")
    with pytest.raises(helpers.Bug):
        ledger.evaluate(requests(1, 2, 3, 4))
    assert len(store) == 2
    assert ledger.distinct == 2
    assert len(ledger.evaluate(requests(1, 2))) == 2


def test_proposals_are_recorded_in_order(store: Store) -> None:
    ledger = over(helpers.Recorder(), store, run="a")
    ledger.evaluate(requests(2, 1, 2))
    ledger.evaluate(requests(1, 3))
    assert [e.architecture for e in store.run("a")] == children(2, 1, 2, 1, 3)

    again = over(helpers.Recorder(), store, run="a")
    again.evaluate(requests(2, 1, 2))
    with pytest.raises(ReplayError):
        again.evaluate(requests(1, 4))
    assert asked(again.evaluator) == []  # type: ignore[arg-type]
    assert [e.architecture for e in store.run("a")] == children(2, 1, 2, 1, 3)


def test_a_run_needs_a_name_to_be_recorded(store: Store) -> None:
    over(helpers.Recorder(), store).evaluate(requests(1))
    assert store.run("") == []


# ---------------------------------------------------------------- the budget


def test_the_budget_is_exact(inner: helpers.Recorder, store: Store) -> None:
    """In the middle of a batch too: what could be paid for is evaluated and on record."""
    ledger = over(inner, store, run="a")
    ledger.budget = 3
    ledger.evaluate(requests(1, 2))
    with pytest.raises(BudgetExhausted, match="budget of 3 "):
        ledger.evaluate(requests(1, 3, 2, 4, 1, 5))
    assert asked(inner) == [1, 2, 3]
    # Repeats before the first child that cannot be paid for were asked, those after it were not.
    assert account(ledger) == (5, 3, 2, 0)
    assert [e.architecture for e in store.run("a")] == children(1, 2, 1, 3, 2)
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(requests(9))
    assert account(ledger) == (5, 3, 2, 0)
    assert ledger.evaluate(requests(2, 3))  # what is known stays free


def test_a_budget_met_by_the_last_child_is_not_exceeded(inner: helpers.Recorder) -> None:
    ledger = over(inner)
    ledger.budget = 2
    assert len(ledger.evaluate(requests(1, 2, 1, 2))) == 4


@pytest.mark.parametrize("budget", [0, -1])
def test_no_budget_no_child(inner: helpers.Recorder, budget: int) -> None:
    ledger = over(inner)
    ledger.budget = budget
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(requests(1))
    assert asked(inner) == []


def test_recalled_children_cost_the_same_budget(store: Store) -> None:
    over(helpers.Recorder(), store).evaluate(requests(1, 2))
    ledger = over(helpers.Recorder(), store)
    ledger.budget = 2
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(requests(1, 2, 3))
    assert account(ledger) == (2, 2, 0, 2)


def test_a_search_that_asks_for_nothing_new_ends(
    inner: helpers.Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "STALL", 10)
    ledger = over(inner)
    ledger.evaluate(requests(1))
    for _ in range(20):
        ledger.evaluate(requests(1))  # without a budget nobody counts
    ledger.budget = 5
    ledger.evaluate(requests(3))
    for _ in range(9):
        ledger.evaluate(requests(1))
    ledger.evaluate(requests(1, 2))  # something new: the count starts again
    for _ in range(9):
        ledger.evaluate(requests(2))
    with pytest.raises(BudgetExhausted, match="last 10 proposals"):
        ledger.evaluate(requests(1))
    assert ledger.distinct == 3


# ---------------------------------------------------------------- watchers and the incumbent


def test_watchers_see_each_distinct_child_once(inner: helpers.Recorder, store: Store) -> None:
    over(helpers.Recorder(), store).evaluate(requests(2))
    ledger = over(inner, store)
    seen: list[tuple[int, Evaluation]] = []
    ledger.watchers.append(lambda account, evaluation: seen.append((account.distinct, evaluation)))
    ledger.evaluate(requests(1, 2, 1))
    ledger.evaluate(requests(2, 3))
    assert [distinct for distinct, _ in seen] == [1, 2, 3]
    assert {e.architecture for _, e in seen} == set(children(1, 2, 3))


def test_watchers_know_of_the_children_that_met_the_budget(inner: helpers.Recorder) -> None:
    ledger = over(inner)
    ledger.budget = 1
    seen: list[Any] = []
    ledger.watchers.append(lambda *event: seen.append(event))
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(requests(1, 2))
    assert len(seen) == 1


def test_the_incumbent_is_the_best_then_the_surest_then_the_first() -> None:
    def answered(number: int, accuracy: float, loss: float, **cost: float) -> Evaluation:
        return Evaluation(Request(child(number)), "ok", {"accuracy": accuracy, "loss": loss}, cost)

    answers = {
        child(1): answered(1, 0.5, 1.0),
        child(2): Evaluation(Request(child(2)), "timeout"),
        child(3): answered(3, 0.5, 0.9),
        child(4): answered(4, 0.5, 0.9, params=4),
        child(5): answered(5, 0.6, 9.0),
    }
    ledger = over(answering(lambda architecture, _: answers[architecture]))
    incumbents = []
    for number in (2, 1, 3, 4, 5, 1):
        ledger.evaluate(requests(number))
        incumbents.append(ledger.best)
    assert incumbents == [None, *(answers[child(n)] for n in (1, 3, 3, 5, 5))]


def test_the_incumbent_is_that_of_the_objective() -> None:
    costs = {1: 30, 2: 10, 3: 20}

    def answer(architecture: Architecture, seed: int) -> Evaluation:
        number = int(architecture.layers[0][1])
        scores = {"accuracy": 1 / number}
        return Evaluation(Request(architecture, seed), "ok", scores, {"params": costs[number]})

    for objective, best in (("accuracy", 1), ("params", 2)):
        ledger = Ledger(answering(answer), make_objective(objective, METRICS))
        ledger.evaluate(requests(3, 2, 1))
        assert ledger.best is not None
        assert ledger.best.architecture == child(best)


def test_closing_closes_what_it_holds(inner: helpers.Recorder, store: Store) -> None:
    ledger = over(inner, store)
    assert dict(ledger.context) == dict(inner.source.context)
    ledger.close()
    ledger.close()
    assert inner.closed == 2
    with pytest.raises(StoreError, match="closed"):
        store.get("key")


def test_a_copy_has_an_account_of_its_own(inner: helpers.Recorder, store: Store) -> None:
    ledger = over(inner, store, run="a")
    ledger.budget = 3
    ledger.evaluate(requests(1, 2))
    copied = copy.deepcopy(ledger)
    copied.evaluate(requests(3))
    assert (copied.distinct, ledger.distinct, len(store)) == (3, 2, 2)
    assert (copied.store, copied.run, copied.watchers) == (None, None, [])
    with pytest.raises(BudgetExhausted):
        copied.evaluate(requests(4))
    ledger.evaluate(requests(4))
    assert [e.architecture for e in store.run("a")] == children(1, 2, 4)


def test_what_it_knows_it_says(inner: helpers.Recorder) -> None:
    ledger = over(inner)
    ledger.evaluate(requests(1, seed=3))
    assert ledger.knows(Request(child(1), 3))
    assert not ledger.knows(Request(child(1), 4))
    assert not ledger.knows(Request(child(1), 3, until=1))
    assert not ledger.knows(Request(child(2), 3))


# ---------------------------------------------------------------- batches


class Late:
    """An evaluator that answers nothing before a whole batch is there, the last one first."""

    slots = 9

    def __init__(self, size: int, outcomes: dict[int, BaseException | None] | None = None) -> None:
        self.source = helpers.answers()
        self.size = size
        self.outcomes = outcomes or {}
        self.pending: list[tuple[Request, Future[Evaluation]]] = []

    def submit(self, request: Request) -> Future[Evaluation]:
        future: Future[Evaluation] = Future()
        self.pending.append((request, future))
        if len(self.pending) == self.size:
            threading.Thread(target=self._answer).start()
        return future

    def close(self) -> None:
        pass

    def _answer(self) -> None:
        for request, future in reversed(self.pending):
            outcome = self.outcomes.get(int(request.architecture.layers[0][1]))
            if isinstance(outcome, CancelledError):
                future.cancel()
                future.set_running_or_notify_cancel()
            elif outcome is not None:
                future.set_exception(outcome)
            else:
                future.set_result(self.source(request))


def test_results_come_in_the_order_of_the_batch_whatever_is_ready_first() -> None:
    batch = [*requests(4, 1, 3), *requests(1, 2, seed=7)]
    results = over(Late(5)).evaluate(batch)
    assert [result.request for result in results] == batch


def test_a_whole_batch_is_asked_for_at_once() -> None:
    """The evaluator answers when it knows all of it; one after the other it would wait for ever."""
    evaluator = Late(3)
    assert len(over(evaluator).evaluate(requests(1, 2, 1, 3, 2))) == 5
    assert [request for request, _ in evaluator.pending] == requests(1, 2, 3)


def test_duplicates_are_asked_for_once_and_have_one_result_each(inner: helpers.Recorder) -> None:
    batch = [*requests(1, 1), *requests(1, seed=2), *requests(1)]
    results = over(inner).evaluate(batch)
    assert [result.request for result in results] == batch
    assert inner.asked == [Request(child(1)), Request(child(1), 2)]
    assert results[0] is results[1] is results[3]


def test_an_empty_batch_is_fine(inner: helpers.Recorder) -> None:
    ledger = over(inner)
    assert ledger.evaluate([]) == []
    assert (inner.asked, account(ledger)) == ([], (0, 0, 0, 0))


def test_each_result_is_told_once_in_this_thread_when_it_is_there(store: Store) -> None:
    told: list[Request] = []
    known: list[int] = []

    def note(ledger: Ledger, evaluation: Evaluation) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(evaluation.request)
        known.append(len(store))

    with ThreadPoolExecutor(3) as executor:
        ledger = over(ExecutorEvaluator(executor, helpers.answers()), store)
        ledger.watchers.append(note)
        ledger.evaluate([*requests(1, 2, 3, 4, 1), *requests(1, seed=5)])
        ledger.evaluate(requests(2, 3))
        ledger.evaluator.close()
    assert len(told) == 5
    assert set(told) == {*requests(1, 2, 3, 4), Request(child(1), 5)}
    assert known == [1, 2, 3, 4, 5]  # what is told is on record


def test_inline_children_are_told_of_before_the_next_one_trains(store: Store) -> None:
    events: list[str] = []

    def answer(architecture: Architecture, seed: int) -> float:
        events.append(f"trains {architecture.layers[0][1]}")
        return 0.5

    ledger = over(answering(answer), store)
    ledger.watchers.append(lambda _, e: events.append(f"told {e.architecture.layers[0][1]}"))
    ledger.evaluate(requests(2, 1))
    assert events == ["trains 2", "told 2", "trains 1", "told 1"]


def test_what_is_ready_beside_an_exception_is_kept(store: Store) -> None:
    ledger = over(Late(4, {2: helpers.Bug("second")}), store)
    with pytest.raises(helpers.Bug, match="second"):
        ledger.evaluate(requests(1, 2, 3, 4))
    assert {request.architecture for request in ledger._known} >= set(children(3, 4))
    assert len(store) == ledger.distinct


def test_an_exception_cancels_what_is_under_way() -> None:
    evaluator = Late(10**9)
    ledger = over(evaluator)

    def answer_one_and_stop() -> None:
        request, future = evaluator.pending[1]
        future.set_result(evaluator.source(request))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    ledger.watchers.append(stop)
    while_waiting = threading.Timer(0.2, answer_one_and_stop)
    while_waiting.start()
    with pytest.raises(KeyboardInterrupt):
        ledger.evaluate(requests(1, 2, 3))
    while_waiting.join()
    states = [future.cancelled() for _, future in evaluator.pending]
    assert states == [True, False, True]
    assert ledger.distinct == 1


def test_an_evaluator_that_refuses_a_child_ends_the_batch(store: Store) -> None:
    class Refuses(Late):
        def submit(self, request: Request) -> Future[Evaluation]:
            if request.architecture == child(3):
                raise helpers.Bug("no more")
            return super().submit(request)

    evaluator = Refuses(10**9)
    with pytest.raises(helpers.Bug, match="no more"):
        over(evaluator, store).evaluate(requests(1, 2, 3, 4))
    assert [future.cancelled() for _, future in evaluator.pending] == [True, True]


def test_a_cancelled_child_is_no_result_and_the_others_are_kept(store: Store) -> None:
    ledger = over(Late(3, {1: CancelledError()}), store)
    with pytest.raises(CancelledError):
        ledger.evaluate(requests(1, 2, 3))
    assert set(ledger._known) == set(requests(2, 3))


# ---------------------------------------------------------------- nonsense


class Foolish(InlineEvaluator):
    """Gives whatever a function makes of a request."""

    def __init__(self, answer: Callable[[Request], Any], future: bool = True) -> None:
        super().__init__(helpers.answers())
        self.answer = answer
        self.future = future

    def submit(self, request: Request) -> Future[Evaluation]:
        if not self.future:
            return self.answer(request)  # type: ignore[no-any-return]
        future: Future[Evaluation] = Future()
        future.set_result(self.answer(request))
        return future


def right(request: Request) -> Evaluation:
    return Evaluation(request, "ok", {"accuracy": 0.5})


NONSENSE: dict[str, tuple[Callable[[Request], Any], list[str]]] = {
    "a list": (lambda request: [right(request)], ["Evaluation", "list"]),
    "a number": (lambda _: 0.5, ["Evaluation", "float"]),
    "nothing": (lambda _: None, ["Evaluation", "NoneType"]),
    "another child": (
        lambda request: right(replace(request, architecture=child(9))),
        ["x: conv 1", "x: conv 9"],
    ),
    "another seed": (lambda request: right(replace(request, seed=8)), ["seed 0", "seed 8"]),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_what_is_no_evaluation_of_the_child_is_refused(nonsense: str, store: Store) -> None:
    answer, words = NONSENSE[nonsense]
    ledger = over(Foolish(answer), store)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        ledger.evaluate(requests(1))
    assert helpers.is_sentence(caught.value, "Foolish", *words), caught.value
    assert (ledger.distinct, len(store), ledger.best) == (0, 0, None)


def test_another_pause_than_asked_for_is_refused() -> None:
    ledger = over(Foolish(lambda request: right(replace(request, until=3))))
    with pytest.raises(ValueError, match="Foolish was asked for") as caught:
        ledger.evaluate(requests(1))
    assert helpers.is_sentence(caught.value)


@pytest.mark.parametrize("answer", [right, lambda _: None])
def test_what_is_no_future_is_refused(answer: Callable[[Request], Any], store: Store) -> None:
    ledger = over(Foolish(answer, future=False), store)
    with pytest.raises(
        ValueError, match=r"submit must give a concurrent\.futures\.Future"
    ) as caught:
        ledger.evaluate(requests(1))
    given = type(answer(Request(child(1)))).__name__
    assert helpers.is_sentence(caught.value, "Foolish", given), caught.value
    assert len(store) == 0


class OwnSource:
    """A user's own source."""

    context: dict[str, Any] = {"source": "own"}  # noqa: RUF012
    metrics = (ACCURACY,)

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self.answer = answer

    def __call__(self, request: Request) -> Evaluation:
        return self.answer(request)  # type: ignore[no-any-return]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_source_that_gives_no_evaluation_of_the_child_is_refused(
    nonsense: str, store: Store
) -> None:
    answer, words = NONSENSE[nonsense]
    ledger = over(InlineEvaluator(OwnSource(answer)), store)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        ledger.evaluate(requests(1))
    assert helpers.is_sentence(caught.value, "OwnSource", *words), caught.value
    assert len(store) == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            lambda request: Evaluation(request, "ok", {"accuracy": float("nan")}),
            ["accuracy", "finite", "nan"],
        ),
        (
            lambda request: Evaluation(request, "ok", {}, {"params": float("inf")}),
            ["params", "finite", "inf"],
        ),
        (lambda request: Evaluation(request, "fine"), ["ok, rejected", "'fine'"]),
        (
            lambda request: Evaluation(request, "timeout", {"accuracy": 0.5}),
            ["timeout", "no scores", "0.5"],
        ),
    ],
)
def test_an_evaluation_that_says_nothing_is_none(
    answer: Callable[[Request], Any], words: list[str], store: Store
) -> None:
    ledger = over(InlineEvaluator(OwnSource(answer)), store)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        ledger.evaluate(requests(1))
    assert helpers.is_sentence(caught.value, *words), caught.value
    assert len(store) == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (float("nan"), ["accuracy", "nan"]),
        ("high", ["accuracy", "'high'"]),
        (None, ["accuracy", "None"]),
        ([0.5], ["accuracy", "[0.5]"]),
        ({"loss": 0.5}, ["accuracy", "None"]),
        ({"accuracy": float("inf")}, ["accuracy", "inf"]),
        pytest.param({"accuracy": 0.5, "extra": float("nan")}, ["extra", "nan"]),
        pytest.param({"accuracy": 0.5, "extra": "much"}, ["extra", "much"]),
    ],
)
def test_a_function_that_gives_no_numbers_is_refused(
    answer: Any, words: list[str], store: Store
) -> None:
    ledger = over(answering(lambda *_: answer, "my_function"), store)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        ledger.evaluate(requests(1))
    assert helpers.is_sentence(caught.value, "my_function", *words), caught.value
    assert len(store) == 0


def test_a_function_that_answers_for_another_child_is_refused(store: Store) -> None:
    ledger = over(answering(lambda *_: right(Request(child(9))), "my_function"), store)
    with pytest.raises(ValueError, match="conv 9") as caught:
        ledger.evaluate(requests(1))
    assert helpers.is_sentence(caught.value, "my_function"), caught.value
    assert len(store) == 0
