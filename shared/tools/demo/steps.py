"""Steps with a progress bar and a time each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from shared.tools.demo.words import Words


@dataclass
class Step:
    """A step under way."""

    _bar: Progress
    _task: TaskID
    outcome: str = ""

    def of(self, total: float | None) -> None:
        """Say how much there is to do; None when nobody knows."""
        self._bar.update(self._task, total=total)

    def advance(self, by: float) -> None:
        """Say that so much more is done."""
        self._bar.advance(self._task, by)

    def at(self, done: float, note: str = "") -> None:
        """Say how much is done, and what goes on."""
        self._bar.update(self._task, completed=done, note=note)

    def done(self, outcome: str) -> None:
        """Say what came of it."""
        self.outcome = outcome


@dataclass
class Steps:
    """Runs steps one after another and remembers their seconds."""

    console: Console
    words: Words
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run the block as the step `name`, a name in the table of words."""
        title, began = self.words(name), self.clock()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}", style="dim"), TimeElapsedColumn())  # fmt: skip
        with Progress(*columns, console=self.console, transient=True) as bar:
            step = Step(bar, bar.add_task(title, total=None, note=""))
            try:
                yield step
            except BaseException:
                bar.stop()
                self.console.print(f"[red]✗[/] {title}", highlight=False)
                raise
        took = self.seconds[name] = self.clock() - began
        self._tell(title, step.outcome, took)

    def _tell(self, title: str, outcome: str, took: float) -> None:
        seconds = self.words("seconds", s=took)
        self.console.print(
            f"[green]✓[/] {title} [dim]{seconds:>8}[/]", highlight=False, soft_wrap=True
        )
        if outcome:
            self.console.print(f"    {outcome}", markup=False, highlight=False, soft_wrap=True)
