"""Which weights a backbone starts from: chosen and checked when a plan is made, found again where it is trained."""

import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.error import HTTPError

import torch

from ...datasets.prepared.dataset_folder import StartingWeights
from ...errors import InputError, unknown_name
from .backbones import IMAGENET, Backbone, InputFormat, get_backbone
from .weight_files import file_digest, inspect_weights, published_digest

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
# torch sets no limit of its own when it downloads.
ANSWER_WITHIN_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class BackboneChoice:
    """What the command line says about the backbone; None leaves it to the dataset, the backbone or the weights.

    Attributes:
        weights: `random`, or a file whose tensors have torchvision's names, behind any prefix.
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
    """A backbone, by name, with the weights that it starts from.

    Attributes:
        digest: SHA-256 of the weights' file; its first 8 digits for torchvision's published weights, as their file
            names have it, so that a plan needs no download; or `random`.
        input: what the weights expect.
        file: the file that was given, if one was.
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
        """The settings in short, as rows of tables show them."""
        return ", ".join(f"{name}={Path(value).name}" for name, value in self.settings.items())


def choose_weights(choice: BackboneChoice, *, default: str, starting: StartingWeights | None = None) -> InitialWeights:
    """Resolve a choice, where `default` names the dataset's own backbone and `starting` its weights.

    A file is read and compared with the backbone here, before anything is trained. What is the dataset's own is no
    setting.

    Raises:
        InputError: if a name is unknown, a file does not fit the backbone, or the dataset's file was moved or changed.
    """
    backbone = get_backbone(choice.backbone or default)
    for kind, name, known in (("input", choice.input, INPUTS), ("padding", choice.padding, PADDINGS)):
        if name is not None and name not in known:
            raise unknown_name(f"--weights-{kind}", name, known)
    settings = {} if backbone.name == default else {"backbone": backbone.name}
    own = starting if backbone.name == default else None
    if own is not None and choice.weights is None:
        _require_unchanged(own)
    given = choice.weights or (own.weights if own else "")
    found = InitialWeights(backbone=backbone.name, digest=published_digest(backbone), input=backbone.input)
    if given == RANDOM:
        found = replace(found, digest=RANDOM)
    elif given:
        found = _from_file(found, Path(given))
    if found.digest != (own.digest if own else published_digest(backbone)):
        settings["weights"] = RANDOM if given == RANDOM else str(Path(given))
    elif own is not None:
        found = replace(found, input=_with(found.input, own.input, own.padding))
    pixels = _with(found.input, choice.input, choice.padding)
    if choice.input is not None and replace(pixels, padding=found.input.padding) != found.input:
        settings["weights-input"] = choice.input
    if pixels.padding != found.input.padding:
        settings["weights-padding"] = pixels.padding
    return replace(found, input=pixels, settings=settings)


def remembered(choice: BackboneChoice) -> StartingWeights | None:
    """What a dataset keeps of a choice, so that its runs start so; None where it is the backbone's published weights.

    Raises:
        InputError: as `choose_weights`.
    """
    found = choose_weights(choice, default=choice.backbone or "")
    if choice.weights is None and choice.input is None and choice.padding is None:
        return None
    weights = str(found.file.resolve()) if found.file else choice.weights or ""
    return StartingWeights(weights=weights, digest=found.digest, input=choice.input, padding=choice.padding)


def _with(pixels: InputFormat, name: str | None, padding: str | None) -> InputFormat:
    """An input format with another range of pixels or another padding, where they are named."""
    found = replace(INPUTS[name], padding=pixels.padding) if name else pixels
    return replace(found, padding=padding) if padding else found  # type: ignore[arg-type]


def _require_unchanged(own: StartingWeights) -> None:
    """Check the file that an imported dataset remembers."""
    path = Path(own.weights)
    if own.weights in ("", RANDOM) or (path.is_file() and file_digest(path).startswith(own.digest)):
        return
    what = "is not there any more" if not path.is_file() else "was changed"
    raise InputError(
        f"{path}, the weights that the dataset was imported with (SHA-256 {own.digest[:12]}), {what}: put it back, or "
        "name the file where it is now with --weights FILE (the same bytes are the same experiments), or import the "
        "dataset again with --weights and --replace"
    )


def random_weights(backbone: str = "digits-resnet") -> InitialWeights:
    """Of a backbone that is to start from random weights."""
    return choose_weights(BackboneChoice(weights=RANDOM), default=backbone)


def _from_file(published: InitialWeights, path: Path) -> InitialWeights:
    outputs, notes = inspect_weights(path, get_backbone(published.backbone))
    digest, pixels = file_digest(path), published.input
    if outputs == TENSORFLOW_OUTPUTS:
        pixels = replace(INPUTS["-1..1"], padding="same")
        notes += (
            f"{path.name}: {TENSORFLOW_OUTPUTS} outputs, so these weights come from TensorFlow: input of -1..1, "
            "padding as TensorFlow's SAME; --weights-input and --weights-padding say otherwise",
        )
    if digest.startswith(published.digest):
        digest = published.digest
    return replace(published, digest=digest, input=pixels, file=path, notes=notes)


def find_weights(name: str, digest: str, given: Path | str | None, data_root: Path | str) -> Path | None:
    """The file of a backbone's initial weights, checked by digest; None where none is needed.

    Looked for at the given path, in the folder `weights` under the data root and, for torchvision's published weights,
    where torch keeps its downloads; if it is nowhere, those are downloaded.

    Raises:
        InputError: if the file cannot be found; the message says which file belongs where.
    """
    backbone = get_backbone(name)
    published = digest == published_digest(backbone)
    if digest == RANDOM or (published and backbone.own):
        return None
    folder = Path(data_root) / FOLDER
    candidates = [Path(given)] if given else []
    candidates += sorted(path for path in folder.glob("*") if path.is_file())
    for path in candidates:
        if path.is_file() and file_digest(path).startswith(digest):
            return path
    if published:
        return _downloaded(backbone, folder)
    if given and Path(given).is_file():
        raise InputError(
            f"{given} was changed: its SHA-256 begins with {file_digest(Path(given))[:12]}, the experiment was planned "
            f"with {digest[:12]}; put the planned file back, or plan again"
        )
    raise InputError(
        f"the initial weights of {backbone.name} (SHA-256 {digest[:12]}...) are not at {given or 'any path'}; "
        f"copy the file into {folder}, under any name"
    )


def _downloaded(backbone: Backbone, folder: Path) -> Path:
    """The file of torchvision's published weights, in torch's own folder; downloaded when it is not there."""
    digest = published_digest(backbone)
    path = Path(torch.hub.get_dir()) / "checkpoints" / backbone.weights
    if path.is_file() and file_digest(path).startswith(digest):
        return path
    address, patience = published_address(backbone), socket.getdefaulttimeout()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(ANSWER_WITHIN_SECONDS)
        torch.hub.download_url_to_file(address, str(path), hash_prefix=digest, progress=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise InputError(
            f"the weights of {backbone.name} are not here, and {address} cannot be downloaded ({error}). Put that "
            f"file, whose SHA-256 begins with {digest}, into {path.parent} or {folder}; or name a file of your own "
            "with --weights FILE; or start from --weights random"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return path


def published_address(backbone: Backbone) -> str:
    """Where torchvision fetches a backbone's weights."""
    # Importing torchvision takes as long as importing torch; workers on the small network do without.
    import torchvision

    return str(torchvision.models.get_model_weights(backbone.name)["IMAGENET1K_V1"].url)
