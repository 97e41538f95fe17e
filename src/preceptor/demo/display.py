"""Steps and their progress in, two bars with the time left out: the whole demo and the step under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from preceptor.stage import Progress
from preceptor.terminal import describe_metrics, describe_time

_LINE_EVERY = 20.0


class Display:
    """Shows where the demo is. `expected` maps each step to the seconds it takes on two cores, to weigh them."""

    def __init__(
        self, console: Console, expected: Mapping[str, float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console
        self._clock = clock
        self._expected = dict(expected)
        self._finished: set[str] = set()
        self._bars: RichProgress | None = None
        self._pace = 1.0  # seconds really taken over seconds expected, so far

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draw the bars while the block runs; plain lines where there is no terminal."""
        if not self.console.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description:<11}"),
            BarColumn(bar_width=36),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[numbers]}"),
        )
        with RichProgress(*columns, console=self.console) as bars:
            self._bars = bars
            self._overall = bars.add_task("whole demo", total=1.0, left="", numbers="")
            yield
        self._bars = None

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False)

    def skip(self, step: str) -> None:
        self._finished.add(step)

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Yield the progress function of one step."""
        began = self._clock()
        task = self._bars.add_task(name, total=1.0, left="", numbers="") if self._bars is not None else None
        last_line = began

        def report(done: int, total: int, metrics: dict[str, Any]) -> None:
            nonlocal last_line
            share = min(done / total, 1.0) if total else 0.0
            label = str(metrics.get("stage", name))
            numbers = describe_metrics({key: value for key, value in metrics.items() if key != "eta_s"})
            left = self._left(name, self._clock() - began)
            if self._bars is not None and task is not None:
                eta = metrics.get("eta_s")
                shown = describe_time(eta) if eta is not None else ""
                self._bars.update(task, description=label, completed=share, numbers=numbers, left=shown)
                self._bars.update(self._overall, completed=self._share(name, began), left=left)
            elif self._clock() - last_line > _LINE_EVERY:
                last_line = self._clock()
                self.say(f"  {label} {done}/{total}  {numbers}  {left}")

        yield report
        took = self._clock() - began
        self._finished.add(name)
        expected = self._expected.get(name, 0.0)
        if expected > 15:
            self._pace = 0.5 * self._pace + 0.5 * took / expected
        if self._bars is not None and task is not None:
            self._bars.remove_task(task)
            self._bars.update(self._overall, completed=self._share(None, began), left="")

    def _left(self, name: str, spent: float) -> str:
        """The time left as planned; of a step that has outlasted its plan, that it has, and what comes after it."""
        now = self._expected.get(name, 0.0) * self._pace - spent
        waiting = (seconds for step, seconds in self._expected.items() if step not in {*self._finished, name})
        later = sum(waiting) * self._pace
        if now > 0:
            return f"about {describe_time(now + later)}"
        return "longer than planned" + (f", then about {describe_time(later).removesuffix(' left')}" if later else "")

    def _share(self, name: str | None, began: float) -> float:
        total = sum(self._expected.values())
        done = sum(self._expected.get(step, 0.0) for step in self._finished)
        if name is not None:
            expected = self._expected.get(name, 0.0)
            done += min((self._clock() - began) / self._pace, expected * 0.98)
        return done / total
