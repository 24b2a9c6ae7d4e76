"""`mltbench predict`."""

import csv
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from mlflow.exceptions import MlflowException
from rich.progress import track
from rich.text import Text

from ...datasets.commands.options import AtLeastOne
from ...datasets.images.decode import ENDINGS, FOREIGN
from ...errors import InputError, some_of
from ...files import safe_file_name
from ...terminal import Json, console, print_json, table_of
from ..runs.predict import Prediction, Predictor
from ..tracking.store import TAG
from .options import StoreOptions
from .runs import find_run

NEEDED = ("experiment.json", "per_class.json", "weights.pt")


def predict(
    run: str,
    images: list[str],
    /,
    *,
    top: Annotated[int | None, AtLeastOne] = None,
    threshold: Annotated[float | None, Parameter(validator=Number(gte=0, lte=1))] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, Parameter(name="--csv")] = False,
    store: StoreOptions = StoreOptions(),
) -> int:
    """Print labels with scores for single photographs, from the network of a finished run.

    A score is the sigmoid of the raw logit. Scores rank the images of a class, and that is what mAP measures; they are
    not calibrated probabilities, and a loss that re-weights classes moves them.

    For example:

        mltbench predict 3f2a91c0 holiday/*.jpg --top 3
        mltbench predict 3f2a91c0 holiday --threshold .5 --json
        mltbench predict 3f2a91c0 holiday --csv

    Args:
        run: A finished run by any of its ids (a unique beginning is enough), by its name, or its folder.
        images: Image files, or folders of them, with the folders inside.
        top: At most so many labels each [default: 5].
        threshold: Only labels with at least this score, however many.
        as_csv: Print CSV: a row per label, and one with the problem of each file that cannot be used.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv are two ways to print the same; give one of them")
    files, empty = _files(images)
    with _run_folder(run, store) as folder:
        predictor = Predictor(folder)
    most = top or (len(predictor.classes) if threshold is not None else 5)
    least = threshold or 0.0
    found = (
        replace(each, scores=tuple([one for one in each.scores if one[1] >= least][:most]))
        for each in predictor.predict(files)
    )
    silent = as_json or as_csv or len(files) < 100
    shown = found if silent else track(found, "predicting", total=len(files), console=console())
    bad = _print_csv(shown) if as_csv else _print_whole(list(shown), as_json)
    for each in bad:
        sys.stderr.write(f"cannot use {each.image}: {each.problem}\n")
    return 1 if bad or empty else 0


def _print_csv(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Print each prediction when it is there; return those with a problem."""
    writer, bad = csv.writer(sys.stdout, lineterminator="\n"), []
    writer.writerow(("image", "label", "score", "problem"))
    for each in predictions:
        writer.writerows((each.image, name, score, "") for name, score in each.scores)
        if each.problem:
            writer.writerow((each.image, "", "", each.problem))
            bad.append(each)
    return bad


def _print_whole(predictions: Sequence[Prediction], as_json: bool) -> list[Prediction]:
    """Print JSON or a table; return those with a problem."""
    bad = [each for each in predictions if each.problem]
    if as_json:
        print_json([_as_json(each) for each in predictions])
    elif len(bad) < len(predictions):
        rows = [row for each in predictions if not each.problem for row in _rows(each)]
        console().print(table_of(("image", "label", "score"), rows, numbers=("score",), prose=("image",)))
    return bad


def _as_json(prediction: Prediction) -> dict[str, object]:
    if prediction.problem:
        return {"image": prediction.image, "problem": prediction.problem}
    return {"image": prediction.image, "labels": [{"label": n, "score": score} for n, score in prediction.scores]}


def _rows(prediction: Prediction) -> list[tuple[object, ...]]:
    """One row for each label, the first with the name of the image."""
    if not prediction.scores:
        return [(prediction.image, Text("none above the threshold", style="dim"), "")]
    return [(prediction.image if i == 0 else "", *one) for i, one in enumerate(prediction.scores)]


def _files(images: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files that are named, and the images by their endings in the folders that are; also folders without any.

    Hidden files are none. Raises `InputError` if there is nothing else.
    """
    files, empty = list[str](), list[str]()
    for name in images:
        path = Path(name)
        if not path.is_dir():
            files.append(name)
            continue
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        found = [file for file in inside if file.suffix.lower() in ENDINGS]
        if others := [str(file.relative_to(path)) for file in inside if file.suffix.lower() not in ENDINGS]:
            sys.stderr.write(f"left out of {path}, no images by their endings: {some_of(others)}\n")
        for ending, cure in FOREIGN.items():
            if number := sum(file.suffix.lower() == ending for file in inside):
                sys.stderr.write(f"  {number} of them {ending}: {cure}\n")
        if not found:
            empty.append(f"the folder {path} holds no images ({', '.join(sorted(ENDINGS))}); name image files")
        files += map(str, found)
    if not files:
        raise InputError("; ".join(empty))
    for line in empty:
        sys.stderr.write(f"{line}\n")
    return files, empty


@contextmanager
def _run_folder(run: str, options: StoreOptions) -> Iterator[Path]:
    """The folder with a run's files: given, beside the store, or fetched from MLflow and gone afterwards."""
    if (Path(run) / "experiment.json").is_file():
        yield Path(run)
        return
    store = options.open(create=False)
    found = find_run(store, run)
    folder: Path = store.runs / safe_file_name(found.data.tags.get(f"{TAG}experiment_id", ""))
    uploaded = store.artifacts_of(found.info.artifact_uri)
    for place in filter(None, (folder, uploaded)):
        if all((place / name).is_file() for name in NEEDED):
            yield place
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
