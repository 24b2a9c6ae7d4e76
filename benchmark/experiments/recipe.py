"""Training recipes: the paper's, and shorter ones derived from it by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import reduce
from typing import Any, Literal, TypeVar, get_type_hints

from ...errors import InputError, require_known, unknown_name
from ...methods.part import as_type_of

Settings = TypeVar("Settings")


def _require(key: str, value: float, *, least: float, above: bool = False) -> None:
    if not (math.isfinite(value) and value >= least) or (above and value == least):
        raise InputError(f"{key}={value!r} must be a finite number {'above' if above else 'of at least'} {least:g}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Epochs, and after which of them the learning rate is multiplied by `Recipe.decay_factor`."""

    epochs: int
    decay_after: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"a schedule needs at least 1 epoch; got {self.epochs}")
        if not all(type(epoch) is int and epoch >= 0 for epoch in self.decay_after):
            raise InputError(f"decay_after={self.decay_after!r} must be epoch numbers, such as 55,70")

    def shortened(self, divisor: int) -> Schedule:
        """Divide every epoch number, rounding down."""
        return Schedule(
            epochs=self.epochs // divisor, decay_after=tuple(epoch // divisor for epoch in self.decay_after)
        )


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to a training image, in this order; defaults as published.

    Attributes:
        brightness: largest shift, in grey levels of 0..255; each photometric step happens with probability .5.
        contrast: factor from 1 - contrast to 1 + contrast, either before or after saturation and hue, at random.
    """

    brightness: float = 32.0
    contrast: float = 0.5
    saturation: float = 0.5  # factor from 1 - saturation to 1 + saturation
    hue: float = 18.0  # largest turn in degrees
    channel_permutation: bool = True  # permute R, G, B at random with probability .5
    smallest_crop: float = 0.8  # crop width and height are drawn from this share of the image to 1, independently
    flip: bool = True  # mirror left to right with probability .5

    def __post_init__(self) -> None:
        if not 0 < self.smallest_crop <= 1:
            raise InputError(f"smallest_crop={self.smallest_crop!r} must lie in (0, 1]")
        for name in ("brightness", "contrast", "saturation", "hue"):
            _require(f"augmentation.{name}", getattr(self, name), least=0)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about training that a method does not decide; defaults are the paper's (Sec. 4.2)."""

    plain: Schedule = Schedule(epochs=80, decay_after=(55, 70))  # schedule of methods without re-sampling
    resampled: Schedule = Schedule(epochs=8, decay_after=(5, 7))  # schedule of methods with class-aware re-sampling
    batch_size: int = 32
    learning_rate: float = 0.02  # of SGD, at its height
    momentum: float = 0.9
    weight_decay: float = 1e-4  # on every trained parameter
    clip_norm: float = 35.0  # largest gradient norm
    warmup_iterations: int = 500  # steps of linear warm-up
    warmup_ratio: float = 1 / 3  # share of the learning rate at step 0
    decay_factor: float = 0.1  # of the learning rate at each decay
    neck_width: int = 256  # features between backbone and classifier
    dropout: float = 0.5  # after the neck
    image_size: int = 224  # side of the network's input, in pixels
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # `auto` is bfloat16 on CUDA and float32 elsewhere
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        for name in ("batch_size", "neck_width", "image_size"):
            _require(f"recipe.{name}", getattr(self, name), least=1)
        for name in ("momentum", "weight_decay", "warmup_iterations", "warmup_ratio", "decay_factor", "dropout"):
            _require(f"recipe.{name}", getattr(self, name), least=0)
        for name in ("learning_rate", "clip_norm"):
            _require(f"recipe.{name}", getattr(self, name), least=0, above=True)
        if self.batch_size < 2:
            raise InputError("recipe.batch_size=1 leaves the neck's BatchNorm nothing to average; take at least 2")
        if self.dropout >= 1:
            raise InputError(f"recipe.dropout={self.dropout!r} must lie in [0, 1)")
        require_known("recipe.precision", str(self.precision), ("auto", "float32", "bfloat16"))

    def resolved(self, schedule: Literal["plain", "re-sampled"], *, device_type: str) -> dict[str, Any]:
        """Return as plain JSON what one experiment uses: one schedule, one precision."""
        data = asdict(self)
        plain, resampled = data.pop("plain"), data.pop("resampled")
        data["schedule"] = plain if schedule == "plain" else resampled
        if self.precision == "auto":
            data["precision"] = "bfloat16" if device_type == "cuda" else "float32"
        return data


PAPER = Recipe()

# What keeps a digit's label: no mirroring, and no colour change that turns one ink into another.
DIGITS_AUGMENTATION = Augmentation(saturation=0, hue=0, channel_permutation=False, flip=False)

# The paper's recipe at a third of the plain epochs, so that both schedules take about 23,000 images of Digits-MLT. The
# paper's own learning rate leaves so short a training unfinished. Validation split, seed 0, total mAP of ERM, Focal, RS
# and DB (`mltbench run --method ... --override recipe.learning_rate=...`): .02 gave 64.6, 68.6, 68.5, 67.3; .1 gave
# 75.5, 76.2, 75.1, 75.6; .2 gave 76.9, 77.4, 77.8, 77.6; .4 gave 77.9, 78.7, 78.8, 76.6 and cost DB-Focal 13 points.
DIGITS = replace(
    PAPER,
    plain=PAPER.plain.shortened(3),
    learning_rate=0.2,
    warmup_iterations=PAPER.warmup_iterations // 2,
    image_size=48,
    augmentation=DIGITS_AUGMENTATION,
)

# For a thousand photographs on a laptop's CPU: the paper's recipe at a tenth of the plain and a third of the re-sampled
# epochs, with smaller images, and a learning rate at which MobileNetV2 with frozen BatchNorm does not diverge.
PHOTOS_SHORT = replace(
    PAPER,
    plain=PAPER.plain.shortened(10),
    resampled=Schedule(epochs=3, decay_after=(2,)),
    learning_rate=0.005,
    warmup_iterations=PAPER.warmup_iterations // 10,
    image_size=160,
)

RECIPES: dict[str, Recipe] = {
    "paper": PAPER,
    "digits": DIGITS,
    "photos-short": PHOTOS_SHORT,
    "digits-paper": replace(PAPER, image_size=48, augmentation=DIGITS_AUGMENTATION),
    "digits-smoke": replace(
        DIGITS, plain=Schedule(epochs=2, decay_after=()), resampled=Schedule(epochs=1, decay_after=())
    ),
}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        InputError: if there is none.
    """
    require_known("recipe", name, RECIPES)
    return RECIPES[name]


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe with several settings changed, each as `with_setting` does it."""
    return reduce(lambda changed, setting: with_setting(changed, *setting), settings.items(), recipe)


def with_setting(owner: Settings, path: str, value: Any, *, prefix: str = "recipe") -> Settings:
    """Return a recipe with one setting changed; `path` is dotted, such as `augmentation.flip`.

    Raises:
        InputError: if there is no such setting, or the value has another type.

    >>> with_setting(PAPER, "plain.epochs", 10).plain.epochs
    10
    """
    name, _, rest = path.partition(".")
    known, key = [f"{prefix}.{field.name}" for field in fields(owner)], f"{prefix}.{name}"  # type: ignore[arg-type]
    require_known("key", key, known)
    current = getattr(owner, name)
    if is_dataclass(current) != bool(rest):
        inner = [f"{key}.{field.name}" for field in fields(current)] if is_dataclass(current) else []
        raise unknown_name("key", f"{prefix}.{path}", inner or [key])
    if rest:
        changed = with_setting(current, rest, value, prefix=key)
    else:
        # Some recipes say 0 where the setting is a float, and their ids hold that 0.
        fractions = type(value) is float and get_type_hints(type(owner))[name] is float
        changed = as_type_of(float(current) if fractions else current, value, key)
    return owner if changed == current else replace(owner, **{name: changed})  # type: ignore[type-var]
