"""`mltbench status` and `mltbench sync`: what run folders hold, and whether MLflow has it."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from ...datasets.commands.options import DataOptions
from ...datasets.registry import list_datasets
from ...errors import require_known, some_of
from ...methods.catalogue import get_method
from ...terminal import Json, console, print_json, print_line, short_id, table_of
from ..executors.run_plan import finished_in_mlflow
from ..experiments.plan import Plan, PlannedExperiment, choose_methods
from ..runs.folder import RunFolder, State
from ..tracking.store import Store
from ..tracking.sync import UPLOADED, agree, find, not_in_mlflow, run_folders, uploads_wanted
from .options import DeviceOptions, PlanOptions, StoreOptions
from .runs import table_place

Row = dict[str, Any]


def status(
    *,
    state: tuple[str, ...] = (),
    plan: bool = False,
    options: PlanOptions = PlanOptions(),
    device: DeviceOptions = DeviceOptions(),
    as_json: Json = False,
    store: StoreOptions = StoreOptions(),
    data: DataOptions = DataOptions(),
) -> None:
    """Show the state of every experiment: running, finished, failed, interrupted, and whether MLflow has it.

    Without --plan, --table, --method and --dataset choose among the experiments that have been started; with it, all
    options that `mltbench run` takes name a plan.

    For example:

        mltbench status
        mltbench status --state failed --state interrupted --dataset digits-mlt
        mltbench status --plan --table 1 --seeds 3 --state pending --json

    Args:
        state: Only experiments in this state, such as failed; repeatable.
        plan: The plan that these options name for `mltbench run`, pending experiments included.
    """
    for name in state:
        require_known("state", name, [each.value for each in State])
    options.load()
    options.check() if plan else options.require_filters()
    results = store.open(create=False)
    missing = {folder.name for folder in not_in_mlflow(results)}
    if plan:
        plans = options.plans(lambda: results, data_root=data.root, device_type=device.kind)
        rows = _of_plans(plans, results, missing)
    else:
        rows = _of_runs(options, results, missing)
    rows = [row for row in rows if not state or row["state"] in state]
    if as_json:
        print_json(rows)
        return
    headers = ("experiment", "method", "dataset", "seed", "state", "epochs", "in MLflow", "overrides")
    shown = ("title", "dataset", "seed", "state", "epoch", "in_mlflow", "overrides")
    cells = ([short_id(row["experiment"]), *(row[name] for name in shown)] for row in rows)
    optional = ("in MLflow", "dataset", "epochs")
    console().print(table_of(headers, cells, numbers=("epochs",), prose=headers[-1:], optional=optional))
    notes: dict[str, list[str]] = {}
    for row in rows:
        if what := _what(row):
            notes.setdefault(f"{row['state']}: {what}", []).append(short_id(row["experiment"]))
    for note, names in notes.items():
        print_line(f"{some_of(names)} {note}")
    counts = Counter(row["state"] for row in rows)
    console().print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no such run")
    if missing:
        print_line(uploads_wanted(len(missing), results))


def sync(
    *,
    everything: Annotated[bool, Parameter(name="--all")] = False,
    dry_run: bool = False,
    options: StoreOptions = StoreOptions(),
) -> int:
    """Upload ended runs that MLflow lacks, exactly once, and mend what a crash has left there.

    For example:

        mltbench sync
        mltbench sync --tracking-uri http://127.0.0.1:5000
        mltbench sync --dry-run

    Args:
        everything: Upload also what MLflow has: it changes nothing.
        dry_run: Say what is wrong and change nothing.
    """
    store = options.open()
    found = find(store, everything=everything)
    for finding in found:
        print_line(f"{finding.kind}: {finding.name}  {finding.message}")
    if not found:
        console().print("run folders and MLflow agree.")
    if dry_run or not found:
        return 0
    done, failed = Counter[str](), 0
    for finding, reason in agree(store, found):
        if reason:
            failed += 1
            console().print(f"[yellow]not done[/yellow] {finding.name}: {escape(reason)}", soft_wrap=True)
        else:
            done["uploaded" if finding.kind in UPLOADED else finding.kind] += 1
    left = len(found) - failed - done.total()
    console().print(
        f"uploaded {done['uploaded']}, closed {done['left open']}, deleted {done['there twice']}; "
        f"failed {failed}, left {left} as they are"
    )
    return int(failed > 0)


def _of_runs(options: PlanOptions, store: Store, missing: set[str]) -> list[Row]:
    """Rows of the run folders whose table, method and dataset the options let through."""
    runs = [(folder, folder.planned_or_none()) for folder in run_folders(store)]
    trials = [(folder, folder.planned_or_none()) for folder in run_folders(store, "trial")]
    # A sweep is a plan; the trials of a tuning are for `mltbench study show`.
    runs += [(folder, planned) for folder, planned in trials if planned and "sweep" in planned.tags]
    there = [planned.experiment for _, planned in runs if planned]
    for name in set(options.method) - {experiment.method.name for experiment in there}:
        get_method(name)
    methods = choose_methods(options.table, options.method) if options.table or options.method else ()
    datasets = sorted({experiment.dataset for experiment in there} | {entry.name for entry in list_datasets()})
    for name in options.dataset:
        require_known("dataset", name, datasets)

    def place(run: tuple[RunFolder, PlannedExperiment | None]) -> tuple[Any, ...]:
        """As tables have them: by dataset, by method in the order of the paper, by seed; unreadable ones last."""
        if (planned := run[1]) is None:
            return (1,)
        experiment = planned.experiment
        return 0, *table_place(experiment.dataset, experiment.method.name, planned.label, experiment.seed)

    return [
        _row(folder, planned, missing)
        for folder, planned in sorted(runs, key=place)
        if (not methods or (planned and planned.experiment.method.name in methods))
        and (not options.dataset or (planned and planned.experiment.dataset in options.dataset))
    ]


def _of_plans(plans: Sequence[Plan], store: Store, missing: set[str]) -> list[Row]:
    """Rows of all experiments of plans, in their order, pending ones and those run elsewhere among them."""
    rows = []
    for plan in plans:
        in_mlflow = finished_in_mlflow(plan, store)
        for planned in plan.experiments:
            row = _row(RunFolder(store.runs / planned.experiment.id), planned, missing)
            if planned.experiment.id in in_mlflow and row["state"] != State.FINISHED:
                row |= {"state": State.FINISHED.value, "in_mlflow": "yes"}
            rows.append(row)
    return rows


def _row(folder: RunFolder, planned: PlannedExperiment | None, missing: set[str]) -> Row:
    state = folder.state()
    return {
        "experiment": folder.name,
        "method": planned.label if planned else None,
        "title": planned.title if planned else None,
        "overrides": planned.overrides if planned else "",
        "dataset": planned.experiment.dataset if planned else None,
        "seed": planned.experiment.seed if planned else None,
        "state": state.state.value,
        "epoch": state.epoch,
        "step": state.step,
        "reason": state.reason,
        "heartbeat_age_seconds": state.heartbeat.age if state.heartbeat else None,
        "in_mlflow": ("no" if folder.name in missing else "yes") if state.is_ended else None,
    }


def _what(row: Row) -> str:
    if row["heartbeat_age_seconds"] is not None:
        return f"last sign of life {row['heartbeat_age_seconds']:.0f} s ago"
    return str(row["reason"])
