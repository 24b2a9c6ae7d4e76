"""Labels with scores for single photographs, from a finished run."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...datasets.images.decode import BadImageError, decode_image
from ...datasets.long_tail.statistics import ClassStatistics
from ...datasets.prepared.dataset_folder import SIDES
from ...errors import InputError
from ..experiments.experiment import Experiment
from ..experiments.network import build_network
from ..networks.backbones import get_backbone
from ..networks.initial_weights import RANDOM
from ..networks.network import Network
from ..networks.weight_files import read_weights
from ..training.augmentation import Normalisation, whole_images

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a network says of one photograph."""

    image: str  # its file, as it was named
    # Class names with sigmoid of the raw logit, 0..1, largest first; empty where the file cannot be used.
    scores: tuple[tuple[str, float], ...] = ()
    problem: str = ""  # why it cannot be used; empty where it can


class Predictor:
    """The network of a finished run, whose folder holds `experiment.json`, `per_class.json` and `weights.pt`.

    Raises:
        InputError: if one of them is missing, or they do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self.experiment = Experiment.from_json(_text(folder / "experiment.json"))
        per_class = json.loads(_text(folder / "per_class.json"))
        self.classes = tuple(next(iter(per_class["average_precision"].values())))
        # Earlier versions kept the upper 8 of 16 bits, also where fewer are used.
        self.bits = per_class.get("image_bits", 16) or 8
        self.network = _trained_network(self.experiment, self.classes, folder / "weights.pt")
        # Photographs are first decoded to the side of a test split, then scaled to the network's, as in testing.
        photographs = get_backbone(self.experiment.backbone).for_photographs
        self.size = int(self.experiment.training["image_size"])
        self.side = SIDES["test"] if photographs else self.size

    def predict(self, images: Sequence[str]) -> Iterator[Prediction]:
        """Yield one prediction per file, in order; a file that holds no usable image says so."""
        for start in range(0, len(images), BATCH):
            yield from self._batch(images[start : start + BATCH])

    def _batch(self, images: Sequence[str]) -> list[Prediction]:
        pixels, problems = [], {}
        for path in images:
            try:
                pixels.append(decode_image(Path(path), self.side, bits=self.bits).pixels)
            except BadImageError as error:
                problems[path] = _why_not(path) or str(error)
        scores = iter(self._scores(torch.from_numpy(np.stack(pixels))) if pixels else ())
        return [
            Prediction(image=path, problem=problems[path])
            if path in problems
            else Prediction(
                image=path, scores=tuple(sorted(zip(self.classes, next(scores), strict=True), key=lambda s: -s[1]))
            )
            for path in images
        ]

    @torch.inference_mode()
    def _scores(self, pixels: Tensor) -> list[list[float]]:
        """Sigmoid of the logits `(N, C)` of uint8 images `(N, H, W, 3)`, in float64: float32 has 1 for all above 17."""
        normalisation = Normalisation.of(self.experiment.input_format, pixels.device)
        inputs = whole_images(pixels, normalisation, size=self.size).contiguous(memory_format=torch.channels_last)
        scores: list[list[float]] = self.network(inputs).double().sigmoid().tolist()
        return scores


def _why_not(path: str) -> str:
    """What is wrong with a name that is no file; empty where it is one, or nothing more can be said."""
    if "://" in path:
        return "an address; download the image and name its file"
    if any(sign in path for sign in "*?[") and not Path(path).exists():
        return "no such file; a pattern is filled in by the shell where it is not quoted: leave the quotes out"
    return ""


def _trained_network(experiment: Experiment, classes: Sequence[str], weights: Path) -> Network:
    state = read_weights(weights)
    # Everything that the head takes from statistics and word vectors lies in its state; here, only sizes count.
    statistics = ClassStatistics.from_labels(np.eye(len(classes), dtype=np.uint8), class_names=classes)
    vectors = state.get("head.propagated")
    arrays = None if vectors is None else vectors.numpy()
    network = build_network(replace(experiment, weights_digest=RANDOM), statistics, word_vectors=arrays)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise InputError(f"{weights} does not fit the experiment beside it: {reason[:200]}") from error
    return network.eval()


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"no {path.name} in {path.parent}; predictions need a finished run (`mltbench runs list`)")
    return path.read_text(encoding="utf-8")
