"""A tuning in the terminal: what is searched, how far it has come, what came of it."""

import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.markup import escape
from rich.progress import BarColumn
from rich.table import Table

from ...benchmark.executors.run_plan import BRIEF_PATIENCE_SECONDS
from ...benchmark.executors.settings import RunSettings
from ...benchmark.experiments.plan import Plan
from ...benchmark.runs.journal import read_journal
from ...benchmark.tracking.store import TAG, Store
from ...benchmark.tracking.upload import PATIENCE_SECONDS, UploadThread
from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.registry import prepare
from ...errors import without_password
from ...terminal import Bars, console, print_tables, table_of
from .definition import Arm, StudyDefinition
from .study import OpenStudy, StudyStorage, join_study, result_of, studies_in
from .winners import best_trial, complete_trials, score_of, trainings_of, upload_winners
from .worker import images_in

MIN_TRIALS_FOR_IMPORTANCE = 4
# Reading a study of 46 methods twice a second took a sixth of one of two cores from its workers.
READING_SHARE = 0.02
IMPORTANCE = ("method", "objective", "settings, most important first")
OUTCOMES = {"complete": "[green]done[/green]    ", "pruned": "[blue]pruned[/blue]  "}


def show_search(definition: StudyDefinition, trials: int) -> None:
    """Print what is searched, and what it takes."""
    seeds, pruning = len(definition.seeds), "pruned by epoch (Hyperband)" if definition.prunes else "not pruned"
    console().print(_definition_table(definition))
    console().print(
        f"Budget of each method: {definition.budget(trials):,} training images, which are {trials} full trials of "
        f"{seeds} seed{'s'[: seeds > 1]}. Trial 0 has the defaults. Sampler {definition.sampler}; maximised: "
        f"validation {' and '.join(definition.values)}; {pruning}.",
        soft_wrap=True,
    )


def follow(study: OpenStudy, store: Store, settings: RunSettings, run: Callable[[Callable[[], None]], None]) -> bool:
    """Let workers run a study, show its progress, upload its trials, and print what came of it.

    `run` lets them run, and calls what it is given now and then. Returns whether all trials of this machine are in
    MLflow.

    Raises:
        SystemExit: if it was interrupted, or workers died again and again; every trial is kept.
    """
    # Before several processes ask for it; never the test split.
    prepare(study.definition.dataset, settings.data_root, splits=("train", "validation"))
    following, patience = _Following(study, store, settings), BRIEF_PATIENCE_SECONDS
    try:
        with following.bar:
            run(following.update)
        patience = PATIENCE_SECONDS
    except KeyboardInterrupt:
        console().print("[yellow]interrupted[/yellow]: every trial is kept; the same command resumes from here.")
        raise SystemExit(130) from None
    except RuntimeError as error:
        console().print(f"[red]stopped[/red]: {escape(str(error))}", soft_wrap=True)
        raise SystemExit(1) from None
    finally:
        following.update(at_once=True)
        missing = following.uploads.finish(patience=patience)
    print_tables(summary_tables(study))
    if missing:
        text = (
            f"[yellow]not every trial is in MLflow yet[/yellow] ({escape(without_password(store.tracking_uri))}: "
            f"{escape(missing[0][1])}); the same command uploads them without training again."
        )
    else:
        upload_winners(study, store, settings)
        name = shlex.quote(study.definition.name)
        text = f"winners are in MLflow. Next: mltbench run --from-study {name} --seeds 5 {escape(store.options)}"
    console().print(text, soft_wrap=True)
    return not missing


class _Following:
    """A bar for every method over its budget, a line for every trial that ends, the uploads of those trained here."""

    def __init__(self, study: OpenStudy, store: Store, settings: RunSettings) -> None:
        self.study, self.settings, arms = study, settings, study.definition.arms
        plan = Plan(name=study.definition.name, dataset=study.definition.dataset, experiments=(), scores_test=False)
        self.uploads = UploadThread(store, plan)
        tags = [run.data.tags for run in store.runs_of(plan.dataset, kind=plan.kind) if run.info.status != "RUNNING"]
        own = [tag for tag in tags if tag.get(f"{TAG}study") == plan.name]
        self.uploaded = {(tag[f"{TAG}trial"], tag[f"{TAG}experiment_id"]) for tag in own}
        self.due = 0.0
        self.seen, self.printed = set[str](), {f"{a.name}/{t.number}" for a in arms for t in study.progress(a).finished}
        self.width = max(len(arm.method) for arm in arms)
        counts = "{task.percentage:3.0f} % {task.fields[trials]} trials{task.fields[best]}"
        self.bar = Bars("{task.description}", BarColumn(bar_width=24), counts)
        more: dict[str, Any] = {"total": study.budget, "trials": 0, "best": ""}
        self.tasks = {arm.name: self.bar.add_task(f"{arm.method:{self.width}s}", **more) for arm in arms}

    def update(self, *, at_once: bool = False) -> None:
        """Read the study: draw it, and upload what is new; without `at_once` only if it has not been read just now."""
        if (began := time.monotonic()) < self.due and not at_once:
            return
        self._read()
        self.due = time.monotonic() + (time.monotonic() - began) / READING_SHARE

    def _read(self) -> None:
        for arm in self.study.definition.arms:
            progress = self.study.progress(arm)
            for trial in progress.finished:
                if (name := f"{arm.name}/{trial.number}") not in self.seen:
                    self.seen.add(name)
                    if name not in self.printed:
                        console().print(self._line(arm, trial), soft_wrap=True, highlight=False)
                    for planned in trainings_of(self.study, arm, trial, self.settings):
                        if (name, planned.experiment.id) not in self.uploaded:
                            self.uploads.put(planned)
            done = sum(result_of(trial)["images"] for trial in progress.finished)
            running = [name for trial in progress.running for name in trial.user_attrs.get("experiments", ())]
            done += sum(images_in(read_journal(self.study.storage.trials / name)) for name in running)
            self.bar.update(self.tasks[arm.name], completed=done, trials=len(progress.finished), best=self._best(arm))

    def _best(self, arm: Arm) -> str:
        trials = complete_trials(self.study, arm)
        best = {value: best_trial(trials, value) for value in self.study.definition.values}
        scores = [f"{value} {100 * score_of(trial, value):.1f}" for value, trial in best.items() if trial is not None]
        return f", best {', '.join(scores)}" if scores else ""

    def _line(self, arm: Arm, trial: FrozenTrial) -> str:
        result = result_of(trial)
        outcome = OUTCOMES.get(result["outcome"], f"[red]{result['outcome']:8s}[/red]")
        name = f"{outcome}{escape(arm.method):{self.width}s} trial {trial.number:3d}"
        settings = escape(f"{'defaults: ' if trial.user_attrs.get('default') else ''}{_short(result['settings'])}")
        if not result["validation"]:
            return f"{name}  {escape(result['reason'])}  ({settings})"
        scores = "  ".join(f"{group} {100 * value:5.1f}" for group, value in result["validation"].items())
        return f"{name}  {scores}  {result['seconds']:6.1f} s  {settings}"


def study_tables(study: OpenStudy) -> list[Table]:
    """Everything about a study."""
    trials = [_trials_table(study, arm) for arm in study.definition.arms]
    return [_definition_table(study.definition), *trials, *summary_tables(study)]


def study_as_json(study: OpenStudy) -> dict[str, Any]:
    """The definition of a study, its budget, and its finished trials by method; the catalogue reads it as it is."""
    trials = {
        arm.name: [
            {"trial": trial.number, "default": bool(trial.user_attrs.get("default")), **result_of(trial)}
            for trial in study.progress(arm).finished
        ]
        for arm in study.definition.arms
    }
    budget = {"trials": study.trials, "images": study.budget}
    return {"definition": study.definition.as_json(), "budget": budget, "trials": trials}


def summary_tables(study: OpenStudy) -> list[Table]:
    """What came of a study: the best trials, with two objectives the Pareto fronts, and which settings matter."""
    fronts = [_pareto_table(study, arm) for arm in study.definition.arms if len(study.definition.values) > 1]
    importance = table_of(
        IMPORTANCE,
        _importance_rows(study),
        prose=IMPORTANCE[2:],
        title="Importance: share of the difference between good trials and all that a setting accounts for",
    )
    return [_best_table(study), *fronts, *([importance] if importance.row_count else [])]


def studies_table(storage: StudyStorage) -> Table:
    """The studies that there are."""
    columns, rows, database = (
        ("name", "dataset", "methods", "trials", "running", "waiting"),
        [],
        storage.open_existing(),
    )
    for name in sorted(studies_in(database)) if database else ():
        study = join_study(name, storage)
        counts = [study.progress(arm) for arm in study.definition.arms]
        numbers = (sum(len(c.finished) for c in counts), study.running(), sum(c.waiting for c in counts))
        rows.append((name, study.definition.dataset, ", ".join(a.method for a in study.definition.arms), *numbers))
    title = f"Studies in {'the storage' if storage.url else storage.root}: mltbench study show NAME"
    return table_of(
        columns, rows, numbers=columns[3:], prose=("methods",), optional=columns[5:3:-1], title=escape(title)
    )


def _definition_table(definition: StudyDefinition) -> Table:
    """What is searched: one row per method and setting."""
    rows: list[tuple[str, ...]] = []
    for arm in definition.arms:
        own = [(key, str(arm.defaults[key]), searched.text) for key, searched in arm.space.items()]
        own += [(setting, "", "held") for setting in arm.fixed]
        heads = [(arm.method, arm.dataset, f"{arm.images:,}"), *[("", "", "")] * (len(own) - 1)]
        rows += [head + row for head, row in zip(heads, own, strict=True)]
    title = f"Study {definition.name}: tune on {definition.dataset}, recipe {definition.recipe}"
    columns = ("method", "dataset", "images each", "setting", "from", "searched")
    return table_of(
        columns,
        rows,
        numbers=columns[2:3],
        prose=("searched",),
        optional=("dataset", "images each"),
        title=escape(title),
    )


def _trials_table(study: OpenStudy, arm: Arm) -> Table:
    """Every trial of an arm, oldest first."""
    progress, values, rows = study.progress(arm), study.definition.values, []
    best = {trial.number for v in values if (trial := best_trial(complete_trials(study, arm), v)) is not None}
    for trial in progress.finished:
        result = result_of(trial)
        outcome = result["outcome"] + (" (defaults)" if trial.user_attrs.get("default") else "")
        scores = [_percent(result["validation"].get(name)) for name in SCORE_NAMES]
        rows.append((f"{trial.number}{'*' * (trial.number in best)}", outcome, *scores, _short(result["settings"])))
    columns = ("trial", "outcome", *SCORE_NAMES, "settings")
    return table_of(
        columns,
        rows,
        numbers={*columns} - {"outcome", "settings"},
        prose=("settings",),
        title=f"{arm.method} on {arm.dataset}: {len(rows)} trials, {progress.images:,} training images",
        caption=f"mAP on the validation split, percent; * is best by {' or '.join(values)}",
    )


def _best_table(study: OpenStudy) -> Table:
    """The best trial of each method by each objective, beside its defaults."""
    columns = ("method", "objective", "trial", "best", "defaults", "trials", "images used", "settings")
    rows: list[tuple[object, ...]] = []
    for arm in study.definition.arms:
        progress, trials = study.progress(arm), complete_trials(study, arm)
        default = next((trial for trial in trials if trial.user_attrs.get("default")), None)
        for value in study.definition.values:
            best = best_trial(trials, value)
            scores = [_percent(score_of(trial, value)) if trial else None for trial in (best, default)]
            number, settings = (best.number, _short(result_of(best)["settings"])) if best else (None, "")
            used = (len(progress.finished), f"{progress.images:,}")
            rows.append((arm.method, value, number, *scores, *used, settings))
    return table_of(
        columns,
        rows,
        numbers=columns[2:7],
        prose=columns[7:],
        optional=("images used", "trials", "objective"),
        title="Best by objective (validation split, percent)",
        caption=f"budget: {study.budget:,} training images of each method",
    )


def _pareto_table(study: OpenStudy, arm: Arm) -> Table:
    """Complete trials that none surpasses: as good in both values, and better in one."""
    names, rows = study.definition.values, []
    for trial in sorted(study.arms[arm.name].best_trials, key=lambda trial: -score_of(trial, names[0])):
        scores = [_percent(score_of(trial, name)) for name in names]
        rows.append((trial.number, *scores, _short(result_of(trial)["settings"])))
    title = f"Pareto front of {arm.method} (validation split, percent)"
    return table_of(("trial", *names, "settings"), rows, numbers=("trial", *names), prose=("settings",), title=title)


def _importance_rows(study: OpenStudy) -> Iterator[tuple[str, str, str]]:
    """How much each setting decides, by Optuna's PED-ANOVA, where there are enough trials."""
    for arm in study.definition.arms:
        for i, value in enumerate(study.definition.values):
            if len(complete_trials(study, arm)) < MIN_TRIALS_FOR_IMPORTANCE:
                continue
            try:
                with warnings.catch_warnings():
                    # That a small target counts as good is what the sign is for.
                    warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
                    target = partial(_loss, value=i)
                    shares = optuna.importance.get_param_importances(study.arms[arm.name], target=target)
            except (ValueError, RuntimeError):
                continue  # all trials alike: there is no difference to account for
            yield arm.method, value, ", ".join(f"{k.partition('.')[2]} {100 * v:.0f}%" for k, v in shares.items())


def _loss(trial: FrozenTrial, value: int) -> float:
    return -float(trial.values[value])


def _percent(value: float | None) -> float | None:
    return None if value is None or value != value else 100 * value


def _short(settings: Mapping[str, Any]) -> str:
    shown = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in settings.items()}
    return ", ".join(f"{key.partition('.')[2]}={value}" for key, value in shown.items())
