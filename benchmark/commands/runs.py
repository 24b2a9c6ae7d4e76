"""`mltbench runs list | show | delete`."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from cyclopts import Parameter
from mlflow.entities import Run
from rich.markup import escape
from rich.prompt import Confirm

from ...errors import InputError, without_password
from ...files import safe_file_name
from ...methods.catalogue import list_methods
from ...terminal import Json, console, print_json, print_line, short_id, table_of
from ..tracking.store import TAG, Store
from ..tracking.sync import lacking
from ..training.metrics import SCORE_NAMES
from .options import StoreOptions

COLUMNS = ("experiment", "method", "dataset", "seed", "state", *SCORE_NAMES, "seconds", "overrides")
# What a line of `mltbench runs show` says in full; the rest is wrapped.
WHOLE = ("command", "provenance.command")
DIGEST_LENGTH = 12
ID_AND_BITS = (
    "The id is that of the experiment, not of its bits: on another processor the same id ends with other last digits. "
    "How far they are apart here: mltbench verify {} --out {}"
)
Item = TypeVar("Item")
Name = Annotated[
    str,
    Parameter(
        help="Experiment, configuration or MLflow run id; a unique beginning is enough, or a name such as 'DB, seed 0'."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Named(Generic[Item]):
    """Something with ids by which people name it, the one that errors show first, and a title such as `DB, seed 0`."""

    ids: tuple[str, ...]
    title: str
    item: Item


def list_runs(
    *,
    dataset: str | None = None,
    method: str | None = None,
    as_json: Json = False,
    options: StoreOptions = StoreOptions(),
) -> None:
    """List the runs by dataset, method and seed, with their scores on the test split.

    For example: `mltbench runs list --method db-focal`

    Args:
        dataset: Only runs on this dataset.
        method: Only runs of this method.
    """
    store = options.open(create=False)
    found = [_summary(run) for run in store.runs_of(dataset)]
    missing = lacking(store, {row["experiment"] for row in found}) if dataset is None else []
    found = sorted((row for row in found if method in (None, row["method"])), key=_place)
    if as_json:
        print_json(found)
        return
    for row in found:
        row |= {group: 100 * row[group] for group in SCORE_NAMES if row[group] is not None}
        row["experiment"] = short_id(row["experiment"])
    rows = ([row[name] for name in COLUMNS] for row in found)
    optional = ("state", "dataset", "seconds", "medium", "head")
    console().print(table_of(COLUMNS, rows, numbers=COLUMNS[5:-1], prose=COLUMNS[-1:], optional=optional))
    print_line(f"{len(found)} run{'s'[: len(found) != 1]} in {store.root}")
    for sentence in missing:
        print_line(sentence)


def show(name: Name, /, *, as_json: Json = False, options: StoreOptions = StoreOptions()) -> None:
    """Show one run: its parameters, metrics, provenance, and how to repeat it.

    For example: `mltbench runs show 3f2a91c0`
    """
    store = options.open(create=False)
    run = find_run(store, name)
    here = store.artifacts_of(run.info.artifact_uri)
    artifacts = run.info.artifact_uri if here is None else here.absolute().as_uri()
    tags = {key.removeprefix(TAG): value for key, value in sorted(run.data.tags.items()) if key.startswith(TAG)}
    metrics, parameters = dict(sorted(run.data.metrics.items())), dict(sorted(run.data.params.items()))
    if as_json:
        about = {"run_id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}
        print_json(about | {"metrics": metrics, "parameters": parameters, "tags": tags, "artifacts": artifacts})
        return
    rows = [
        ("MLflow run", run.info.run_id),
        ("experiment id", tags.get("experiment_id", "")),
        ("status", run.info.status),
    ]
    rows += [(key, f"{value:.6g}") for key, value in metrics.items()] + [*parameters.items()]
    rows += [(key, value) for key, value in tags.items() if value and key not in ("experiment_id", *parameters, *WHOLE)]
    shown = ((key, value[:DIGEST_LENGTH] if key.endswith(("digest", "commit")) else value) for key, value in rows)
    columns = ("what", "value")
    console().print(table_of(columns, shown, prose=columns[1:], title=escape(run.info.run_name), show_header=False))
    # As one line each, to be copied.
    print_line(f"artifacts: {artifacts}")
    if "provenance.command" in tags:
        print_line(f"trained by: {tags['provenance.command']}")
    if "command" in tags:
        print_line(f"repeat it alone: {tags['command']}")
    print_line(ID_AND_BITS.format(short_id(tags.get("experiment_id", "")), shlex.quote(str(store.root))))


def delete(name: Name, /, *, yes: bool = False, options: StoreOptions = StoreOptions()) -> int:
    """Delete one run from MLflow and its local folder, so that the next `mltbench run` trains it anew.

    For example: `mltbench runs delete 3f2a91c0 --yes`

    Args:
        yes: Do not ask.
    """
    store = options.open(create=False)
    run = find_run(store, name)
    question = f"delete {escape(run.info.run_name)} ({run.info.run_id})?"
    try:
        if not yes and not Confirm.ask(question, default=False, console=console()):
            return 1
    except EOFError:
        raise InputError("nobody is there to answer; --yes deletes without asking") from None
    store.client.delete_run(run.info.run_id)
    # The tag is what a server says: it must not lead out of the folder of runs.
    shutil.rmtree(store.runs / safe_file_name(run.data.tags[f"{TAG}experiment_id"]), ignore_errors=True)
    print_line(f"deleted {run.info.run_name}; `mlflow gc` frees its space for good")
    return 0


def find_run(store: Store, name: str) -> Run:
    """The one run that `name` means, see `the_one`.

    Raises:
        InputError: if there is none, or several.
    """
    runs = []
    for run in store.runs_of():
        labels = [run.data.tags.get(f"{TAG}{label}", "") for label in ("experiment_id", "configuration_id")]
        runs.append(Named(ids=(*filter(None, labels), run.info.run_id), title=run.info.run_name, item=run))
    return the_one(name, runs, f"in {without_password(store.tracking_uri)}", f"mltbench runs list {store.options}")


def the_one(name: str, runs: Sequence[Named[Item]], where: str, command: str) -> Item:
    """The one with this title, or with an id that begins so; `name` may stand in quotes, or end in an ellipsis.

    Raises:
        InputError: if there is none, or several.
    """
    wanted = name.strip().strip("`'\"").rstrip(".…")
    found = [run for run in runs if wanted == run.title] or [
        run for run in runs if wanted and any(each.startswith(wanted) for each in run.ids)
    ]
    if not found:
        cure = f"`{command}` shows them, --out gives another folder"
        raise InputError(
            f"none of the {len(runs)} runs {where} is called {name!r}, or has an id that begins so; {cure}"
        )
    if len(found) > 1:
        # Runs of one experiment differ in the last of their ids alone.
        which = 0 if len({run.ids[0] for run in found}) == len(found) else -1
        several = ", ".join(f"{short_id(run.ids[which])} ({run.title})" for run in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise InputError(f"{name!r} may be any of {len(found)} runs: {several}{more}; give the id of one")
    return found[0].item


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    """As tables have them."""
    return table_place(row["dataset"], row["method"], row["overrides"], int(row["seed"]) if row["seed"] else -1)


def table_place(dataset: str, method: str, overrides: str, seed: int) -> tuple[Any, ...]:
    """The order of tables: by dataset, by method as in the paper, overrides after none, by seed."""
    order = [method.name for method in list_methods()]
    return dataset, order.index(method) if method in order else len(order), method, overrides, seed


def _summary(run: Run) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    row = {
        "experiment": tags.get(f"{TAG}experiment_id", ""),
        "run_id": run.info.run_id,
        "dataset": tags.get(f"{TAG}dataset", ""),
        "method": tags.get(f"{TAG}method", ""),
        "overrides": tags.get(f"{TAG}overrides", ""),
        "seed": tags.get(f"{TAG}seed", ""),
        "state": tags.get(f"{TAG}state", run.info.status),
        "seconds": metrics.get("cost/train_seconds"),
    }
    return row | {group: metrics.get(f"test/{group}") for group in SCORE_NAMES}
