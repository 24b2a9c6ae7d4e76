"""Time, memory and disk of an import as the number of image files grows, and of an epoch's batches after it."""

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...datasets.importing.importer import ImportOptions, import_images
from ...datasets.importing.label_files import read_labels
from ...datasets.importing.label_options import LabelOptions
from ...datasets.prepared import dataset_folder
from ...datasets.registry import load_dataset
from ...methods.catalogue import get_method
from ...processes import usable_cores
from ..experiments.experiment import Experiment
from ..experiments.recipe import RECIPES
from ..networks.initial_weights import random_weights
from ..training.execution import Execution
from ..training.feed import Feed
from ..training.learner import Learner
from .harness import Workers
from .scale import Pieces

# As many as NIH ChestX-ray14 has.
CLASSES = 14
IMAGES_OF_A_GROUP, FILES_OF_A_FOLDER = 4, 10_000
# Of the files, and of the caches here: at their real sides those of the largest set would take 22.5 GB.
SIDE = 32


def measure_import(images: int) -> dict[str, Any]:
    """Import so many small JPEGs with names, groups and labels in a CSV, then take an epoch's batches; no network.

    Returns seconds and peak MiB by piece of work, as `scale.measure_size` does (of this process: those that decode hold
    a few images each), and the bytes that lie on the disk.

    Raises:
        WorkerError: if it fails in its process.
    """
    with Workers(_Import) as process:
        (seconds, peak_mib), disk = process.call("on_files", images)[0]
    return {"images": images, "seconds": seconds, "peak_mib": peak_mib, "disk_bytes": disk}


class _Import(Pieces):
    """Makes files, imports them and takes batches of them."""

    def on_files(self, images: int) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            return self.found, self._on_files(images, Path(folder))

    def _on_files(self, images: int, folder: Path) -> int:
        write_files(images, folder)
        dataset_folder.SIDES.update(dict.fromkeys(dataset_folder.SIDES, SIDE))
        options = ImportOptions(
            name="large", images={None: folder / "images"}, data_root=folder / "data", recipe="digits",
            backbone="digits-resnet", workers=usable_cores(),
        )  # fmt: skip
        with self.piece("labels"):
            annotations = read_labels([str(folder / "labels.csv")], LabelOptions(group_column="patient"))
        with self.piece("import"):
            import_images(annotations, options)
        del annotations
        with self.piece("open"):
            dataset = load_dataset("large", data_root=folder / "data")
            for split in dataset.splits:
                dataset.split(split)
        with self.piece("batches"):
            method, recipe = get_method("erm"), RECIPES["digits"]
            experiment = Experiment.of(dataset, method, recipe, random_weights())
            learner = Learner(experiment, dataset, Execution())
            feed = Feed(experiment, dataset, learner.network, learner.device)
            feed.begin_epoch(0)
            order = feed.order
            assert order is not None
            for batch, prepared in feed.prepared_batches():
                indices = order[batch]
                assert len(feed.data.batch(indices)) == len(feed.data.targets(indices)) == len(prepared.rows)
        return sum(path.stat().st_size for path in (folder / "data" / "large").iterdir())


def write_files(images: int, folder: Path) -> None:
    """Write `labels.csv` and so many JPEGs below `images`, in folders of ten thousand."""
    generator = np.random.Generator(np.random.PCG64(0))
    shares = np.geomspace(0.2, 0.0025, CLASSES)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "labels", "patient"])
        for i in range(images):
            place = folder / "images" / f"images_{i // FILES_OF_A_FOLDER:03d}"
            place.mkdir(parents=True, exist_ok=True)
            patient, number = divmod(i, IMAGES_OF_A_GROUP)
            name = f"{patient:08d}_{number:03d}.jpg"
            Image.fromarray(generator.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)).save(place / name)
            held = np.flatnonzero(generator.random(CLASSES) < shares)
            rows.writerow([name, "|".join(f"class {c}" for c in held) or "class 0", patient])
