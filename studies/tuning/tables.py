"""Studies as tables in the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from .definition import Arm, StudyDefinition
from .open_study import OpenStudy, result_of
from .trials import GROUPS
from .winners import best_trial, complete_trials, mark_of, pareto_front

MIN_TRIALS_FOR_IMPORTANCE = 4


def definition_table(definition: StudyDefinition) -> Table:
    """What is searched: one row per method and setting."""
    table = _table(f"Study {definition.name}: {definition.purpose} on {definition.dataset}, recipe {definition.recipe}")
    for column in ("method", "dataset", "images each", "setting", "from", "searched"):
        table.add_column(column, overflow="fold", justify="right" if column == "images each" else "left")
    for arm in definition.arms:
        head = (arm.method, arm.dataset, f"{arm.images:,}")
        rows = [(key, str(arm.defaults[key]), _searched(definition, arm, key)) for key in arm.space]
        rows += [(setting, "", "held") for setting in arm.fixed]
        for i, row in enumerate(rows or [("", "", "as it is")]):
            table.add_row(*(head if not i else ("", "", "")), *row)
    return table


def trials_table(study: OpenStudy, arm: Arm) -> Table:
    """Every trial of an arm, oldest first."""
    progress, keys = study.progress(arm), list(arm.space)
    values = study.definition.values
    best = {value: best_trial(complete_trials(study, arm), value) for value in values}
    table = _table(
        f"{arm.method} on {arm.dataset}: {len(progress.finished)} trials, {progress.images:,} training images"
    )
    for column in ("trial", "outcome", *GROUPS, "seed", *(key.partition(".")[2] for key in keys)):
        table.add_column(column, justify="left" if column == "outcome" else "right", overflow="fold")
    for trial in progress.finished:
        result = result_of(trial)
        stars = "*" * any(t is not None and t.number == trial.number for t in best.values())
        marks = [_percent(result["validation"].get(group)) for group in GROUPS]
        seed = str(trial.user_attrs["seeds"][0]) if "seeds" in trial.user_attrs else ""
        outcome = result["outcome"] + (" (defaults)" if trial.user_attrs.get("default") else "")
        settings = [str(result["settings"].get(key, "")) for key in keys]
        table.add_row(f"{trial.number}{stars}", outcome, *marks, seed, *settings)
    table.caption = f"mAP on the validation split, percent; * is best by {' or '.join(values)}"
    table.caption_justify = "left"
    return table


def best_table(study: OpenStudy) -> Table:
    """The best trial of each method by each objective, beside its defaults."""
    definition = study.definition
    table = _table("Best by objective (validation split, percent)")
    for column in ("method", "objective", "trial", "best", "defaults", "trials", "images used", "settings"):
        left = column in ("method", "objective", "settings")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for arm in definition.arms:
        progress, trials = study.progress(arm), complete_trials(study, arm)
        default = next((trial for trial in trials if trial.user_attrs.get("default")), None)
        for value in definition.values:
            best = best_trial(trials, value)
            if best is None:
                table.add_row(arm.method, value, "-", "-", "-", str(len(progress.finished)), f"{progress.images:,}", "")
                continue
            table.add_row(
                arm.method,
                value,
                str(best.number),
                _percent(mark_of(best, value)),
                _percent(mark_of(default, value) if default else None),
                str(len(progress.finished)),
                f"{progress.images:,}",
                escape(_settings(result_of(best)["settings"])),
            )
    table.caption = f"budget: {study.budget.images:,} training images of each method"
    table.caption_justify = "left"
    return table


def pareto_table(study: OpenStudy, arm: Arm) -> Table:
    """The front of two objectives: what cannot be bettered in one without loss in the other."""
    names = study.definition.values
    table = _table(f"Pareto front of {arm.method} (validation split, percent)")
    for column in ("trial", *names, "settings"):
        table.add_column(column, justify="left" if column == "settings" else "right", overflow="fold")
    for trial in sorted(pareto_front(study, arm), key=lambda trial: -mark_of(trial, names[0])):
        settings = escape(_settings(result_of(trial)["settings"]))
        table.add_row(str(trial.number), *(_percent(mark_of(trial, name)) for name in names), settings)
    return table


def importance_table(study: OpenStudy) -> Table | None:
    """How much each setting decides, by Optuna's PED-ANOVA; None with too few trials."""
    rows = []
    for arm in study.definition.arms:
        for i, value in enumerate(study.definition.values):
            shares = _importances(study, arm, i)
            if shares:
                rows.append(
                    (arm.method, value, ", ".join(f"{key} {100 * share:.0f} %" for key, share in shares.items()))
                )
    if not rows:
        return None
    table = _table("Importance: share of the difference between good trials and all that a setting accounts for")
    for column in ("method", "objective", "settings, most important first"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def sweep_table(study: OpenStudy, arm: Arm) -> Table:
    """Every point of a sweep: mean and standard deviation over its seeds."""
    keys = list(arm.space)
    table = _table(f"{arm.method} on {arm.dataset}{' with ' + ', '.join(arm.fixed) if arm.fixed else ''}")
    for column in (*(key.partition(".")[2] for key in keys), *GROUPS, "seeds"):
        table.add_column(column, justify="right", overflow="fold")
    trials = complete_trials(study, arm)
    for point in arm.points:
        own = [trial for trial in trials if trial.user_attrs["point"] == str(dict(point))]
        marks = [_spread([mark_of(trial, group) for trial in own]) for group in GROUPS]
        star = "*" if dict(point) == dict(arm.defaults) and keys else ""
        cells = [f"{point[key]}{star if i == len(keys) - 1 else ''}" for i, key in enumerate(keys)]
        table.add_row(*cells, *marks, str(len(own)))
    table.caption = "mAP on the validation split, percent: mean ± standard deviation over seeds; * are the defaults"
    table.caption_justify = "left"
    return table


def _importances(study: OpenStudy, arm: Arm, objective: int) -> Mapping[str, float]:
    import optuna

    trials = complete_trials(study, arm)
    if len(trials) < MIN_TRIALS_FOR_IMPORTANCE or not arm.space or study.definition.purpose == "sweep":
        return {}
    try:
        with warnings.catch_warnings():
            # That a small target counts as good is what the sign below is for.
            warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes", category=UserWarning)
            shares = optuna.importance.get_param_importances(
                study.arms[arm.name],
                target=lambda trial: -trial.values[objective],
            )
    except (ValueError, RuntimeError):
        # All trials alike: there is no difference to account for.
        return {}
    return {key.partition(".")[2]: share for key, share in shares.items()}


def _searched(definition: StudyDefinition, arm: Arm, key: str) -> str:
    if definition.purpose == "tune":
        return arm.space[key].text
    return ", ".join(dict.fromkeys(f"{point[key]}" for point in arm.points))


def _spread(values: Sequence[float]) -> str:
    present = [value for value in values if not np.isnan(value)]
    if not present:
        return "–"
    mean = f"{100 * np.mean(present):.2f}"
    return f"{mean} ± {100 * np.std(present, ddof=1):.2f}" if len(present) > 1 else mean


def _percent(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{100 * value:.2f}"


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.partition('.')[2]}={value}" for key, value in settings.items())


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, title=escape(title), title_justify="left")
