"""Progress of a plan in the terminal: one bar over all images, one line per finished experiment."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from ..experiments.plan import PlannedExperiment
from ..runs.journal import read_journal

POLL_SECONDS = 0.5
GROUP_COLUMNS = ("total", "head", "medium", "tail")


class PlanProgress:
    """Follows the journals of running experiments, whoever runs them.

    Args:
        console: where to draw.
        experiments: that will be run.
        runs: folder of the run folders.
    """

    def __init__(self, console: Console, experiments: Sequence[PlannedExperiment], runs: Path) -> None:
        self.console, self.runs = console, runs
        self.experiments = list(experiments)
        self.width = max((len(planned.title) for planned in experiments), default=0)
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[ended]}/{task.fields[of]}"),
            TextColumn("experiments"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            _ImagesPerSecond(),
            console=console,
            transient=True,
        )
        self.images = sum(planned.images for planned in experiments)
        self.task = self.bar.add_task("training", total=max(self.images, 1), ended=0, of=len(self.experiments))
        self.ended: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> PlanProgress:
        if self.experiments:
            self.bar.start()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.experiments:
            self._stop.set()
            self._thread.join()
            self.bar.stop()

    def end(self, planned: PlannedExperiment) -> None:
        """Print one line for an experiment that has ended; what is overridden stands last, where it may be long."""
        self.ended.add(planned.experiment.id)
        self.console.print(self._line(planned), soft_wrap=True, highlight=False)
        self._update()

    def _line(self, planned: PlannedExperiment) -> str:
        entries = read_journal(self.runs / planned.experiment.id)
        name = f"{escape(planned.title):{self.width}s}  seed {planned.experiment.seed}"
        overrides = f"  {escape(planned.overrides)}" if planned.overrides else ""
        if not entries:
            return f"[green]done[/green]  {name}  on another machine{overrides}"
        test = next((entry.metrics for entry in entries if entry.event == "test"), None)
        if test is None:
            return f"[red]failed[/red]  {name}  {escape(str(entries[-1].details.get('reason', '')))}{overrides}"
        values = "  ".join(
            f"{group} {100 * test[f'test/{group}']:5.1f}" for group in GROUP_COLUMNS if f"test/{group}" in test
        )
        return f"[green]done[/green]  {name}  {values}  {test['cost/train_seconds']:6.1f} s{overrides}"

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._update()

    def _update(self) -> None:
        seen = 0
        for planned in self.experiments:
            if planned.experiment.id in self.ended:
                seen += planned.images
                continue
            epochs = [e for e in read_journal(self.runs / planned.experiment.id) if e.event == "epoch"]
            seen += int(epochs[-1].details["images"]) if epochs else 0
        self.bar.update(self.task, completed=seen, ended=len(self.ended))


class _ImagesPerSecond(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.0f} images/s")


@contextmanager
def working(console: Console, what: str) -> Iterator[None]:
    """Show that something without measure is going on."""
    with console.status(what):
        yield
