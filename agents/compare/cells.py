"""Pieces of a comparison's page: its style, tables of figures, the matrix of probabilities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agents.compare.curves import Style
from agents.compare.statistics import Estimate
from agents.compare.tables import value
from agents.compare.trials import Measure
from agents.page import NONE, escape

STYLE = """
.scroll { overflow-x: auto; }
.only-narrow { display: none; }
h3 { margin: 22px 0 8px; font-size: 0.95rem; }
.swatch { display: inline-block; width: 18px; height: 0; border-top: 3px solid; margin-right: 7px;
  vertical-align: 4px; }
.numbers td small, .matrix td small { display: block; color: #5b6776; font-size: 0.72rem;
  line-height: 1.2; white-space: nowrap; }
.numbers .agent, .matrix th.agent, .pairs .agent { text-align: left; white-space: normal; }
.matrix { width: auto; }
.matrix td { text-align: center; min-width: 4.4rem; border: 2px solid #fff; border-radius: 6px; }
.matrix th { text-align: center; border: 0; }
.matrix tbody { border: 0; }
.pairs td { white-space: normal; text-align: left; }
.pairs td.figure { white-space: nowrap; }
.conclusion { font-size: 1.05rem; font-weight: 600; }
details summary { cursor: pointer; color: #1d4ed8; margin-top: 14px; font-size: 0.9rem; }
code { font-size: 0.9em; overflow-wrap: anywhere; }
@media screen and (max-width: 720px) {
  .only-narrow { display: block; }
  .only-wide { display: none; }
  .swatch { width: 10px; margin-right: 4px; }
  .matrix td { min-width: 2.7rem; padding: 5px 2px; }
  .numbers td small, .matrix td small { white-space: normal; }
}
"""


def both_ways(found: Mapping[tuple[str, str], Estimate]) -> dict[tuple[str, str], Estimate]:
    """Probabilities of improvement with those of the turned pairs."""
    turned = {
        (second, first): Estimate(1 - p.value, 1 - p.high, 1 - p.low)
        for (first, second), p in found.items()
    }
    return {**found, **turned}


def matrix(
    agents: Sequence[str],
    probabilities: Mapping[tuple[str, str], Estimate],
    style: Mapping[str, Style],
) -> str:
    """How probable it is that the agent of a row beats that of a column."""
    head = "".join(f"<th>{number}</th>" for number in range(1, len(agents) + 1))
    body = ""
    for number, first in enumerate(agents, 1):
        cells = "".join(_probability(probabilities.get((first, second))) for second in agents)
        name = f'<th class="agent" scope="row">{number}&#160; {agent_cell(first, style)}</th>'
        body += f"<tr>{name}{cells}</tr>"
    return (
        '<div class="scroll"><table class="matrix"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _probability(found: Estimate | None) -> str:
    if found is None:
        return f"<td>{NONE}</td>"
    strength = min(1.0, 2 * abs(found.value - 0.5))
    color = "0,114,178" if found.value > 0.5 else "213,94,0"
    clear = found.low > 0.5 or found.high < 0.5
    text = f"<b>{found.value:.2f}</b>" if clear else f"{found.value:.2f}"
    return (
        f'<td style="background:rgba({color},{0.4 * strength:.2f})">{text}'
        f"{_range(f'{found.low:.2f}', f'{found.high:.2f}')}</td>"
    )


def numbers(heads: Sequence[str], rows: Sequence[Sequence[str]], *, agent: int) -> str:
    """A table of cells that are HTML already; the column ``agent`` is text."""

    def kind(index: int) -> str:
        return ' class="agent"' if index == agent else ""

    head = "".join(f'<th scope="col"{kind(i)}>{cell}</th>' for i, cell in enumerate(heads))
    body = "".join(
        f"<tr>{''.join(f'<td{kind(i)}>{cell}</td>' for i, cell in enumerate(row))}</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="numbers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def agent_cell(label: str, style: Mapping[str, Style]) -> str:
    """An agent's label with the line that it is drawn with."""
    one = style[label]
    kind = "dashed" if one.dash else "solid"
    return (
        f'<span class="swatch" style="border-color:{one.color};border-top-style:{kind}"></span>'
        f"{words(label)}"
    )


def words(label: str) -> str:
    """A label that may be broken at its joints."""
    return re.sub("([:=_/]|&#x2F;)", r"\1<wbr/>", escape(label))


def _range(low: str, high: str) -> str:
    return f"<small>{low}\u2013<wbr/>{high}</small>"


def figure(found: Estimate, measure: Measure, seeds: int = 2) -> str:
    """A value with its interval below; of one seed without."""
    text = value(found.value, measure)
    if seeds < 2:
        return text
    return text + _range(value(found.low, measure), value(found.high, measure))
