from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import pytest

from nas_gym.evaluation import Evaluation
from nas_gym.evaluators import BudgetExhausted, Ledger, TableEvaluator, rank
from nas_gym.evaluators import ledger as ledger_module
from nas_gym.search_spaces import Architecture
from nas_gym.store import ReplayError, Store


def child(number: int) -> Architecture:
    return Architecture("x", (("conv", number),))


def children(*numbers: int) -> list[Architecture]:
    return [child(number) for number in numbers]


@pytest.fixture
def inner() -> helpers.Recorder:
    return helpers.Recorder()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.db") as store:
        yield store


def asked(inner: helpers.Recorder) -> list[int]:
    """The numbers of the children that were really evaluated, in order."""
    return [int(architecture.layers[0][1]) for batch in inner.batches for architecture, _ in batch]


def account(ledger: Ledger) -> tuple[int, int, int, int]:
    return ledger.proposals, ledger.distinct, ledger.repeats, ledger.recalled


# ---------------------------------------------------------------- repeats


def test_repeats_are_free_and_counted_apart(inner: helpers.Recorder) -> None:
    ledger = Ledger(inner)
    first = ledger.evaluate(children(1, 2, 1))
    assert [e.architecture for e in first] == children(1, 2, 1)
    assert first[0] is first[2]
    assert ledger.evaluate(children(2, 3, 2, 2))[0] is first[1]
    assert asked(inner) == [1, 2, 3]
    assert account(ledger) == (7, 3, 4, 0)
    assert [len(batch) for batch in inner.batches] == [2, 1]


def test_another_seed_is_another_child(inner: helpers.Recorder) -> None:
    ledger = Ledger(inner)
    one, two, three = ledger.evaluate(children(1, 1, 1), [5, 6, 5])
    assert one is three
    assert one.val_accuracy != two.val_accuracy
    assert account(ledger) == (3, 2, 1, 0)


def test_nothing_new_asks_nobody(inner: helpers.Recorder) -> None:
    ledger = Ledger(inner)
    ledger.evaluate(children(1))
    ledger.evaluate(children(1, 1))
    ledger.evaluate([])
    assert len(inner.batches) == 1


# ---------------------------------------------------------------- the store


def test_what_the_store_knows_is_recalled_and_counted(store: Store) -> None:
    first = Ledger(helpers.Recorder(), store)
    before = first.evaluate(children(1, 2))
    second = helpers.Recorder()
    ledger = Ledger(second, store)
    after = ledger.evaluate(children(2, 3, 1, 2))
    assert asked(second) == [3]
    assert account(ledger) == (4, 3, 1, 2)
    assert [e.source for e in after] == ["recalled", "table", "recalled", "recalled"]
    assert after[0].val_accuracy == before[1].val_accuracy
    assert len(store) == 3


def test_the_context_is_part_of_what_is_recalled(store: Store) -> None:
    Ledger(TableEvaluator(helpers.score, "one"), store).evaluate(children(1))
    other = Ledger(TableEvaluator(helpers.score, "two"), store)
    other.evaluate(children(1))
    assert account(other) == (1, 1, 0, 0)
    assert len(store) == 2


def test_failures_are_kept_too(store: Store) -> None:
    failed = Evaluation(child(1), "diverged", detail="nan", source="table")
    Ledger(TableEvaluator(lambda *_: failed), store).evaluate(children(1))
    again = Ledger(TableEvaluator(lambda *_: pytest.fail("was trained again")), store)
    assert again.evaluate(children(1))[0].status == "diverged"
    assert again.best is None


def test_what_ended_before_an_exception_is_kept(store: Store) -> None:
    def third_is_a_bug(architecture: Architecture, seed: int) -> float:
        if architecture == child(3):
            raise helpers.Bug("third")
        return 0.5

    ledger = Ledger(TableEvaluator(third_is_a_bug), store, run="a")
    with pytest.raises(helpers.Bug):
        ledger.evaluate(children(1, 2, 3, 4))
    assert len(store) == 2
    assert ledger.distinct == 2
    assert len(ledger.evaluate(children(1, 2))) == 2


def test_proposals_are_recorded_in_order(store: Store) -> None:
    ledger = Ledger(helpers.Recorder(), store, run="a")
    ledger.evaluate(children(2, 1, 2))
    ledger.evaluate(children(1, 3))
    assert [e.architecture for e in store.run("a")] == children(2, 1, 2, 1, 3)

    again = Ledger(helpers.Recorder(), store, run="a")
    again.evaluate(children(2, 1, 2))
    with pytest.raises(ReplayError):
        again.evaluate(children(1, 4))
    assert asked(again.inner) == []  # type: ignore[arg-type]
    assert [e.architecture for e in store.run("a")] == children(2, 1, 2, 1, 3)


def test_a_run_needs_a_name_to_be_recorded(store: Store) -> None:
    Ledger(helpers.Recorder(), store).evaluate(children(1))
    assert store.run("") == []


# ---------------------------------------------------------------- the budget


def test_the_budget_is_exact(inner: helpers.Recorder, store: Store) -> None:
    """In the middle of a batch too: what could be paid for is evaluated and on record."""
    ledger = Ledger(inner, store, run="a")
    ledger.budget = 3
    ledger.evaluate(children(1, 2))
    with pytest.raises(BudgetExhausted, match="budget of 3 "):
        ledger.evaluate(children(1, 3, 2, 4, 1, 5))
    assert asked(inner) == [1, 2, 3]
    # Repeats before the first child that cannot be paid for were asked, those after it were not.
    assert account(ledger) == (5, 3, 2, 0)
    assert [e.architecture for e in store.run("a")] == children(1, 2, 1, 3, 2)
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(children(9))
    assert account(ledger) == (5, 3, 2, 0)
    assert ledger.evaluate(children(2, 3))  # what is known stays free


def test_a_budget_met_by_the_last_child_is_not_exceeded(inner: helpers.Recorder) -> None:
    ledger = Ledger(inner)
    ledger.budget = 2
    assert len(ledger.evaluate(children(1, 2, 1, 2))) == 4


@pytest.mark.parametrize("budget", [0, -1])
def test_no_budget_no_child(inner: helpers.Recorder, budget: int) -> None:
    ledger = Ledger(inner)
    ledger.budget = budget
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(children(1))
    assert asked(inner) == []


def test_recalled_children_cost_the_same_budget(store: Store) -> None:
    Ledger(helpers.Recorder(), store).evaluate(children(1, 2))
    ledger = Ledger(helpers.Recorder(), store)
    ledger.budget = 2
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(children(1, 2, 3))
    assert account(ledger) == (2, 2, 0, 2)


def test_a_search_that_asks_for_nothing_new_ends(
    inner: helpers.Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "STALL", 10)
    ledger = Ledger(inner)
    ledger.evaluate(children(1))
    for _ in range(20):
        ledger.evaluate(children(1))  # without a budget nobody counts
    ledger.budget = 5
    ledger.evaluate(children(3))
    for _ in range(9):
        ledger.evaluate(children(1))
    ledger.evaluate(children(1, 2))  # something new: the count starts again
    for _ in range(9):
        ledger.evaluate(children(2))
    with pytest.raises(BudgetExhausted, match="last 10 proposals"):
        ledger.evaluate(children(1))
    assert ledger.distinct == 3


# ---------------------------------------------------------------- watchers and the incumbent


def test_watchers_see_each_distinct_child_once(inner: helpers.Recorder, store: Store) -> None:
    Ledger(helpers.Recorder(), store).evaluate(children(2))
    ledger = Ledger(inner, store)
    seen: list[tuple[int, Evaluation]] = []
    ledger.watchers.append(lambda account, evaluation: seen.append((account.distinct, evaluation)))
    ledger.evaluate(children(1, 2, 1))
    ledger.evaluate(children(2, 3))
    assert [distinct for distinct, _ in seen] == [1, 2, 3]
    assert {e.architecture for _, e in seen} == set(children(1, 2, 3))


def test_watchers_know_of_the_children_that_met_the_budget(inner: helpers.Recorder) -> None:
    ledger = Ledger(inner)
    ledger.budget = 1
    seen: list[Any] = []
    ledger.watchers.append(lambda *event: seen.append(event))
    with pytest.raises(BudgetExhausted):
        ledger.evaluate(children(1, 2))
    assert len(seen) == 1


def test_the_incumbent_is_the_best_then_the_surest_then_the_first() -> None:
    ok = Evaluation(child(0), "ok", val_accuracy=0.5, val_loss=1.0)
    answers = {
        child(1): ok,
        child(2): replace(ok, status="timeout", val_accuracy=0.0, val_loss=None),
        child(3): replace(ok, val_loss=0.9),
        child(4): replace(ok, val_loss=0.9, params=4),
        child(5): replace(ok, val_accuracy=0.6, val_loss=9.0),
    }
    ledger = Ledger(TableEvaluator(lambda architecture, _: answers[architecture]))
    incumbents = []
    for number in (2, 1, 3, 4, 5, 1):
        ledger.evaluate(children(number))
        incumbents.append(ledger.best)
    assert incumbents == [None, *(answers[child(n)] for n in (1, 3, 3, 5, 5))]


def test_ranking_without_a_loss() -> None:
    ok = Evaluation(child(0), "ok", val_accuracy=0.5)
    assert rank(replace(ok, val_accuracy=0.6)) > rank(ok)


def test_closing_closes_what_it_holds(inner: helpers.Recorder, store: Store) -> None:
    ledger = Ledger(inner, store)
    of_both = dict(ledger.context) | {"code": {}}, dict(inner.context) | {"code": {}}
    assert of_both[0] == of_both[1]
    assert ledger.context["code"].keys() == {"look_up", "evaluator"}  # both are of the tests
    ledger.close()
    ledger.close()
    assert inner.closed == 2
