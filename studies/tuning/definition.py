"""A study as a value: what is searched, by which measure, and what may not change while it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ...errors import InputError
from ...methods.search_space import SearchSpace, range_from_json

OBJECTIVES: dict[str, tuple[str, ...]] = {"total": ("total",), "tail": ("tail",), "both": ("total", "tail")}
SAMPLERS = ("tpe", "random", "grid")
Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One method on one dataset within a study; one study of Optuna.

    Attributes:
        method: its name.
        dataset: its name.
        dataset_digest: of that dataset.
        fixed: settings that every trial has, such as `method.kappa=0`.
        space: what is searched, by key such as `method.mu`.
        defaults: value of every searched key at the method's defaults: trial 0.
        points: settings of a sweep, by key; empty for tuning.
        images: training images of one run at the defaults.
        epochs: of one run.
    """

    method: str
    dataset: str
    dataset_digest: str
    fixed: tuple[str, ...]
    space: SearchSpace
    defaults: Settings
    points: tuple[Settings, ...] = ()
    images: int
    epochs: int

    @property
    def name(self) -> str:
        """As people call it within its study."""
        return f"{self.method}@{self.dataset}"

    def as_json(self) -> dict[str, Any]:
        """Return the arm as plain JSON."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        space = {key: searched.as_json() for key, searched in self.space.items()}
        points = [dict(point) for point in self.points]
        return data | {"fixed": list(self.fixed), "space": space, "defaults": dict(self.defaults), "points": points}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Arm:
        """Rebuild an arm from its JSON."""
        space = {key: range_from_json(searched) for key, searched in data["space"].items()}
        changed = {"space": space, "fixed": tuple(data["fixed"]), "points": tuple(data["points"])}
        return cls(**{**data, **changed})


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """What makes a study this study; the same name with another definition is an error.

    Attributes:
        name: of the study.
        purpose: `tune` searches settings, `sweep` shows what one setting does.
        sweep: name of the sweep, or nothing.
        dataset: that the study is about; arms of a sweep may have variants of it.
        recipe: name of the training recipe.
        backbone: name of the backbone.
        weights: what was asked for of backbone and initial weights: the fields of `BackboneChoice`.
        weights_digest: of the initial weights.
        numerics_version: of the code.
        objective: `total`, `tail` or `both`.
        sampler: `tpe`, `random` or `grid`.
        sampler_seed: where the sampler's random numbers begin.
        prune: whether hopeless trials are stopped early.
        seeds: of each trial's trainings; of a sweep they are counted as trials of their own and may grow.
        arms: methods and datasets.
    """

    name: str
    purpose: Literal["tune", "sweep"]
    sweep: str = ""
    dataset: str
    recipe: str
    backbone: str
    weights: Mapping[str, str | None]
    weights_digest: str
    numerics_version: int
    objective: str = "total"
    sampler: str = "tpe"
    sampler_seed: int = 0
    prune: bool = True
    seeds: tuple[int, ...] = ()
    arms: tuple[Arm, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """Names of what is maximised, on the validation split."""
        return OBJECTIVES[self.objective]

    @property
    def prunes(self) -> bool:
        """Whether trials may be stopped early: Optuna prunes no study of two objectives."""
        return self.prune and self.purpose == "tune" and len(self.values) == 1

    def as_json(self) -> dict[str, Any]:
        """Return the definition as plain JSON."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {"weights": dict(self.weights), "seeds": list(self.seeds), "arms": [arm.as_json() for arm in self.arms]}
        return data | plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StudyDefinition:
        """Rebuild a definition from its JSON."""
        arms = tuple(Arm.from_json(arm) for arm in data["arms"])
        return cls(**{**data, "seeds": tuple(data["seeds"]), "arms": arms})


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much each method may use; equal for all, and free to grow.

    Attributes:
        trials: trainings of full length times seeds that it stands for.
        images: training images of each method; the trial that reaches it is the last one.
    """

    trials: int
    images: int

    def as_json(self) -> dict[str, int]:
        """Return the budget as plain JSON."""
        return asdict(self)


def equal_budget(arms: Sequence[Arm], trials: int, seeds: int) -> Budget:
    """The same number of training images for every method: `trials` full trials of the method that takes most."""
    return Budget(trials=trials, images=trials * seeds * max(arm.images for arm in arms))


def require_same(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a study goes on as it began.

    Raises:
        InputError: naming the first differences.
    """
    found = list(_differences("", before, now))
    if found:
        shown = "; ".join(found[:3]) + ("; ..." if len(found) > 3 else "")
        raise InputError(
            f"study {name!r} exists with another definition: {shown}. Go on with the definition that it began with, or "
            "give another name with --name"
        )


def _differences(prefix: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = sorted({*before, *now})
        return [line for k in keys for line in _differences(f"{prefix}.{k}".strip("."), before.get(k), now.get(k))]
    if _is_arms(before) and _is_arms(now):
        by_name = [{f"{arm['method']}@{arm['dataset']}": arm for arm in side} for side in (before, now)]
        if set(by_name[0]) == set(by_name[1]):
            return _differences(prefix, *by_name)
        before, now = (", ".join(side) for side in by_name)
    return [] if before == now else [f"{prefix} was {_short(before)}, now is {_short(now)}"]


def _is_arms(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and isinstance(value[0], Mapping) and "method" in value[0]


def _short(value: Any) -> str:
    text = str(value) if not isinstance(value, Mapping | list) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
