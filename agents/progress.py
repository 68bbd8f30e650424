"""A live progress line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from nas_gym.evaluation import Evaluation
from nas_gym.ledger import Ledger

PLAIN_EVERY = 5.0  # seconds between two lines where the output is no terminal


class Progress:
    """Shows incumbent, speed and remaining time of a search.

    Args:
        console: Where to.
        budget: Distinct children that the search will evaluate.
    """

    def __init__(self, console: Console, budget: int) -> None:
        self.console = console
        self.budget = budget
        self._started = time.monotonic()
        self._last_line = 0.0
        self._trained = 0
        self._failed = 0
        self._bar = RichProgress(
            TextColumn("searching"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=budget, text="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, ledger: Ledger, evaluation: Evaluation) -> None:
        """Take note of one more distinct child."""
        self._trained += evaluation.origin != "recalled"
        self._failed += not evaluation.ok
        text = self._text(ledger)
        self._bar.update(self._task, completed=ledger.distinct, text=text)
        now = time.monotonic()
        due = now - self._last_line >= PLAIN_EVERY or ledger.distinct == self.budget
        if not self.console.is_terminal and due:
            self._last_line = now
            line = f"{ledger.distinct}/{self.budget} {text}"
            self.console.print(line, highlight=False, soft_wrap=True)

    def _text(self, ledger: Ledger) -> str:
        best, metric = ledger.best, ledger.objective.metric
        parts = ["no child yet"]
        if best is not None:
            parts = [f"best {metric.format(ledger.objective.value(best))}"]
        if self._trained:
            rate = self._trained / (time.monotonic() - self._started)
            left = max(0.0, (self.budget - ledger.distinct) / rate)
            parts += [f"{60 * rate:.1f}/min", f"ETA {int(left // 60)}:{int(left % 60):02}"]
        if ledger.recalled:
            parts.append(f"{ledger.recalled} recalled")
        if ledger.repeats:
            parts.append(f"{ledger.repeats} repeats")
        if self._failed:
            parts.append(f"{self._failed} failed")
        return " | ".join(parts)
