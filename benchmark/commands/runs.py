"""`mltbench runs list | show | delete`."""

import shutil
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter
from mlflow.entities import Run
from rich.markup import escape
from rich.prompt import Confirm

from ...errors import InputError, without_password
from ...files import safe_file_name
from ...terminal import Json, console, print_json, print_line, table_of
from ..tracking.store import TAG, Store
from ..training.metrics import SCORE_NAMES
from .options import StoreOptions

COLUMNS = ("experiment", "dataset", "method", "seed", "state", *SCORE_NAMES, "seconds")
Item = TypeVar("Item")
Name = Annotated[str, Parameter(help="Experiment id or MLflow run id; a unique beginning is enough.")]


def list_runs(
    *,
    dataset: str | None = None,
    method: str | None = None,
    as_json: Json = False,
    options: StoreOptions = StoreOptions(),
) -> None:
    """List the runs, oldest first.

    For example: `mltbench runs list --method db-focal`

    Args:
        dataset: Only runs on this dataset.
        method: Only runs of this method.
    """
    store = options.open(create=False)
    found = [_summary(run) for run in store.runs_of(dataset)]
    found = [row for row in found if method is None or row["method"].split(" ")[0] == method]
    if as_json:
        print_json(found)
        return
    for row in found:
        row |= {group: 100 * row[group] for group in SCORE_NAMES if row[group] is not None}
    console().print(table_of(COLUMNS, ([row[name] for name in COLUMNS] for row in found), numbers=COLUMNS[5:]))
    console().print(f"{len(found)} runs in {store.root}")


def show(name: Name, /, *, options: StoreOptions = StoreOptions()) -> None:
    """Show one run: its parameters, metrics, provenance, and how to repeat it.

    For example: `mltbench runs show 3f2a91c0`
    """
    run = find_run(options.open(create=False), name)
    rows = [("MLflow run", run.info.run_id), ("status", run.info.status)]
    rows += [(key, f"{value:.6g}") for key, value in sorted(run.data.metrics.items())]
    rows += sorted(run.data.params.items())
    tags = sorted(run.data.tags.items())
    rows += [(key.removeprefix(TAG), value) for key, value in tags if key.startswith(TAG) and value]
    rows += [("artifacts", run.info.artifact_uri)]
    console().print(table_of(("", ""), rows, title=escape(run.info.run_name), show_header=False))


def delete(name: Name, /, *, yes: bool = False, options: StoreOptions = StoreOptions()) -> int:
    """Delete one run from MLflow and its local folder, so that the next `mltbench run` trains it anew.

    For example: `mltbench runs delete 3f2a91c0 --yes`

    Args:
        yes: Do not ask.
    """
    store = options.open(create=False)
    run = find_run(store, name)
    question = f"delete {escape(run.info.run_name)} ({run.info.run_id})?"
    if not yes and not Confirm.ask(question, default=False, console=console()):
        return 1
    store.client.delete_run(run.info.run_id)
    # The tag is what a server says: it must not lead out of the folder of runs.
    shutil.rmtree(store.runs / safe_file_name(run.data.tags[f"{TAG}experiment_id"]), ignore_errors=True)
    print_line(f"deleted {run.info.run_name}; `mlflow gc` frees its space for good")
    return 0


def find_run(store: Store, name: str) -> Run:
    """The one run whose experiment id or MLflow run id begins with `name`.

    Raises:
        InputError: if there is none, or several.
    """
    every = [((run.info.run_id, run.data.tags.get(f"{TAG}experiment_id", "")), run) for run in store.runs_of()]
    return one_beginning_with(name, every, f"in {without_password(store.tracking_uri)}", "mltbench runs list")


def one_beginning_with(name: str, runs: Sequence[tuple[Sequence[str], Item]], where: str, command: str) -> Item:
    """The one of several runs, each with its ids, of which an id begins with `name`; errors as those of `find_run`."""
    found = [(ids, run) for ids, run in runs if any(each.startswith(name) for each in ids)]
    if not found:
        cure = f"`{command}` shows them, --out gives another folder"
        raise InputError(f"none of the {len(runs)} runs {where} begins with {name!r}; {cure}")
    if len(found) > 1:
        first = ", ".join(ids[0] for ids, _ in found[:4])
        raise InputError(f"{len(found)} runs begin with {name!r}: {first}; give more of the id")
    return found[0][1]


def _summary(run: Run) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    overrides = tags.get(f"{TAG}overrides", "")
    row = {
        "experiment": tags.get(f"{TAG}experiment_id", ""),
        "run_id": run.info.run_id,
        "dataset": tags.get(f"{TAG}dataset", ""),
        "method": tags.get(f"{TAG}method", "") + (f" ({overrides})" if overrides else ""),
        "seed": tags.get(f"{TAG}seed", ""),
        "state": tags.get(f"{TAG}state", run.info.status),
        "seconds": metrics.get("cost/train_seconds"),
    }
    return row | {group: metrics.get(f"test/{group}") for group in SCORE_NAMES}
