"""`mltbench predict`."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from mlflow.exceptions import MlflowException
from rich.progress import track
from rich.text import Text

from ...datasets.commands.options import AtLeastOne
from ...datasets.importing.importer import ENDINGS
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
    images: list[Path],
    /,
    *,
    top: Annotated[int | None, AtLeastOne] = None,
    threshold: Annotated[float | None, Parameter(validator=Number(gte=0, lte=1))] = None,
    as_json: Json = False,
    store: StoreOptions = StoreOptions(),
) -> int:
    """Print labels with scores for single photographs, from the network of a finished run.

    A score is the sigmoid of the raw logit. Scores rank the images of a class, and that is what mAP measures; they are
    not calibrated probabilities, and a loss that re-weights classes moves them.

    For example:

        mltbench predict 3f2a91c0 holiday/*.jpg --top 3
        mltbench predict 3f2a91c0 holiday --threshold .5 --json

    Args:
        run: A finished run by any of its ids (a unique beginning is enough), by its name, or its folder.
        images: Image files, or folders of them, with the folders inside.
        top: At most so many labels each [default: 5].
        threshold: Only labels with at least this score, however many.
    """
    files = _files(images)
    with _run_folder(run, store) as folder:
        predictor = Predictor(folder)
    found = predictor.predict(files)
    silent = as_json or len(files) < 100
    predictions = list(found if silent else track(found, "predicting", total=len(files), console=console()))
    most = top or (len(predictor.classes) if threshold is not None else 5)
    least = threshold or 0.0
    chosen = [(each, [one for one in each.scores if one[1] >= least][:most]) for each in predictions]
    if as_json:
        print_json([_as_json(each, scores) for each, scores in chosen])
    elif any(not each.problem for each in predictions):
        rows = [row for each, scores in chosen if not each.problem for row in _rows(each.image, scores)]
        console().print(table_of(("image", "label", "score"), rows, numbers=("score",), prose=("image",)))
    bad = [each for each in predictions if each.problem]
    for each in bad:
        sys.stderr.write(f"cannot use {each.image}: {each.problem}\n")
    return 1 if bad else 0


def _as_json(prediction: Prediction, scores: Iterable[tuple[str, float]]) -> dict[str, object]:
    if prediction.problem:
        return {"image": str(prediction.image), "problem": prediction.problem}
    return {"image": str(prediction.image), "labels": [{"label": name, "score": score} for name, score in scores]}


def _rows(image: Path, scores: Sequence[tuple[str, float]]) -> list[tuple[object, ...]]:
    """One row for each label, the first with the name of the image."""
    if not scores:
        return [(image, Text("none above the threshold", style="dim"), "")]
    return [(image if i == 0 else "", *one) for i, one in enumerate(scores)]


def _files(images: Sequence[Path]) -> list[Path]:
    """The files that are named, and the images by their endings in the folders that are; hidden ones are none."""
    files: list[Path] = []
    for path in images:
        if not path.is_dir():
            files.append(path)
            continue
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        found = [file for file in inside if file.suffix.lower() in ENDINGS]
        if not found:
            raise InputError(f"the folder {path} holds no images ({', '.join(sorted(ENDINGS))}); name image files")
        if others := [str(file.relative_to(path)) for file in inside if file not in found]:
            sys.stderr.write(f"left out of {path}, no images by their endings: {some_of(others)}\n")
        files += found
    return files


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
