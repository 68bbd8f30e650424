"""Pieces of an HTML page: its frame and style, tables, and numbers as people read them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
NONE = "\u2013"  # a dash, where there is no number

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f3f5f8; color: #1f2933; font: 1rem/1.55 {SANS}; }}
main {{ max-width: 1000px; margin: 0 auto; padding: 28px 16px 40px; }}
h1 {{ margin: 0; font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere; }}
h2 {{ margin: 0 0 12px; font-size: 1.1rem; break-after: avoid; }}
p {{ margin: 0 0 4px; max-width: 46rem; }}
header p, .note {{ color: #5b6776; font-size: 0.9rem; }}
p.note {{ margin-top: 10px; }}
section {{ background: #fff; border: 1px solid #dfe5ec; border-radius: 10px; padding: 20px;
  margin: 16px 0; }}
.columns {{ display: grid; gap: 20px 28px; grid-template-columns: 1fr 1fr; }}
.columns > * {{ min-width: 0; }}
.big {{ font-size: 3.2rem; font-weight: 700; line-height: 1.1; color: #1d4ed8; margin: 0; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 10px;
  margin: 16px 0; }}
.tiles div {{ background: #f3f5f8; border-radius: 8px; padding: 8px 12px; }}
dt {{ color: #5b6776; font-size: 0.8rem; }}
.tiles dd {{ margin: 0; font-size: 1.15rem; font-weight: 600; }}
svg {{ display: block; max-width: 100%; height: auto; margin: 0 auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.9rem;
  font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; padding: 7px 8px; vertical-align: top; }}
td {{ white-space: nowrap; }}
th {{ color: #5b6776; font-weight: 600; border-bottom: 1px solid #cbd4de; }}
thead th {{ vertical-align: bottom; }}
tbody {{ border-bottom: 1px solid #e6eaef; break-inside: avoid; }}
.words td, .facts td, .facts th {{ text-align: left; }}
.facts tr {{ border-bottom: 1px solid #e6eaef; }}
.facts th {{ border: 0; width: 11rem; vertical-align: top; }}
.facts td, .words td {{ font-family: {MONO}; font-size: 0.8rem; overflow-wrap: anywhere; }}
.facts td {{ white-space: pre-wrap; }}
.words td {{ white-space: normal; padding-top: 0; color: #5b6776; }}
.left th:nth-child(n), .left td:nth-child(n) {{ text-align: left; }}
.left td:last-child {{ white-space: normal; overflow-wrap: anywhere; width: 100%; }}
ul {{ margin: 0; padding-left: 1.2rem; max-width: 46rem; }}
li {{ margin-bottom: 6px; }}
@media screen and (max-width: 720px) {{
  main {{ padding: 16px 8px; }}
  section {{ padding: 14px 12px; }}
  .columns {{ grid-template-columns: 1fr; }}
  table {{ font-size: 0.8rem; }}
  th, td {{ padding: 6px 4px; }}
  .facts th {{ width: 7rem; }}
}}
@media print {{
  html {{ font-size: 12px; }}
  body {{ background: #fff; }}
  .facts tbody {{ break-inside: auto; }}
  main {{ max-width: none; padding: 0; }}
  section {{ border: 0; padding: 0; margin: 18px 0; }}
  svg, .tiles div {{ break-inside: avoid; }}
}}
"""


def escape(text: object) -> str:
    """Text for XML and HTML, between tags and in attributes.

    Characters that no XML document may hold turn into the replacement character.
    """
    return html.escape(_NO_XML.sub("\ufffd", str(text)))


def page(title: str, sections: Iterable[str]) -> str:
    """A whole document of sections that are HTML already; it needs nothing beside it."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main>\n</body>\n</html>\n"
    )


def table(headers: Sequence[str], rows: Sequence[tuple[Sequence[str], str]]) -> str:
    """Rows of numbers, each with a line of words below."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join(
        f"<tbody><tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        f'<tr class="words"><td></td><td colspan="{len(headers) - 1}">{escape(words)}</td></tr>'
        "</tbody>"
        for cells, words in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>{body}</table>"


def tiles(values: Mapping[str, str]) -> str:
    """Names and values side by side."""
    cells = (f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in values.items())
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def number(count: int, one: str, many: str = "") -> str:
    """A count with its noun: 1 child, 1,200 children."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def loss(nats: float | None) -> str:
    """A loss with four decimals."""
    return NONE if nats is None else f"{nats:.4f}"


def scaled(value: float | None, space: str = "") -> str:
    """Three digits and a unit: 812, 12.3k, 1.75M."""
    if value is None:
        return NONE
    if value < 1000:
        return f"{value:g}"
    for unit in "kMGT":
        value /= 1000
        if value < 999.5 or unit == "T":
            break
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}{space}{unit}"


def duration(seconds: float) -> str:
    """Seconds as 12.3 s, 3 min 20 s or 5 h 12 min."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
