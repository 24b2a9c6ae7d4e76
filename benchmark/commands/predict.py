"""`mltbench predict`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .run import Out, TrackingUri

if TYPE_CHECKING:
    from ..runs.predict import Prediction

NEEDED = ("experiment.json", "per_class.json", "weights.pt")


def predict(
    run: Annotated[
        str, typer.Argument(help="A finished run: experiment id or MLflow run id (a beginning will do), or its folder.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    top: Annotated[int | None, typer.Option(min=1, help="At most so many labels each [default: 5].")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only labels with at least this score, however many.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Out = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Print labels with scores for single photographs, from the network of a finished run.

    A score is the sigmoid of the raw logit. Scores rank the images of a class, and that is what mAP measures; they are
    not calibrated probabilities, and a loss that re-weights classes moves them.

    \b
    Examples:
        mltbench predict 3f2a91c0 holiday/*.jpg --top 3
        mltbench predict 3f2a91c0 holiday --threshold .5 --json
    """
    from rich.progress import track

    from ...terminal import console
    from ..runs.predict import Predictor

    files = _files(images)
    with _run_folder(run, out, tracking_uri) as folder:
        predictor = Predictor(folder)
    found = predictor.predict(files)
    silent = as_json or len(files) < 100
    predictions = list(found if silent else track(found, "predicting", total=len(files), console=console()))
    most = top or (len(predictor.classes) if threshold is not None else 5)
    chosen = [(each, _chosen(each, most, threshold or 0.0)) for each in predictions]
    if as_json:
        typer.echo(json.dumps([_as_json(each, scores) for each, scores in chosen], indent=1))
    else:
        _show(chosen)
    bad = [each for each in predictions if each.problem]
    for each in bad:
        typer.echo(f"cannot use {each.image}: {each.problem}", err=True)
    raise typer.Exit(1 if bad else 0)


def _chosen(prediction: Prediction, most: int, threshold: float) -> Sequence[tuple[str, float]]:
    return [(name, score) for name, score in prediction.scores if score >= threshold][:most]


def _as_json(prediction: Prediction, scores: Iterable[tuple[str, float]]) -> dict[str, object]:
    if prediction.problem:
        return {"image": str(prediction.image), "problem": prediction.problem}
    return {"image": str(prediction.image), "labels": [{"label": name, "score": score} for name, score in scores]}


def _show(chosen: Sequence[tuple[Prediction, Sequence[tuple[str, float]]]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ...terminal import console

    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("labels", overflow="fold")
    for prediction, scores in chosen:
        if not prediction.problem:
            words = "   ".join(f"{escape(name)} {score:.2f}" for name, score in scores)
            table.add_row(escape(str(prediction.image)), words or "[dim]none above the threshold[/dim]")
    if table.row_count:
        console().print(table)


def _files(images: Sequence[Path]) -> list[Path]:
    from ...errors import InputError

    files: list[Path] = []
    for path in images:
        inside = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"the folder {path} holds no files; name image files, or a folder of them")
        files += inside
    return files


@contextmanager
def _run_folder(run: str, out: Path | None, tracking_uri: str | None) -> Iterator[Path]:
    """The folder with a run's files: given, beside the store, or fetched from MLflow and gone afterwards."""
    from mlflow.exceptions import MlflowException

    from ...errors import InputError
    from ...files import safe_file_name
    from ..tracking.store import TAG, open_store, resolve_results_root
    from .runs import find_run

    if (Path(run) / "experiment.json").is_file():
        yield Path(run)
        return
    store = open_store(resolve_results_root(out), tracking_uri, create=False)
    found = find_run(store, run)
    folder: Path = store.runs / safe_file_name(found.data.tags.get(f"{TAG}experiment_id", ""))
    if all((folder / name).is_file() for name in NEEDED):
        yield folder
        return
    if found.info.status != "FINISHED":
        raise InputError(f"run {run} is {found.info.status.lower()}; predictions need a finished run")
    with tempfile.TemporaryDirectory(prefix="mltbench-predict-") as fetched:
        try:
            for name in NEEDED:
                store.client.download_artifacts(found.info.run_id, name, fetched)
        except (MlflowException, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"run {run} has no files here, and MLflow gives none ({reason}); train it again"
            ) from error
        yield Path(fetched)
