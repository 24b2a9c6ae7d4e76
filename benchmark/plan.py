"""Plans: which experiments to run, as methods x seeds on one dataset. Loads without torch."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.dataset import Dataset
from ..datasets.errors import InputError, unknown_name
from ..datasets.registry import get_dataset_entry
from ..datasets.word_vectors import hashed_word_vectors, read_word_vectors
from ..methods.catalogue import TABLES, get_method, list_methods
from ..methods.method import Method
from .backbones import weights_digest
from .experiment import Experiment
from .recipes import Recipe, get_recipe, with_setting


@dataclass(frozen=True, kw_only=True)
class PlannedExperiment:
    """An experiment with the labels that people know it by.

    Attributes:
        experiment: what will be run.
        title: of its method, as tables print it.
        recipe: name of its recipe.
        overrides: settings that differ from method and recipe, such as `mu=0.2`; empty for none.
        images: training images that it takes.
    """

    experiment: Experiment
    title: str
    recipe: str
    overrides: str
    images: int

    @property
    def label(self) -> str:
        """Title and overrides, as a table's row is called."""
        return f"{self.title} ({self.overrides})" if self.overrides else self.title


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Experiments of one command, in order.

    Attributes:
        name: what MLflow calls it.
        dataset: name of the dataset.
        experiments: each once.
    """

    name: str
    dataset: str
    experiments: tuple[PlannedExperiment, ...]


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
        raise InputError(f"nothing to run: give --table 1, --table 2, or --method NAME; known methods: {known}")
    return list(dict.fromkeys(chosen))


def build_plan(
    dataset: Dataset,
    methods: Sequence[str],
    *,
    seeds: Sequence[int],
    recipe: str | None = None,
    backbone: str | None = None,
    overrides: Sequence[str] = (),
    device_type: str = "cpu",
    word_vectors: Path | None = None,
    name: str | None = None,
) -> Plan:
    """Combine methods and seeds into experiments; methods come first in order, seeds within them.

    Args:
        dataset: what to train on.
        methods: names from the catalogue.
        seeds: one experiment per method and seed.
        recipe: name of the recipe; None takes the dataset's.
        backbone: name of the backbone; None takes the dataset's.
        overrides: `method.KEY=VALUE` and `recipe.KEY=VALUE`.
        device_type: `cpu` or `cuda`, which decides the precision of `auto`.
        word_vectors: file of word vectors, for heads that need them.
        name: of the plan; None makes one from its methods.

    Raises:
        InputError: if a name, key or value is unknown; nothing is run then.
    """
    entry = get_dataset_entry(dataset.name)
    recipe_name = recipe or entry.recipe
    settings = _parse_overrides(overrides)
    chosen = _override_methods([get_method(m, dataset=dataset.name) for m in methods], settings["method"])
    training = get_recipe(recipe_name)
    for key, value in settings["recipe"].items():
        training = with_setting(training, key, value)
    backbone_name = backbone or entry.backbone
    vectors = None
    if any(method.head.needs_word_vectors for method, _ in chosen):
        source = read_word_vectors(word_vectors, dataset.classes) if word_vectors else None
        vectors = (source or hashed_word_vectors(dataset.classes)).digest
    planned = []
    for method, changed in chosen:
        text = ", ".join([f"{k}={v}" for k, v in changed.items()] + [f"{k}={v}" for k, v in settings["recipe"].items()])
        for seed in seeds:
            experiment = Experiment(
                dataset=dataset.name,
                dataset_digest=dataset.digest,
                method=method,
                training=training.resolved(method.schedule, device_type=device_type),
                backbone=backbone_name,
                weights_digest=weights_digest(backbone_name),
                word_vectors_digest=vectors if method.head.needs_word_vectors else None,
                seed=seed,
            )
            images = training_images(method, training, dataset)
            planned.append(
                PlannedExperiment(
                    experiment=experiment, title=method.title, recipe=recipe_name, overrides=text, images=images
                )
            )
    unique = {item.experiment.id: item for item in planned}
    return Plan(
        name=name or f"{', '.join(methods)} on {dataset.name}", dataset=dataset.name, experiments=tuple(unique.values())
    )


def training_images(method: Method, recipe: Recipe, dataset: Dataset) -> int:
    """Training images that a method takes from first to last epoch."""
    schedule = recipe.plain if method.schedule == "plain" else recipe.resampled
    length = method.sampler.epoch_length(dataset.split("train").labels)
    whole = length // recipe.batch_size * recipe.batch_size
    return schedule.epochs * (whole if method.sampler.drop_last else length)


def _parse_overrides(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    settings: dict[str, dict[str, Any]] = {"method": {}, "recipe": {}}
    for override in overrides:
        key, equals, text = override.partition("=")
        room, _, name = key.strip().partition(".")
        if not equals or not name or room not in settings:
            raise InputError(
                f"override {override!r} must read method.KEY=VALUE or recipe.KEY=VALUE, such as method.mu=.2"
            )
        settings[room][name] = _parse_value(text.strip())
    return settings


def _parse_value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _override_methods(methods: Sequence[Method], values: dict[str, Any]) -> list[tuple[Method, dict[str, Any]]]:
    """Apply each value to the methods that have such a hyper-parameter; also return what changed in each."""
    for name in values:
        if not any(name in method.parameters for method in methods):
            known = sorted({key for method in methods for key in method.parameters})
            raise unknown_name("key", f"method.{name}", [f"method.{key}" for key in known])
    result = []
    for method in methods:
        own = {name: value for name, value in values.items() if name in method.parameters}
        changed = method.with_parameters(**own)
        different = {
            name: changed.parameters[name] for name in own if changed.parameters[name] != method.parameters[name]
        }
        result.append((changed, different))
    return result
