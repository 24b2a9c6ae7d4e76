"""Winners of studies, read from MLflow, and the plan that compares them with the defaults on fresh seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...datasets.registry import load_dataset
from ...errors import InputError, require_known
from ..experiments.plan import Plan, PlannedExperiment, build_plan
from ..networks.initial_weights import BackboneChoice
from .store import TAG, Store


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The settings of a method that a study found best."""

    method: str
    dataset: str
    recipe: str
    weights: Mapping[str, str | None]  # fields of the `BackboneChoice`
    fixed: Sequence[str]  # settings that the study held, which its defaults have too
    settings: Sequence[str]  # what was found, such as `method.mu=0.2`
    objective: str  # by which it is best on the validation split: `total` or `tail`
    trial: int
    value: float  # validation mAP of the trial, in 0..1
    seeds: Sequence[int]  # on which it was chosen; it must be compared on others
    default_configuration: str  # configuration id of the method's defaults, as `tuned_configuration` is the winner's
    tuned_configuration: str
    values: str | None = None  # dataset whose hyper-parameters are the defaults; None takes its own


def studies_with_winners(store: Store) -> dict[str, list[Winner]]:
    """Winners of every study that has some, by the study's name.

    Raises:
        InputError: if those of a study cannot be read.
    """
    tags = [run.data.tags for run in store.runs_of(kind="study")]
    return {its[f"{TAG}study"]: _winners_in(its) for its in tags if f"{TAG}winners" in its}


def winner_tags(winners: Sequence[Winner]) -> dict[str, str]:
    """What `studies_with_winners` reads: how many there are, and each in a tag of its own.

    MLflow cuts what a tag holds after 8,000 characters, which are those of some fifteen winners.
    """
    tags = {"winners": str(len(winners))}
    tags |= {f"winner.{number}": json.dumps(asdict(winner)) for number, winner in enumerate(winners)}
    return {f"{TAG}{name}": text for name, text in tags.items()}


def _winners_in(tags: Mapping[str, str]) -> list[Winner]:
    try:
        found = json.loads(tags[f"{TAG}winners"])
        if isinstance(found, int):
            found = [json.loads(tags[f"{TAG}winner.{number}"]) for number in range(found)]
        # Before, one tag had all of them, and MLflow cut it where they were many.
        return [Winner(**winner) for winner in found]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the winners of study {tags[f'{TAG}study']!r} in MLflow cannot be read ({error}); the command that tuned "
            "it, given once more, trains nothing and writes them anew"
        ) from error


def winners_plan(
    store: Store, name: str, *, seeds: Sequence[int], data_root: Path, device_type: str, word_vectors: Path | None
) -> Plan:
    """Every method of a study with its defaults and with its winning settings, on fresh seeds.

    Raises:
        InputError: if there is no such study, it has no winner, or a seed is one that they were chosen on.
    """
    studies = studies_with_winners(store)
    require_known("study with winners in MLflow", name, studies)
    if not (winners := studies[name]):
        raise InputError(f"study {name!r} has no winner: none of its trials is complete")
    used = sorted({seed for winner in winners for seed in winner.seeds} & set(seeds))
    if used:
        raise InputError(
            f"seed {used[0]} is one that study {name!r} chose its winners on; compare them on others, such as --seeds 5"
        )
    planned: dict[str, PlannedExperiment] = {}
    for winner in winners:
        dataset = load_dataset(winner.dataset, data_root=data_root)
        common: dict[str, Any] = {"seeds": seeds, "recipe": winner.recipe, "device_type": device_type}
        common |= {"backbone": BackboneChoice(**winner.weights), "word_vectors": word_vectors}
        for role, overrides in (("default", winner.fixed), ("tuned", (*winner.fixed, *winner.settings))):
            tags = {"from_study": name, "role": role}
            planned_ones = build_plan(dataset, [winner.method], overrides=overrides, values=winner.values, **common)
            for item in planned_ones.experiments:
                planned.setdefault(item.experiment.id, replace(item, tags=tags))
    return Plan(name=f"winners of {name}", dataset=winners[0].dataset, experiments=tuple(planned.values()))
