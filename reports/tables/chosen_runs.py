"""Which runs of a dataset tables and figures take, and in words which they leave out."""

from __future__ import annotations

import shlex

import pandas as pd

from ...datasets.registry import get_dataset_entry
from ...errors import InputError
from ..results.quoted import quoted_datasets
from .summary import number_of


def usual_recipe(runs: pd.DataFrame, dataset: str) -> str:
    """The dataset's own recipe; of an imported one that is not at hand here, the one that most runs have."""
    if dataset in quoted_datasets():
        return "paper"
    try:
        return get_dataset_entry(dataset).recipe
    except InputError:
        return str(runs[runs.dataset == dataset].recipe.mode().iloc[0])


def left_out_of_table(runs: pd.DataFrame, recipe: str) -> tuple[str, ...]:
    """What a table of one recipe leaves out, in sentences; failed runs stand beside its seeds.

    Args:
        runs: of the table's dataset and methods, as `load_runs` returns them.
        recipe: of the table.
    """
    others = runs[(runs.recipe != recipe) & (runs.state == "finished")].recipe.value_counts().sort_index()
    unfinished = runs[(runs.recipe == recipe) & ~runs.state.isin(["finished", "failed"])]
    sentences = [
        f"{_runs_are(number, f'of recipe {name}')} not in this table: --recipe {shlex.quote(str(name))}"
        for name, number in others.items()
    ]
    if len(unfinished):
        sentences.append(f"{_runs_are(len(unfinished))} not finished, and not in this table: mltbench status")
    return tuple(sentences)


def left_out_of_figures(runs: pd.DataFrame, dataset: str, drawn: pd.DataFrame) -> tuple[str, ...]:
    """How many finished runs of a dataset the figures of results do not draw.

    Args:
        runs: as `load_runs` returns them.
        dataset: name of the dataset.
        drawn: those of them that are drawn.
    """
    number = int(((runs.dataset == dataset) & (runs.state == "finished")).sum()) - len(drawn)
    if not number:
        return ()
    return (
        f"{_runs_are(number)} not in the figures of results: these show one recipe, and of each method the "
        "configuration without overrides that has the most seeds.",
    )


def _runs_are(number: int, which: str = "") -> str:
    return " ".join([number_of(number, "run"), *([which] if which else []), "is" if number == 1 else "are"])
