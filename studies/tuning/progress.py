"""Progress of a study in the terminal: a bar per method over its budget, a line per trial, the best so far."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .definition import Arm
from .open_study import OpenStudy, result_of
from .trials import images_so_far
from .winners import best_trial, complete_trials, mark_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

OUTCOMES = {"complete": "[green]done[/green]    ", "pruned": "[blue]pruned[/blue]  "}


class StudyProgress:
    """Follows a study, whoever works on it.

    Args:
        console: where to draw.
        study: that is carried out.
        trials: folder of the run folders of trials.
    """

    def __init__(self, console: Console, study: OpenStudy, trials: Path) -> None:
        self.console, self.study, self.trials = console, study, trials
        arms = study.definition.arms
        one_dataset = len({arm.dataset for arm in arms}) == 1
        self.names = {arm.name: arm.method if one_dataset else arm.name for arm in arms}
        self.width = max(map(len, self.names.values()))
        self.told = {arm.name: {trial.number for trial in study.progress(arm).finished} for arm in arms}
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} % {task.fields[trials]} trials{task.fields[best]}"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.tasks = {
            arm.name: self.bar.add_task(
                f"{self.names[arm.name]:{self.width}s}", total=self._whole(arm), trials=0, best=""
            )
            for arm in arms
        }

    def __enter__(self) -> StudyProgress:
        self.update()
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self) -> None:
        """Read the study and draw it."""
        for arm in self.study.definition.arms:
            progress = self.study.progress(arm)
            for trial in progress.finished:
                if trial.number not in self.told[arm.name]:
                    self.told[arm.name].add(trial.number)
                    self.console.print(self._line(arm, trial), soft_wrap=True, highlight=False)
            done = sum(result_of(trial)["images"] for trial in progress.finished)
            done += sum(images_so_far(self.trials, t.user_attrs.get("experiments", ())) for t in progress.running)
            self.bar.update(self.tasks[arm.name], completed=done, trials=len(progress.finished), best=self._best(arm))

    def _whole(self, arm: Arm) -> int:
        definition = self.study.definition
        if definition.purpose == "tune":
            return self.study.budget.images
        return max(arm.images * len(arm.points) * len(definition.seeds), 1)

    def _best(self, arm: Arm) -> str:
        if self.study.definition.purpose == "sweep":
            return ""
        trials = complete_trials(self.study, arm)
        best = {value: best_trial(trials, value) for value in self.study.definition.values}
        marks = [f"{value} {100 * mark_of(trial, value):.1f}" for value, trial in best.items() if trial is not None]
        return f", best {', '.join(marks)}" if marks else ""

    def _line(self, arm: Arm, trial: FrozenTrial) -> str:
        result = result_of(trial)
        outcome = OUTCOMES.get(result["outcome"], f"[red]{result['outcome']:8s}[/red]")
        name = f"{outcome}{escape(self.names[arm.name]):{self.width}s} trial {trial.number:3d}"
        settings = ", ".join(f"{key.partition('.')[2]}={value}" for key, value in result["settings"].items())
        if trial.user_attrs.get("default"):
            settings = f"defaults{': ' if settings else ''}{settings}"
        if "seeds" in trial.user_attrs:
            settings += f"{', ' if settings else ''}seed {trial.user_attrs['seeds'][0]}"
        if not result["validation"]:
            return f"{name}  {escape(result['reason'])}  ({escape(settings)})"
        marks = "  ".join(f"{group} {100 * value:5.1f}" for group, value in result["validation"].items())
        return f"{name}  {marks}  {result['seconds']:6.1f} s  {escape(settings)}"
