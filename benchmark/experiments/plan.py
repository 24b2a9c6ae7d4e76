"""Plans: which experiments to run, as methods x seeds on one dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...datasets.dataset import SPLITS, Dataset
from ...datasets.registry import get_dataset_entry
from ...datasets.word_vectors import hashed_word_vectors, read_word_vectors
from ...errors import InputError, require_known, unknown_name
from ...methods.catalogue import TABLES, VALUES, get_method, list_methods
from ...methods.method import Method
from ..networks.initial_weights import AS_THE_DATASET, BackboneChoice, InitialWeights, choose_weights
from .experiment import Experiment
from .overrides import changed_parameters, changed_settings, override_methods, parse_overrides, settings_text
from .recipe import Recipe, get_recipe, with_settings

Kind = Literal["experiment", "trial"]


@dataclass(frozen=True, kw_only=True)
class PlannedExperiment:
    """An experiment with the labels that people know it by.

    Attributes:
        title: of its method, as tables print it.
        recipe: name of its recipe.
        settings: what differs from method and recipe, such as `method.mu=0.2`.
        images: training images that it takes.
        values: dataset whose hyper-parameters `settings` differ from; empty where it is the experiment's own.
        tags: what MLflow keeps with it besides, each as `mltbench.KEY`.
    """

    experiment: Experiment
    title: str
    recipe: str
    settings: tuple[str, ...]
    images: int
    weights: InitialWeights
    values: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def overrides(self) -> str:
        """What is not as the dataset's own, in short, such as `weights=random, mu=0.2`."""
        values = self.values and f"values={self.values}"
        settings = (setting.partition(".")[2] for setting in self.settings)
        return ", ".join(filter(None, [self.weights.label, values, *settings]))

    @property
    def command(self) -> str:
        """The command that runs this experiment alone."""
        experiment = self.experiment
        words = [f"mltbench run --method {experiment.method.name} --dataset {experiment.dataset}"]
        words += [f"--seeds {experiment.seed}, --recipe {self.recipe}", self.weights.options]
        words += [f"--values {self.values}"] if self.values else []
        return " ".join([*filter(None, words), *(f"--override {setting}" for setting in self.settings)])

    @property
    def label(self) -> str:
        """Title and overrides, as a table's row is called."""
        return f"{self.title} ({self.overrides})" if self.overrides else self.title


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Experiments of one command, in order.

    Attributes:
        name: the tag `mltbench.plan` of its runs in MLflow.
        experiments: each once.
        scores_test: whether its experiments score the test split. Searches never do: their experiments are trials,
            kept apart from those that tables read.
    """

    name: str
    dataset: str
    experiments: tuple[PlannedExperiment, ...]
    scores_test: bool = True

    @property
    def kind(self) -> Kind:
        """Kind of its runs: `experiment`, or `trial` where the test split stays closed."""
        return "experiment" if self.scores_test else "trial"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that its experiments open: training split first."""
        return SPLITS if self.scores_test else SPLITS[:2]


def choose_methods(tables: Sequence[int], names: Sequence[str]) -> list[str]:
    """Methods of the tables, then the named ones, each once.

    Raises:
        InputError: if nothing is chosen, or a table is unknown.
    """
    for table in tables:
        if table not in TABLES:
            raise unknown_name("table", str(table), map(str, TABLES))
    chosen = [*(name for table in tables for name in TABLES[table]), *names]
    if not chosen:
        known = ", ".join(method.name for method in list_methods())
        tables_text = ", ".join(f"--table {number}" for number in TABLES)
        raise InputError(f"nothing to run: give {tables_text}, or --method NAME; known methods: {known}")
    return list(dict.fromkeys(chosen))


def build_plan(
    dataset: Dataset,
    methods: Sequence[str],
    *,
    seeds: Sequence[int],
    recipe: str | None = None,
    backbone: BackboneChoice = AS_THE_DATASET,
    overrides: Sequence[str] = (),
    values: str | None = None,
    device_type: str = "cpu",
    word_vectors: Path | None = None,
    name: str | None = None,
) -> Plan:
    """Combine methods and seeds into experiments; methods come first in order, seeds within them.

    The recipe is the dataset's where none is named; overrides read `method.KEY=VALUE` or `recipe.KEY=VALUE`. The type
    of device, `cpu` or `cuda`, decides the precision of `auto`. Word vectors are for heads that need them.
    Hyper-parameters are the dataset's own, or those of the dataset that `values` names.

    Raises:
        InputError: if a name, key or value is unknown; nothing is run then.
    """
    entry = get_dataset_entry(dataset.name)
    settings = parse_overrides(overrides)
    weights = choose_weights(backbone, default=entry.backbone, starting=entry.weights)
    recipe_name = recipe or entry.recipe
    standard = get_recipe(recipe_name)
    if values is not None:
        require_known("dataset with hyper-parameters of its own", values, VALUES)
    own = [get_method(name, dataset=dataset.name) for name in methods]
    taken = [get_method(name, dataset=values or dataset.name) for name in methods]
    planned = []
    for usual, base, method in zip(own, taken, override_methods(taken, settings["method"]), strict=True):
        if method.loss is not None:
            method.build_loss(dataset.statistics)  # one that cannot take these labels says so before anything runs
        asked = {**base.recipes.get(recipe_name, {}), **settings["recipe"]}
        training = with_settings(standard, asked)
        differing, from_values = (
            settings_text(
                method=changed_parameters(method, start, first=settings["method"]),
                recipe=changed_settings(standard, start.recipes.get(recipe_name, {}), asked, method),
            )
            for start in (usual, base)
        )
        # It is called after the values that it was given where that is shorter than what differs from its own.
        named = values or "" if len(from_values) + 1 < len(differing) else ""
        planned += [
            PlannedExperiment(
                experiment=Experiment.of(
                    dataset,
                    method,
                    training,
                    weights,
                    seed=seed,
                    device_type=device_type,
                    word_vectors_digest=_vectors_digest(method, dataset, word_vectors),
                ),
                title=method.title,
                recipe=recipe_name,
                settings=from_values if named else differing,
                images=training_images(method, training, dataset),
                weights=weights,
                values=named,
            )
            for seed in seeds
        ]
    unique = {item.experiment.id: item for item in planned}
    title = name or f"{', '.join(methods)} on {dataset.name}"
    return Plan(name=title, dataset=dataset.name, experiments=tuple(unique.values()))


def training_images(method: Method, recipe: Recipe, dataset: Dataset) -> int:
    """Training images that a method takes from first to last epoch."""
    schedule = recipe.plain if method.schedule == "plain" else recipe.resampled
    length = method.sampler.epoch_length(dataset.labels("train"))
    rest = length % recipe.batch_size
    left_out = rest if method.sampler.drop_last or rest == 1 else 0
    return schedule.epochs * (length - left_out)


def _vectors_digest(method: Method, dataset: Dataset, file: Path | None) -> str | None:
    if not method.head.needs_word_vectors:
        return None
    vectors = read_word_vectors(file, dataset.classes) if file else hashed_word_vectors(dataset.classes)
    return vectors.digest
