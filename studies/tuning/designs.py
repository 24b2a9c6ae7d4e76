"""How definitions are made: of a tuning from methods, of a sweep by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...benchmark.experiments.experiment import NUMERICS_VERSION
from ...benchmark.experiments.overrides import override_methods, override_recipe, parse_overrides
from ...benchmark.experiments.plan import training_images
from ...benchmark.experiments.recipe import Recipe, get_recipe
from ...benchmark.networks.initial_weights import AS_THE_DATASET, BackboneChoice, choose_weights
from ...datasets.dataset import Dataset
from ...datasets.registry import get_dataset_entry
from ...errors import InputError, unknown_name
from ...methods.catalogue import get_method
from ...methods.method import Method
from ...methods.search_space import SearchSpace
from ..sweeps.registry import Sweep
from .definition import OBJECTIVES, SAMPLERS, Arm, StudyDefinition
from .space import as_overrides, defaults_of, require_known, tuned_space

# Apart from the seeds 0, 1, 2, ... of tables: winners are chosen on other seeds than they are judged on.
FIRST_TUNING_SEED = 1000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every arm of a study shares.

    Attributes:
        dataset: name of the dataset.
        open_dataset: opens a dataset by name.
        recipe: name of the recipe; None takes the dataset's.
        overrides: `method.KEY=VALUE` and `recipe.KEY=VALUE`, for every trial.
        backbone: which backbone and weights.
    """

    dataset: str
    open_dataset: Callable[[str], Dataset]
    recipe: str | None = None
    overrides: tuple[str, ...] = ()
    backbone: BackboneChoice = AS_THE_DATASET

    @property
    def recipe_name(self) -> str:
        """The recipe's name."""
        return self.recipe or get_dataset_entry(self.dataset).recipe

    def arm(self, method_name: str, dataset_name: str, fixed: Sequence[str]) -> tuple[Method, Recipe, dict[str, Any]]:
        """Method and recipe with all overrides, and what an arm says of both."""
        overrides = [*self.overrides_for(method_name), *fixed]
        rooms = parse_overrides(overrides)
        recipe = override_recipe(get_recipe(self.recipe_name), rooms["recipe"])
        method = override_methods([get_method(method_name, dataset=self.dataset)], rooms["method"])[0][0]
        dataset = self.open_dataset(dataset_name)
        schedule = recipe.plain if method.schedule == "plain" else recipe.resampled
        facts = {
            "method": method_name,
            "dataset": dataset_name,
            "dataset_digest": dataset.digest,
            "fixed": tuple(overrides),
            "images": training_images(method, recipe, dataset),
            "epochs": schedule.epochs,
        }
        return method, recipe, facts

    def overrides_for(self, method_name: str) -> list[str]:
        """Those of the overrides that a method has a use for."""
        known = get_method(method_name, dataset=self.dataset).parameters
        kept = []
        for override in self.overrides:
            room, _, rest = override.partition(".")
            if room != "method" or rest.partition("=")[0].strip() in known:
                kept.append(override)
        return kept


def tuning(
    name: str,
    methods: Sequence[str],
    setting: Setting,
    *,
    objective: str,
    sampler: str,
    seeds_per_trial: int,
    parameters: Sequence[str],
    prune: bool,
    sampler_seed: int = 0,
) -> StudyDefinition:
    """The definition of a tuning: every method over its own space.

    Raises:
        InputError: if a name is unknown, or a method has nothing to search.
    """
    for kind, given, known in (("objective", objective, OBJECTIVES), ("sampler", sampler, SAMPLERS)):
        if given not in known:
            raise unknown_name(kind, given, known)
    recipe = override_recipe(get_recipe(setting.recipe_name), parse_overrides(setting.overrides)["recipe"])
    require_known(parameters, [get_method(method, dataset=setting.dataset) for method in methods], recipe)
    override_methods([get_method(m, dataset=setting.dataset) for m in methods], _method_overrides(setting))
    arms = []
    for method_name in dict.fromkeys(methods):
        method, its_recipe, facts = setting.arm(method_name, setting.dataset, ())
        space = tuned_space(method, its_recipe, parameters)
        if not space:
            raise InputError(f"{method_name} has none of {', '.join(parameters)}: there is nothing to search")
        arms.append(Arm(**facts, space=space, defaults=defaults_of(method, its_recipe, space)))
    definition = StudyDefinition(
        **_facts(name, setting),
        purpose="tune",
        objective=objective,
        sampler=sampler,
        sampler_seed=sampler_seed,
        prune=prune,
        seeds=tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + seeds_per_trial)),
        arms=tuple(arms),
    )
    _require_groups(definition, setting.open_dataset(setting.dataset))
    return definition


def sweeping(name: str, sweep: Sweep, setting: Setting, *, seeds: Sequence[int]) -> StudyDefinition:
    """The definition of a sweep on a dataset."""
    arms = []
    for dataset_name in sweep.datasets(setting.dataset):
        for method_name in sweep.methods:
            held = as_overrides(sweep.fixed)
            method, recipe, facts = setting.arm(method_name, setting.dataset, held)
            if dataset_name != setting.dataset:
                equal = _equal_images(method, recipe, *map(setting.open_dataset, (setting.dataset, dataset_name)))
                method, recipe, facts = setting.arm(method_name, dataset_name, [*held, *as_overrides(equal)])
            space: SearchSpace = sweep.space()
            defaults = {key: _value(key, method, recipe) for key in space}
            arms.append(Arm(**facts, space=space, defaults=defaults, points=sweep.points(defaults)))
    return StudyDefinition(
        **_facts(name, setting), purpose="sweep", sweep=sweep.name, sampler="grid", seeds=tuple(seeds), arms=tuple(arms)
    )


def _facts(name: str, setting: Setting) -> dict[str, Any]:
    chosen = choose_weights(setting.backbone, default=get_dataset_entry(setting.dataset).backbone)
    return {
        "name": name,
        "dataset": setting.dataset,
        "recipe": setting.recipe_name,
        "backbone": chosen.backbone,
        "weights": asdict(setting.backbone),
        "weights_digest": chosen.digest,
        "numerics_version": NUMERICS_VERSION,
    }


def _equal_images(method: Method, recipe: Recipe, base: Dataset, variant: Dataset) -> dict[str, Any]:
    """Settings with which a variant's training takes as many images as the base's, as nearly as whole epochs allow."""
    if method.schedule != "plain":
        largest = [int(dataset.statistics.counts.max()) for dataset in (base, variant)]
        share = method.parameters["epoch_fraction"] * largest[0] / largest[1]
        return {"method.epoch_fraction": float(f"{share:.6g}")}
    ratio = len(base.split("train")) / len(variant.split("train"))
    epochs = max(1, round(recipe.plain.epochs * ratio))
    decays = ",".join(str(round(epoch * ratio)) for epoch in recipe.plain.decay_after)
    return {"recipe.plain.epochs": epochs, "recipe.plain.decay_after": f"{decays}," if decays else "()"}


def _value(key: str, method: Method, recipe: Recipe) -> Any:
    room, _, name = key.partition(".")
    return method.parameters[name] if room == "method" else getattr(recipe, name)


def _method_overrides(setting: Setting) -> Mapping[str, Any]:
    return parse_overrides(setting.overrides)["method"]


def _require_groups(definition: StudyDefinition, dataset: Dataset) -> None:
    there = ["total", *sorted(set(dataset.statistics.group_names))]
    for name in definition.values:
        if name not in there:
            raise InputError(
                f"--objective {definition.objective}: {dataset.name} has no {name} classes; it has: {', '.join(there)}"
            )
