"""The options that several commands share, each declared once, and what they mean to the suite.

MLflow is imported when a store is opened: in its 2 s, the first worker of `mltbench run` imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from ...datasets.commands.options import PLACES, AtLeastOne, NotNegative
from ...datasets.registry import load_dataset
from ...errors import InputError
from ...methods.plugins import load_plugins
from ..executors.settings import RunSettings
from ..experiments.plan import Plan, build_plan, choose_methods
from ..networks.initial_weights import BackboneChoice
from ..runs.folder import resolve_results_root
from ..training.devices import cuda_devices, default_workers, resolve_device
from ..training.execution import Execution

if TYPE_CHECKING:
    from ..tracking.store import Store

DEFAULT_DATASET = "digits-mlt"

PLAN, TRAINING = Group("Plan", sort_key=1), Group("Training", sort_key=2)


@Parameter(name="*", group=PLACES)
@dataclass(frozen=True, kw_only=True)
class ResultsOptions:
    """Where results live."""

    out: Path | None = None
    """Where results live [default: MLTBENCH_HOME, else ./mltbench-results]."""

    @property
    def root(self) -> Path:
        """The folder of the results."""
        return resolve_results_root(self.out)


@Parameter(name="*", group=PLACES)
@dataclass(frozen=True, kw_only=True)
class StoreOptions(ResultsOptions):
    """Where results live, and which MLflow has them."""

    tracking_uri: str | None = None
    """Any MLflow tracking URI [default: MLFLOW_TRACKING_URI, else SQLite under --out]."""

    def open(self, *, create: bool = True) -> Store:
        """The store; without `create`, it must exist."""
        from ..tracking.store import open_store

        return open_store(self.root, self.tracking_uri, create=create)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PluginOptions:
    """Your own methods."""

    plugin: tuple[str, ...] = ()
    """Python file that registers a method of your own; repeatable."""

    def load(self) -> tuple[str, ...]:
        """Load the files; return their absolute paths, under which workers load them."""
        load_plugins(self.plugin)
        return tuple(str(Path(file).resolve()) for file in self.plugin)


@Parameter(name="*", group=PLAN)
@dataclass(frozen=True, kw_only=True)
class FileOptions(PluginOptions):
    """What methods read besides their dataset."""

    word_vectors: Path | None = None
    """Word vectors for ML-GCN: a text of GloVe, word2vec or fastText, or an .npz."""


@Parameter(name="*", group=PLAN)
@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Which methods."""

    table: tuple[int, ...] = ()
    """Methods of the paper's Table 1 or 2, or of Table 3, since 2020; repeatable."""
    method: tuple[str, ...] = ()
    """A method by name; repeatable."""


@Parameter(name="*", group=PLAN)
@dataclass(frozen=True, kw_only=True)
class SettingOptions:
    """Recipe, backbone and overrides: what a dataset has defaults for."""

    recipe: str | None = None
    """Training recipe [default: the dataset's own]."""
    override: Annotated[tuple[str, ...], Parameter(alias="--overrides")] = ()
    """method.KEY=VALUE or recipe.KEY=VALUE, several with commas between; repeatable. `mltbench methods NAME` and
    `mltbench recipes NAME` show the keys; method. or recipe. may be left out where only one of them has the key."""
    values: str | None = None
    """Whose hyper-parameters to take, such as voc-mlt, which are the paper's [default: the dataset's own, else
    voc-mlt's]."""
    backbone: str | None = None
    """Network below the head, such as resnet50 or mobilenet_v2 [default: the dataset's own]."""
    weights: str | None = None
    """Initial weights of the backbone: a checkpoint of any wrapping (.pth, .ckpt, .safetensors), or `random`
    [default: torchvision's IMAGENET1K_V1, downloaded once]."""
    weights_input: str | None = None
    """Input that the weights expect: imagenet (mean and deviation), -1..1 or 0..1 [default: theirs]."""
    weights_padding: str | None = None
    """Padding of layers with a stride: symmetric, or same as in TensorFlow [default: the weights']."""

    @property
    def backbone_choice(self) -> BackboneChoice:
        """Which backbone, with which weights."""
        return BackboneChoice(
            backbone=self.backbone, weights=self.weights, input=self.weights_input, padding=self.weights_padding
        )


@Parameter(name="*", group=PLAN)
@dataclass(frozen=True, kw_only=True)
class PlanOptions(FileOptions, SettingOptions, MethodOptions):
    """The plans that a command line names: methods on datasets with settings and seeds; or a study's winners."""

    dataset: tuple[str, ...] = ()
    """A dataset by name; repeatable [default: digits-mlt]."""
    from_study: str | None = None
    """Methods of this study, with their defaults and with the settings it found."""
    seeds: str | None = None
    """How many seeds (3 means 0, 1, 2), or a list such as 4,5,6 [default: 1]."""

    def check(self) -> None:
        """Check what needs no data and no store.

        Raises:
            InputError: if a method, a table or the seeds are unknown, or an option contradicts --from-study.
        """
        parse_seeds(self.seeds or "1")
        if self.from_study is None:
            choose_methods(self.table, self.method)
        elif self._given() - {"from_study", "seeds", "word_vectors", "plugin"}:
            raise InputError(
                "--from-study says which methods, dataset, recipe, settings and weights are trained; leave --method, "
                "--table, --dataset, --recipe, --override, --backbone and --weights out"
            )

    def require_filters(self) -> None:
        """Check that only methods and datasets are given, by which finished runs can be filtered.

        Raises:
            InputError: if anything else is.
        """
        if more := sorted(self._given() - {"table", "method", "dataset", "plugin"}):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in more)
            raise InputError(f"{names} names a plan: add --plan, or show every run and leave it out")

    def _given(self) -> set[str]:
        return {field.name for field in fields(self) if getattr(self, field.name) != field.default}

    def plans(self, open_results: Callable[[], Store], *, data_root: Path, device_type: str) -> list[Plan]:
        """One plan per dataset, or that of a study's winners.

        Args:
            open_results: opens the store where studies have left their winners; only called if they are asked for, so
                that a wrong name or value leaves no trace.
            data_root: where datasets are kept.
            device_type: `cpu` or `cuda`, which decides the precision of `auto`.

        Raises:
            InputError: if an option is unknown.
        """
        common: dict[str, Any] = {"seeds": parse_seeds(self.seeds or "1"), "device_type": device_type}
        common |= {"word_vectors": self.word_vectors}
        if self.from_study is not None:
            from ..tracking.winners import winners_plan

            return [winners_plan(open_results(), self.from_study, data_root=data_root, **common)]
        methods = choose_methods(self.table, self.method)
        common |= {"recipe": self.recipe, "backbone": self.backbone_choice, "overrides": self.override}
        common["values"] = self.values
        title = " and ".join([*(f"Table {number}" for number in self.table), *self.method])
        return [
            build_plan(load_dataset(name, data_root=data_root), methods, name=f"{title} on {name}", **common)
            for name in self.dataset or (DEFAULT_DATASET,)
        ]


@Parameter(name="*", group=TRAINING)
@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where networks are trained."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    @property
    def chosen(self) -> str:
        """The device that is there."""
        return resolve_device(self.device)

    @property
    def kind(self) -> str:
        """`cpu` or `cuda`."""
        return self.chosen.partition(":")[0]


@Parameter(name="*", group=TRAINING)
@dataclass(frozen=True, kw_only=True)
class ThreadOptions(DeviceOptions):
    """Where a network is trained, and by how many threads."""

    threads: Annotated[int, AtLeastOne] = 1
    """Torch threads per experiment; they change the last bits."""


@Parameter(name="*", group=TRAINING)
@dataclass(frozen=True, kw_only=True)
class TrainingOptions(ThreadOptions):
    """How experiments are trained."""

    workers: Annotated[int | None, AtLeastOne] = None
    """Experiments at once [default: cores, or one per GPU]."""
    evaluate_every: Annotated[int, NotNegative] = 0
    """Score the validation split every so many epochs; 0 is the last only."""
    executor: str = "local"
    """local (processes of this machine) or ray."""
    address: str = "auto"
    """Ray cluster: auto, local (started here) or HOST:PORT."""
    gpus: Annotated[float, NotNegative] = 0
    """GPUs per cohort on Ray; .5 lets two share one."""
    wheel: Path | None = None
    """Wheel of mltbench for Ray workers without it."""
    cohort: Annotated[bool, Parameter(negative="--no-cohort")] = True
    """Train methods that see the same images and crops together, with one pass through the frozen trunk; the bits are
    the same."""
    restart: bool = False
    """Train from the beginning what was interrupted."""
    checkpoint_every: Annotated[float, NotNegative] = 60.0
    """Seconds between checkpoints; 0 writes one after every step."""

    def settings(self, files: FileOptions, data_root: Path) -> RunSettings:
        """How plans are run.

        Raises:
            InputError: if device or executor are unknown.
        """
        device = self.chosen
        return RunSettings(
            data_root=data_root,
            execution=Execution(
                device=device,
                threads=self.threads,
                evaluate_every=self.evaluate_every,
                checkpoint_seconds=self.checkpoint_every,
            ),
            plugins=files.load(),
            word_vectors=files.word_vectors,
            restart=self.restart,
            executor=self.executor,
            workers=self.workers or default_workers(device),
            devices=cuda_devices(device),
            address=self.address,
            gpus=self.gpus,
            wheel=self.wheel,
            cohort=self.cohort,
        )


def parse_seeds(text: str) -> list[int]:
    """Read `3` as seeds 0, 1, 2, and `4,5,6` as themselves.

    Raises:
        InputError: if it is neither.

    >>> parse_seeds("3"), parse_seeds("4,5,")
    ([0, 1, 2], [4, 5])
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isdecimal()]
    if len(numbers) != len([part for part in parts if part]) or not numbers or (len(parts) == 1 and numbers[0] < 1):
        raise InputError(f"--seeds {text!r} must be a number from 1 (3 means seeds 0, 1, 2) or a list such as 4,5,6")
    return list(range(numbers[0])) if len(parts) == 1 else list(dict.fromkeys(numbers))
