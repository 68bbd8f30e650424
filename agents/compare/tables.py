"""The numbers of a comparison as people read them, and ``summary.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.compare.results import Results
from agents.compare.standings import FEWEST, Standing
from agents.compare.statistics import Estimate
from agents.compare.trials import PERCENTS, Entry, Measure, checkpoints

TUNING = (
    "Every agent ran with the options in its label and its own defaults otherwise. No tuning was "
    "part of this comparison or of its budget: an agent whose defaults were chosen in the same "
    "environment has an advantage that these numbers do not show."
)
PLACES = (
    "An agent's place is one more than the number of agents that are better than it, so agents "
    "share a place where their difference is not decided; the intervals are not corrected for "
    "the number of pairs."
)


def value(number: float, measure: Measure) -> str:
    """A regret with three decimals, a score with two."""
    if not measure.percent:
        return f"{number:.4g}"
    digits = 3 if measure.sealed is not None else 2
    return f"{round(number, digits) + 0.0:.{digits}f}"


def interval(found: Estimate, measure: Measure, seeds: int = 2) -> str:
    """A value with its interval; of one seed without."""
    text = value(found.value, measure)
    if seeds < 2:
        return text
    return f"{text} [{value(found.low, measure)}, {value(found.high, measure)}]"


def signed(found: Estimate, measure: Measure) -> str:
    """A difference with its interval, signs shown."""
    texts = [value(number, measure) for number in found]
    shown = [text if text.startswith("-") else f"+{text}" for text in texts]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def share(found: Estimate) -> str:
    """A probability with its interval."""
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def milliseconds(entry: Entry) -> str:
    """The agent's own time for each distinct child."""
    return f"{1000 * entry.agent_seconds_per_child:.1f} ms"


def count(mean: float) -> str:
    """A mean count, with a decimal where it has one."""
    return f"{mean:.0f}" if mean == int(mean) else f"{mean:.1f}"


def unit(measure: Measure) -> str:
    """What the values are, in a few words."""
    return "regret (points)" if measure.sealed is not None else measure.metric


def floor(measure: Measure, points: str = " points") -> str:
    """The noise floor, where it is known."""
    noise = measure.noise or 0.0
    return f"{noise:.2f}{points}" if measure.percent else f"{noise:.2g}"


def meaning(standing: Standing) -> str:
    """What is measured in an environment, and how finely it can be."""
    measure = standing.measure
    column = measure.objective.columns[0]
    way = "highest" if column.metric.up else "lowest"
    if measure.optimum is not None:
        metric = measure.metric.removesuffix(", %")
        what = (
            f"Regret: the best {metric} of any architecture ({measure.optimum:.2f} %) minus that "
            f"of the architecture whose observed {column.title} is the {way} so far, "
            "in percentage points; lower is better. The search does not see it."
        )
    else:
        what = (
            f"Score: the {way} {column.title} so far{', in percent' if measure.percent else ''}; "
            f"{'higher' if column.metric.up else 'lower'} is better. It is what "
            "the search climbs, so the best of many noisy trainings looks better than it is."
        )
    if measure.noise is None and measure.trained:
        return f"{what} The noise floor is not known: --noise K measures it."
    if measure.noise is None:
        return f"{what} The noise floor is not known."
    return (
        f"{what} Noise floor: training one network again changes it by {floor(measure)} "
        "(standard deviation). A smaller difference between agents is marked: many seeds may "
        "decide it, but a single training says more."
    )


def conclusion(standing: Standing) -> str:
    """What may be said about an environment, in a sentence or two."""
    if standing.refusal:
        return f"{standing.refusal[0].upper()}{standing.refusal[1:]}."
    decided = [pair for pair in standing.pairs if pair.decided]
    inside = sum(pair.inside_noise for pair in decided)
    inside_floor = (
        f" {inside} of the {len(decided)} decided differences are inside the noise floor of "
        f"{floor(standing.measure, '')}: one training of one network says more."
        if inside
        else ""
    )
    return _order(standing) + inside_floor


def _order(standing: Standing) -> str:
    first = [entry.agent for entry in standing.ranked if standing.place(entry) == 1]
    others = len(standing.ranked) - len(first)
    if not others:
        return (
            f"No difference between the {len(first)} ranked agents is decided at this budget with "
            f"these seeds{_too_few(standing)}."
        )
    if len(first) == 1:
        beaten = [p for p in standing.pairs if p.winner == first[0]]
        if len(beaten) == others:
            return f"{first[0]} is better than {_every(others)}."
        return f"{first[0]} is first; it is better than {len(beaten)} of the {others} others."
    return (
        f"{', '.join(first[:-1])} and {first[-1]} share the first place: what separates them is "
        "not decided."
    )


def _too_few(standing: Standing) -> str:
    most = max((pair.seeds for pair in standing.pairs), default=0)
    return "" if most >= FEWEST else f": {most} in common are too few, {FEWEST} can decide"


def seeds_of(entry: Entry) -> str:
    """How many seeds an agent has."""
    failed = f" ({len(entry.failed)} failed)" if entry.failed else ""
    return f"{len(entry.trials)}{failed}"


def markdown(results: Results) -> str:
    """The text of ``summary.md``."""
    lines = ["# Comparison", "", f"{scope(results)}", ""]
    for standing in results.standings:
        lines += [
            f"## {_line(standing.label)}",
            "",
            conclusion(standing),
            "",
            meaning(standing),
            "",
        ]
        lines += _rows(_ranking(standing, results.config.budget))
        if standing.pairs:
            lines += ["", "Differences of means at the whole budget, on common seeds:", ""]
            lines += _rows(_pairs(standing))
        notes = [note for entry in standing.entries for note in entry.notes]
        lines += ["", "Not ranked:", "", *(f"- {_line(note)}" for note in notes)] if notes else []
        lines.append("")
    if results.aggregate is not None and results.aggregate.iqms:
        lines += ["## All environments", ""]
        lines += _rows(_aggregate(results))
        lines.append("")
    lines += ["## Notes", "", *(f"- {note}" for note in notes_of(results)), ""]
    return "\n".join(lines)


def scope(results: Results) -> str:
    """How much was compared, in a sentence."""
    entries = [entry for standing in results.standings for entry in standing.entries]
    seeds = sorted({len(entry.trials) for entry in entries if entry.trials}) or [0]
    several = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    failed = sum(one.run.failed for one in results.records)
    return (
        f"{_count(len({entry.agent for entry in entries}), 'agent')} in "
        f"{_count(len(results.standings), 'environment')}, {several} "
        f"{'seed' if several == '1' else 'seeds'} each, {results.config.budget} distinct children "
        f"in every run; {_count(len(results.records) - failed, 'run')}"
        f"{f', and {failed} that failed' if failed else ''}."
    )


def notes_of(results: Results) -> list[str]:
    """What a reader must know to trust the figures, and to doubt them."""
    versions = {
        " ".join(f"{name} {number}" for name, number in (one.run.versions or {}).items())
        for one in results.records
    }
    notes = [
        "IQM is the interquartile mean over the seeds; brackets hold 95 % bootstrap intervals "
        "(percentile, 2,000 resamples of the seeds, within each environment).",
        "P(better) is the probability that a run of one agent beats a run of the other, ties "
        "counted one half (Agarwal et al. 2021).",
        PLACES,
        "The budget counts distinct children: a repeat is free, a child that fails is paid for. "
        "At one seed all agents meet the same noise of training.",
        "An agent's own time is CPU time outside the evaluator, the environment's steps included.",
        TUNING,
    ]
    if len(versions) > 1:
        notes.append(f"The runs are of different versions: {'; '.join(sorted(versions))}.")
    elif versions:
        notes.append(f"Versions: {versions.pop()}.")
    return notes


def _ranking(standing: Standing, budget: int) -> Iterator[Sequence[str]]:
    points = zip(PERCENTS, checkpoints(budget), strict=True)
    yield (
        *("place", "agent", "seeds"),
        *(f"IQM at {percent} % ({children})" for percent, children in points),
        *("mean at 100 %", "distinct", "repeats", "failures", "own time a child"),
    )
    for entry in standing.entries:
        place, seeds = standing.place(entry), len(entry.trials)
        head = ("" if place is None else str(place), f"`{entry.agent}`", seeds_of(entry))
        if not entry.trials:
            yield (*head, *[""] * 9)
            continue
        yield (
            *head,
            *(interval(one, standing.measure, seeds) for one in entry.iqms),
            interval(entry.means[-1], standing.measure, seeds),
            *(count(entry.mean_of(name)) for name in ("distinct", "repeats", "failures")),
            milliseconds(entry),
        )


def _pairs(standing: Standing) -> Iterator[Sequence[str]]:
    yield ("first", "second", "difference", "P(first better)", "verdict")
    for pair in standing.pairs:
        difference = signed(pair.difference, standing.measure)
        names = (f"`{pair.first}`", f"`{pair.second}`")
        yield (*names, difference, share(pair.probability), pair.verdict)


def _aggregate(results: Results) -> Iterator[Sequence[str]]:
    assert results.aggregate is not None
    measure = results.standings[0].measure
    yield ("agent", *(f"IQM at {percent} %" for percent in PERCENTS))
    for agent in results.aggregate.agents:
        yield (f"`{agent}`", *(interval(one, measure) for one in results.aggregate.iqms[agent]))


def _rows(rows: Iterator[Sequence[str]]) -> list[str]:
    cells = [[_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{'---|' * len(cells[0])}", *lines[1:]]


def _line(text: str) -> str:
    return " ".join(text.split())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _every(others: int) -> str:
    return "the other" if others == 1 else f"all {others} other ranked agents"
