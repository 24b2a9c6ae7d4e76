"""Which weights a backbone starts from: chosen and checked when a plan is made, found again where it is trained."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError, unknown_name
from .backbones import IMAGENET, Backbone, InputFormat, get_backbone
from .weight_files import file_digest, inspect_weights, own_file_digest

if TYPE_CHECKING:
    from ..experiments.experiment import Experiment

RANDOM = "random"
INPUTS = {
    "imagenet": IMAGENET,
    "-1..1": InputFormat(mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5)),
    "0..1": InputFormat(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0)),
}
PADDINGS = ("symmetric", "same")
# ImageNet has 1,000 classes; checkpoints that came from TensorFlow count the background as one more.
TENSORFLOW_OUTPUTS = 1001
FOLDER = "weights"


@dataclass(frozen=True, kw_only=True)
class BackboneChoice:
    """What the command line says about the backbone; None leaves it to the dataset, the backbone or the weights.

    Attributes:
        backbone: name of the backbone.
        weights: `random`, or a file in torchvision's key layout.
        input: what the weights expect: a name of `INPUTS`.
        padding: of layers with a stride, `symmetric` or `same`.
    """

    backbone: str | None = None
    weights: str | None = None
    input: str | None = None
    padding: str | None = None


AS_THE_DATASET = BackboneChoice()


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """A backbone with the weights that it starts from.

    Attributes:
        backbone: its name.
        digest: SHA-256 of the weights' file; its first 8 digits for torchvision's published weights, as their file
            names carry it, so that a plan needs no download; or `random`.
        input: what the weights expect.
        file: that was given, or None.
        settings: what differs from the dataset's own, as the command line takes it.
        notes: what the user should know.
    """

    backbone: str
    digest: str
    input: InputFormat
    file: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call the weights."""
        if self.digest == RANDOM:
            return RANDOM
        return self.file.name if self.file else get_backbone(self.backbone).weights

    @property
    def options(self) -> str:
        """The settings as options of `mltbench run`."""
        return " ".join(f"--{name} {shlex.quote(value)}" for name, value in self.settings.items())

    @property
    def label(self) -> str:
        """The settings in short, as rows of tables are told apart."""
        return ", ".join(f"{name}={Path(value).name}" for name, value in self.settings.items())


def choose_weights(choice: BackboneChoice, *, default: str) -> InitialWeights:
    """Resolve a choice; a file is read and compared with the backbone here, before anything is trained.

    Args:
        choice: what was asked for.
        default: name of the dataset's own backbone.

    Raises:
        InputError: if a name is unknown, or a file does not fit the backbone.
    """
    backbone = get_backbone(choice.backbone or default)
    for kind, name, known in (("input", choice.input, INPUTS), ("padding", choice.padding, PADDINGS)):
        if name is not None and name not in known:
            raise unknown_name(f"--weights-{kind}", name, known)
    if choice.weights in (None, RANDOM):
        digest = RANDOM if choice.weights == RANDOM else published_digest(backbone)
        found = InitialWeights(backbone=backbone.name, digest=digest, input=backbone.input)
    else:
        found = _from_file(Path(str(choice.weights)), backbone)
    return _as_asked(found, choice, default=default)


def _from_file(path: Path, backbone: Backbone) -> InitialWeights:
    outputs, notes = inspect_weights(path, backbone)
    digest, pixels = file_digest(path), backbone.input
    if outputs == TENSORFLOW_OUTPUTS:
        pixels = replace(INPUTS["-1..1"], padding="same")
        notes += (
            f"{path.name}: {TENSORFLOW_OUTPUTS} outputs, so these weights come from TensorFlow: input of -1..1, "
            "padding as TensorFlow's SAME; --weights-input and --weights-padding say otherwise",
        )
    published = published_digest(backbone)
    if digest.startswith(published):
        return InitialWeights(backbone=backbone.name, digest=published, input=pixels, file=path, notes=notes)
    return InitialWeights(
        backbone=backbone.name, digest=digest, input=pixels, file=path, settings={"weights": str(path)}, notes=notes
    )


def _as_asked(found: InitialWeights, choice: BackboneChoice, *, default: str) -> InitialWeights:
    """Apply the asked input and padding, and collect what differs from the dataset's own."""
    asked: dict[str, str] = {} if found.backbone == default else {"backbone": found.backbone}
    if found.digest == RANDOM:
        asked["weights"] = RANDOM
    asked |= found.settings
    pixels = found.input
    if choice.input is not None:
        pixels = replace(INPUTS[choice.input], padding=pixels.padding)
        asked |= {} if pixels == found.input else {"weights-input": choice.input}
    if choice.padding is not None:
        padded = replace(pixels, padding=choice.padding)  # type: ignore[arg-type]
        asked |= {} if padded == pixels else {"weights-padding": choice.padding}
        pixels = padded
    return replace(found, input=pixels, settings=asked)


def published_digest(backbone: Backbone) -> str:
    """Digest of a backbone's published weights, known without the file."""
    if backbone.address is not None:
        return own_file_digest(backbone.weights)
    return Path(backbone.weights).stem.rpartition("-")[2]


def find_weights(experiment: Experiment, given: Path | str | None, data_root: Path | str) -> Path | None:
    """The file of an experiment's initial weights, checked by digest; None where none is needed.

    Looked for at the given path, in the folder `weights` under the data root, and, for torchvision's published weights,
    where torch keeps its downloads; at last they are downloaded.

    Raises:
        InputError: if it is nowhere; the message says which file belongs where.
    """
    backbone, digest = get_backbone(experiment.backbone), experiment.weights_digest
    if digest == RANDOM or (backbone.address is not None and digest == published_digest(backbone)):
        return None
    folder = Path(data_root) / FOLDER
    candidates = [Path(given)] if given else []
    candidates += sorted(path for path in folder.glob("*.pt*") if path.is_file())
    for path in candidates:
        if path.is_file() and file_digest(path).startswith(digest):
            return path
    if digest == published_digest(backbone):
        from .weight_download import downloaded_weights

        return downloaded_weights(backbone, folder)
    if given and Path(given).is_file():
        raise InputError(
            f"{given} was changed: its SHA-256 begins with {file_digest(Path(given))[:12]}, the experiment was planned "
            f"with {digest[:12]}; put the planned file back, or plan again"
        )
    raise InputError(
        f"the initial weights of {backbone.name} (SHA-256 {digest[:12]}...) are not at {given or 'any path'}; "
        f"copy the file into {folder}, under any name ending in .pt or .pth"
    )
