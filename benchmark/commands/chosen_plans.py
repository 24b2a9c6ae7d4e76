"""The plans that a command line names: the same for `mltbench run` and `mltbench status --plan`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from ...datasets.registry import load_dataset
from ...errors import InputError
from ..experiments.plan import Plan, build_plan, choose_methods
from ..networks.initial_weights import AS_THE_DATASET, BackboneChoice
from ..tracking.store import Store
from ..tracking.winners import winners_plan
from .terminal import parse_seeds

DEFAULT_DATASET, DEFAULT_SEEDS = "digits-mlt", "1"


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options as they were given; None and empty are not given.

    Attributes:
        table: tables of the paper whose methods are meant.
        method: methods by name.
        dataset: datasets by name.
        from_study: study whose winners are meant.
        seeds: as `parse_seeds` reads them.
        recipe: name of a recipe.
        backbone: which backbone and weights.
        override: settings.
        word_vectors: file.
    """

    table: tuple[int, ...] = ()
    method: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()
    from_study: str | None = None
    seeds: str | None = None
    recipe: str | None = None
    backbone: BackboneChoice = AS_THE_DATASET
    override: tuple[str, ...] = ()
    word_vectors: Path | None = None

    def check(self) -> None:
        """Check what needs no data and no store.

        Raises:
            InputError: if a method, a table or the seeds are unknown, or an option says what the study says.
        """
        parse_seeds(self.seeds or DEFAULT_SEEDS)
        if self.from_study is None:
            choose_methods(self.table, self.method)
            return
        if self._said() - {"from_study", "seeds", "word_vectors"}:
            raise InputError(
                "--from-study says which methods, dataset, recipe, settings and weights are trained; leave --method, "
                "--table, --dataset, --recipe, --override, --backbone and --weights out"
            )

    def require_filters(self) -> None:
        """Check that nothing is said that tells experiments of one method and dataset apart.

        Raises:
            InputError: if it is.
        """
        if more := sorted(self._said() - {"table", "method", "dataset"}):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in more)
            raise InputError(f"{names} names a plan: add --plan, or show every run and leave it out")

    def _said(self) -> set[str]:
        plain = PlanOptions()
        return {field.name for field in fields(self) if getattr(self, field.name) != getattr(plain, field.name)}


def plans_of(
    options: PlanOptions, open_results: Callable[[], Store], *, data_root: Path, device_type: str
) -> list[Plan]:
    """The plans that options name, one per dataset, or that of a study's winners.

    Args:
        options: of the command line.
        open_results: opens the store where studies have left their winners; not called unless they are asked for, so
            that a wrong name or value leaves no trace.
        data_root: where datasets are kept.
        device_type: `cpu` or `cuda`, which decides the precision of `auto`.

    Raises:
        InputError: if an option is unknown.
    """
    seeds = parse_seeds(options.seeds or DEFAULT_SEEDS)
    if options.from_study is not None:
        vectors = options.word_vectors
        winners = winners_plan(
            open_results(),
            options.from_study,
            seeds=seeds,
            data_root=data_root,
            device_type=device_type,
            word_vectors=vectors,
        )
        return [winners]
    methods = choose_methods(options.table, options.method)
    title = " and ".join([*(f"Table {number}" for number in options.table), *options.method])
    return [
        build_plan(
            load_dataset(name, data_root=data_root),
            methods,
            seeds=seeds,
            recipe=options.recipe,
            backbone=options.backbone,
            overrides=options.override,
            device_type=device_type,
            word_vectors=options.word_vectors,
            name=f"{title} on {name}",
        )
        for name in options.dataset or (DEFAULT_DATASET,)
    ]
