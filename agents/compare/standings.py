"""Agents against each other: in one environment, and over several."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from agents.compare.files import Record
from agents.compare.statistics import (
    Estimate,
    estimate,
    paired_difference,
    probability_of_improvement,
)
from agents.compare.trials import PERCENTS, Entry, Measure, Trial

# Two agents that are alike differ in one direction on all of n seeds in 2 of 2^n cases: fewer
# seeds than these cannot tell them apart at 95 %, whatever a bootstrap interval says.
FEWEST = 6


@dataclass(frozen=True)
class Pair:
    """Two agents in one environment, at the end of the budget.

    Attributes:
        first: One agent.
        second: The other.
        difference: Mean of first minus second over the common seeds, in points.
        seeds: Number of common seeds.
        probability: That a run of the first beats a run of the second.
        sign: Of the measure.
        noise: Of the measure.
    """

    first: str
    second: str
    difference: Estimate
    seeds: int
    probability: Estimate
    sign: int
    noise: float | None

    @property
    def inside_noise(self) -> bool:
        """Whether the difference is smaller than what training one network again changes."""
        return self.noise is not None and abs(self.difference.value) < self.noise

    @property
    def decided(self) -> bool:
        """Whether one is better by more than chance.

        It may be so inside the noise floor: many seeds see what no single training could.
        """
        return not self.difference.holds_zero and self.seeds >= FEWEST

    @property
    def winner(self) -> str | None:
        """The better one, if that is decided."""
        if not self.decided:
            return None
        return self.first if self.sign * self.difference.value > 0 else self.second

    @property
    def verdict(self) -> str:
        """What may be said about the two, in a clause."""
        reasons = []
        if self.difference.holds_zero:
            reasons.append("its interval holds zero")
        if self.seeds < FEWEST:
            reasons.append(f"{self.seeds} common seeds are too few, {FEWEST} can decide")
        floor = f"inside the noise floor of {self.noise:.2f}" if self.inside_noise else ""
        if reasons:
            return f"undecided: {', '.join(reasons)}{f'; {floor}' if floor else ''}"
        return f"{self.winner} is better{f', {floor}' if floor else ''}"


@dataclass(frozen=True)
class Standing:
    """All agents in one environment.

    Attributes:
        label: The environment's label.
        measure: How runs are judged.
        budget: Distinct children of a run.
        entries: The agents: ranked ones first, best first, if there is an order.
    """

    label: str
    measure: Measure
    budget: int
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, label: str, measure: Measure, budget: int, records: Sequence[Record]) -> Standing:
        """Sort the records of an environment by agent."""
        entries = []
        for agent in dict.fromkeys(one.run.agent for one in records):
            mine = [one for one in records if one.run.agent == agent]
            trials = tuple(Trial(one, measure) for one in mine if not one.run.failed)
            failed = tuple(one for one in mine if one.run.failed)
            entries.append(Entry(agent, trials, failed, budget))
        unsorted = cls(label, measure, budget, tuple(entries))
        if not unsorted.refusal:
            key = {entry.agent: unsorted._key(entry) for entry in entries}
            entries.sort(key=lambda entry: key[entry.agent])
        return cls(label, measure, budget, tuple(entries))

    @property
    def ranked(self) -> list[Entry]:
        """The agents that may be ranked."""
        return [entry for entry in self.entries if entry.ranked]

    @property
    def refusal(self) -> str:
        """Why no order is given; empty if one is."""
        if all(len(entry.trials) <= 1 for entry in self.entries):
            return "no order is given: one seed ranks nothing, as chance alone orders single runs"
        if len(self.ranked) < 2:
            return (
                "no order is given: fewer than two agents have several seeds that all spent their "
                "budget"
            )
        return ""

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every two ranked agents that share two seeds or more."""
        found = []
        for one, other in itertools.combinations(self.ranked, 2):
            common = [seed for seed in one.final if seed in other.final]
            if len(common) < 2:
                continue
            sign = self.measure.sign
            ends = sign * one.values[:, -1], sign * other.values[:, -1]
            found.append(
                Pair(
                    one.agent,
                    other.agent,
                    paired_difference(one.final, other.final),
                    len(common),
                    probability_of_improvement([ends]),
                    sign,
                    self.measure.noise,
                )
            )
        return found

    def place(self, entry: Entry) -> int | None:
        """One more than the number of agents that are better, where that is decided."""
        if self.refusal or not entry.ranked:
            return None
        lost = [p for p in self.pairs if entry.agent in (p.first, p.second) and p.decided]
        return 1 + sum(pair.winner != entry.agent for pair in lost)

    def _key(self, entry: Entry) -> tuple[float, ...]:
        place = self.place(entry)
        if place is None:
            return (math.inf, not entry.trials)
        return (0, place, -self.measure.sign * entry.iqms[-1].value)


@dataclass(frozen=True)
class Aggregate:
    """Agents over all environments in which each of them may be ranked.

    Attributes:
        environments: Labels.
        agents: Labels.
        name: ``regret`` or ``score``; empty where the environments differ in that.
        iqms: By agent, the interquartile mean over all runs in all environments.
        probabilities: By first and second agent, the probability of improvement, averaged.
    """

    environments: list[str]
    agents: list[str]
    name: str
    iqms: dict[str, list[Estimate]]
    probabilities: dict[tuple[str, str], Estimate]


def aggregate(standings: Sequence[Standing]) -> Aggregate | None:
    """The agents over several environments; None where there is one, or no two agents in all."""
    entries = [{entry.agent: entry for entry in standing.ranked} for standing in standings]
    agents = [
        agent for agent in (entries[0] if entries else {}) if all(agent in e for e in entries)
    ]
    if len(standings) < 2 or len(agents) < 2:
        return None
    signs = [standing.measure.sign for standing in standings]
    probabilities = {
        (first, second): probability_of_improvement(
            [
                (sign * e[first].values[:, -1], sign * e[second].values[:, -1])
                for sign, e in zip(signs, entries, strict=True)
            ]
        )
        for first, second in itertools.combinations(agents, 2)
    }
    names = {standing.measure.name for standing in standings}
    iqms = {
        agent: [estimate([e[agent].values[:, i] for e in entries]) for i in range(len(PERCENTS))]
        for agent in agents
        if len(names) == 1
    }
    if iqms:
        agents.sort(key=lambda agent: -signs[0] * iqms[agent][-1].value)
    name = names.pop() if len(names) == 1 else ""
    return Aggregate([standing.label for standing in standings], agents, name, iqms, probabilities)
