"""A tuning as a value: what is searched, by which measure, and what may not change once it has begun."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any

from optuna import Trial

from ...benchmark.executors.settings import RunSettings
from ...benchmark.experiments.experiment import NUMERICS_VERSION
from ...benchmark.experiments.overrides import by_dotted_name, parse_overrides, split_overrides
from ...benchmark.experiments.plan import PlannedExperiment, build_plan
from ...benchmark.experiments.recipe import get_recipe
from ...benchmark.networks.initial_weights import AS_THE_DATASET, BackboneChoice
from ...datasets.registry import get_dataset_entry, load_dataset
from ...errors import InputError, require_known
from ...methods.catalogue import get_method
from ...methods.search_space import Choice, Interval, SearchSpace, range_from_json

OBJECTIVES: dict[str, tuple[str, ...]] = {"total": ("total",), "tail": ("tail",), "both": ("total", "tail")}
SAMPLERS = ("tpe", "random", "grid")
# Apart from the seeds 0, 1, 2, ... of tables: winners are chosen on other seeds than they are judged on.
FIRST_TUNING_SEED = 1000
# Learning rates do not transfer between losses, and ERM has nothing else to tune: every method gets both. Down to a
# twentieth, because losses by image or class are sums over many cells: at the recipe's rate ZLPR ends near chance.
LOWEST_RATE, HIGHEST_RATE = 1 / 20, 5
WEIGHT_DECAY = Interval(low=1e-5, high=1e-2, scale="log")
# Suggestions are trained, shown and repeated with so many digits; the rest changes nothing.
DIGITS = 4
GRID_STEPS = 3

open_dataset = cache(load_dataset)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all trainings of a study share.

    Attributes:
        overrides: `method.KEY=VALUE` and `recipe.KEY=VALUE`, for the methods that have a use for them.
    """

    dataset: str
    settings: RunSettings
    recipe: str | None = None  # its name; None takes the dataset's
    overrides: tuple[str, ...] = ()
    backbone: BackboneChoice = AS_THE_DATASET
    values: str | None = None  # dataset whose hyper-parameters are the defaults; None takes the setting's own

    def experiments(
        self, methods: Sequence[str], *, overrides: Sequence[str], seeds: Sequence[int], dataset: str | None = None
    ) -> tuple[PlannedExperiment, ...]:
        """Experiments of methods with overrides of their own, on the setting's dataset or a variant of it.

        Raises:
            InputError: if that has no validation split, or a name or an override is unknown.
        """
        opened = open_dataset(dataset or self.dataset, data_root=self.settings.data_root)
        opened.require_validation("a study")
        return build_plan(
            opened,
            methods,
            seeds=seeds,
            recipe=self.recipe or get_dataset_entry(self.dataset).recipe,
            backbone=self.backbone,
            overrides=overrides,
            values=self.values,
            device_type=self.settings.execution.device.partition(":")[0],
            word_vectors=self.settings.word_vectors,
        ).experiments

    def fixed(self, method: str) -> list[str]:
        """Those of the overrides that a method has a use for."""
        known = get_method(method).parameters
        keys = [(override, *override.partition("=")[0].partition(".")) for override in split_overrides(self.overrides)]
        return [override for override, owner, _, name in keys if owner != "method" or name in known]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One method within a study, which is one study of Optuna."""

    method: str
    dataset: str
    dataset_digest: str
    fixed: tuple[str, ...]  # settings that every trial has, such as `method.kappa=0`
    space: SearchSpace  # what is searched, by key such as `method.mu`
    defaults: Mapping[str, Any]  # value of every searched key at the method's defaults, which are trial 0
    images: int  # training images of one run at the defaults
    epochs: int  # of one run

    @property
    def name(self) -> str:
        """Its name within the study, such as `db@digits-mlt`."""
        return f"{self.method}@{self.dataset}"


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """What makes a study this study; the same name with another definition is an error.

    Attributes:
        weights: what was asked for of backbone and initial weights: the fields of `BackboneChoice`.
    """

    name: str
    dataset: str
    recipe: str
    backbone: str
    weights: Mapping[str, str | None]
    weights_digest: str
    numerics_version: int
    objective: str = "total"  # a key of `OBJECTIVES`
    sampler: str = "tpe"  # one of `SAMPLERS`
    sampler_seed: int = 0
    prune: bool = True  # whether trials that fall behind are stopped early; see `prunes`
    defaults_of: str | None = None  # dataset whose hyper-parameters are the defaults; None takes its own
    seeds: tuple[int, ...]  # of each trial's trainings
    arms: tuple[Arm, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Names of what is maximised, on the validation split."""
        return OBJECTIVES[self.objective]

    @property
    def prunes(self) -> bool:
        """Whether trials may be stopped early; Optuna prunes no study of two objectives."""
        return self.prune and len(self.values) == 1

    def budget(self, trials: int) -> int:
        """Training images of each method, the same for all: so many full trials of the method that takes most."""
        return trials * len(self.seeds) * max(arm.images for arm in self.arms)

    def experiments(self, arm: Arm, values: Mapping[str, Any], settings: RunSettings) -> tuple[PlannedExperiment, ...]:
        """The experiments of a trial with these values of what is searched, one per seed."""
        backbone = BackboneChoice(**self.weights)
        shared: dict[str, Any] = {"recipe": self.recipe, "backbone": backbone, "values": self.defaults_of}
        setting = Setting(dataset=arm.dataset, settings=settings, **shared)
        return setting.experiments([arm.method], overrides=[*arm.fixed, *as_overrides(values)], seeds=self.seeds)

    def as_json(self) -> dict[str, Any]:
        """Return the definition as plain JSON."""
        spaces = [{key: searched.as_json() for key, searched in arm.space.items()} for arm in self.arms]
        arms = [vars(arm) | {"space": space} for arm, space in zip(self.arms, spaces, strict=True)]
        plain: dict[str, Any] = json.loads(json.dumps(vars(self) | {"arms": arms}))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudyDefinition:
        """Rebuild a definition from its JSON; what older versions wrote besides is left out."""
        arms = []
        for arm in data["arms"]:
            space = {key: range_from_json(searched) for key, searched in arm["space"].items()}
            arms.append(Arm(**_fields(Arm, arm) | {"space": space, "fixed": tuple(arm["fixed"])}))
        return cls(**_fields(cls, data) | {"seeds": tuple(data["seeds"]), "arms": tuple(arms)})


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
) -> StudyDefinition:
    """The definition of a tuning: every method over its own space.

    Raises:
        InputError: if a name is unknown, an override fits no method, or a method has nothing to search.
    """
    for kind, given, known in (("objective", objective, OBJECTIVES), ("sampler", sampler, SAMPLERS)):
        require_known(kind, given, known)
    planned = setting.experiments(methods, overrides=setting.overrides, seeds=[FIRST_TUNING_SEED])
    searchable = {key for experiment in planned for key in _whole_space(experiment)}
    for key in parameters:
        require_known("parameter to search", key, sorted(searchable))
    dataset = open_dataset(setting.dataset, data_root=setting.settings.data_root)
    groups = ["total", *sorted(set(dataset.statistics.group_names))]
    for value in OBJECTIVES[objective]:
        if value not in groups:
            raise InputError(
                f"--objective {objective}: {dataset.name} has no {value} classes; it has: {', '.join(groups)}"
            )
    return StudyDefinition(
        name=name,
        dataset=setting.dataset,
        recipe=planned[0].recipe,
        backbone=planned[0].weights.backbone,
        weights=asdict(setting.backbone),
        weights_digest=planned[0].weights.digest,
        numerics_version=NUMERICS_VERSION,
        objective=objective,
        sampler=sampler,
        prune=prune,
        defaults_of=setting.values,
        seeds=tuple(range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + seeds_per_trial)),
        arms=tuple(_arm(experiment, setting, parameters) for experiment in planned),
    )


def suggest(trial: Trial, space: SearchSpace) -> dict[str, Any]:
    """Values of a trial by key, numbers rounded to four digits."""
    found: dict[str, Any] = {}
    for key, searched in space.items():
        if isinstance(searched, Choice):
            found[key] = trial.suggest_categorical(key, searched.options)
        elif searched.whole:
            found[key] = trial.suggest_int(key, int(searched.low), int(searched.high), log=searched.scale == "log")
        else:
            found[key] = rounded(trial.suggest_float(key, searched.low, searched.high, log=searched.scale == "log"))
    return found


def rounded(value: float) -> float:
    """A suggestion as it is trained with.

    >>> rounded(0.123456)
    0.1235
    """
    return float(f"{value:.{DIGITS}g}")


def grid_points(space: SearchSpace, number: int, seed: int) -> list[dict[str, Any]]:
    """At most so many points of the grid over a space, in an order drawn once."""
    values = [searched.grid(GRID_STEPS) for searched in space.values()]
    size = math.prod(len(options) for options in values)
    points = []
    for index in random.Random(seed).sample(range(size), min(size, number)):
        point = {}
        for key, options in zip(space, values, strict=True):
            index, position = divmod(index, len(options))
            point[key] = options[position]
        points.append(point)
    return points


def values_of(keys: Iterable[str], planned: PlannedExperiment) -> dict[str, Any]:
    """Values of settings such as `method.mu` in an experiment."""
    rooms = {"method": planned.experiment.method.parameters, "recipe": planned.experiment.training}
    return {key: rooms[room][name] for key in keys for room, _, name in [key.partition(".")]}


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command line takes them."""
    return [f"{key}={value}" for key, value in settings.items()]


def as_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Values by key of settings as the command line takes them."""
    rooms = parse_overrides(overrides)
    return {f"{room}.{name}": value for room, values in rooms.items() for name, value in values.items()}


def require_same(before: StudyDefinition, now: StudyDefinition) -> None:
    """Check that a study continues as it began; of weights the digest counts, not the place.

    Raises:
        InputError: naming the first differences.
    """
    old, new = _flat(before), _flat(now)
    different = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if different:
        shown = "; ".join(f"{key} was {old.get(key)}, now is {new.get(key)}" for key in different[:3])
        raise InputError(
            f"study {now.name!r} exists with another definition: {shown}{'; ...' if len(different) > 3 else ''}. "
            "Continue with the definition that it began with, or give another name with --name"
        )


def _arm(planned: PlannedExperiment, setting: Setting, chosen: Sequence[str]) -> Arm:
    method, whole = planned.experiment.method.name, _whole_space(planned)
    space = {key: searched for key, searched in whole.items() if (key in chosen if chosen else searched.tuned)}
    if not space:
        raise InputError(f"{method} has none of {', '.join(chosen)}: there is nothing to search")
    defaults = values_of(space, planned)
    for key, searched in space.items():
        if defaults[key] not in searched:
            raise InputError(
                f"{method}: the default {key}={defaults[key]} lies outside of what is searched ({searched.text}); "
                "leave it out with --parameter, or correct the override"
            )
    return Arm(
        method=method,
        dataset=setting.dataset,
        dataset_digest=planned.experiment.dataset_digest,
        fixed=tuple(setting.fixed(method)),
        space=space,
        defaults=defaults,
        images=planned.images,
        epochs=planned.experiment.training["schedule"]["epochs"],
    )


def _whole_space(planned: PlannedExperiment) -> SearchSpace:
    """All that may be searched: the method's own, the learning rate around the recipe's, and weight decay."""
    asked = any(setting.startswith("recipe.learning_rate=") for setting in planned.settings)
    rate = planned.experiment.training["learning_rate"] if asked else get_recipe(planned.recipe).learning_rate
    low, high = rounded(rate * LOWEST_RATE), rounded(rate * HIGHEST_RATE)
    return {
        **{f"method.{key}": searched for key, searched in planned.experiment.method.search_space.items()},
        "recipe.learning_rate": Interval(low=low, high=high, scale="log", paper=0.02),
        "recipe.weight_decay": WEIGHT_DECAY,
    }


def _fields(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the fields that there are: what was added later has its default."""
    return {field.name: data[field.name] for field in fields(kind) if field.name in data}


def _flat(definition: StudyDefinition) -> dict[str, Any]:
    """Every single value of a definition by a name such as `arms.db@digits-mlt.defaults.method.mu`."""
    data = definition.as_json()
    del data["weights"]
    data["arms"] = {f"{arm['method']}@{arm['dataset']}": arm for arm in data["arms"]}
    return {"arms": ", ".join(data["arms"]), **dict(by_dotted_name(data))}
