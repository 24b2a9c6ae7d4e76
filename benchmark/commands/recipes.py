"""`mltbench recipes`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from ...datasets.commands.options import DataOptions
from ...datasets.registry import list_datasets
from ...errors import some_of
from ...terminal import Json, console, print_json, table_of
from ..experiments.overrides import by_dotted_name, settings_text
from ..experiments.recipe import RECIPES, get_recipe

# What recipes differ in most, as columns of the list.
COLUMNS = {"epochs": "plain.epochs", "re-sampled": "resampled.epochs", "batch": "batch_size",
           "rate": "learning_rate", "size": "image_size"}  # fmt: skip


def recipes(name: str | None = None, /, *, as_json: Json = False, data: DataOptions = DataOptions()) -> None:
    """List the training recipes, or show one with its settings, each as --override takes it.

    For example:

        mltbench recipes
        mltbench recipes digits
        mltbench run --method db --recipe digits --override recipe.learning_rate=.1

    Args:
        name: Show one recipe with all its settings.
    """
    chosen = [name] if name else list(RECIPES)
    settings = {each: _flat(each) for each in chosen}
    entries = list_datasets(data_root=data.root)
    users = {each: [entry.name for entry in entries if entry.recipe == each] for each in chosen}
    if as_json:
        print_json([{"name": each, "datasets": users[each], "settings": settings[each]} for each in users])
    else:
        console().print(_overview(settings, users) if name is None else _settings(name, users[name]))


def _overview(settings: Mapping[str, Mapping[str, Any]], users: Mapping[str, Sequence[str]]) -> Table:
    rows = (
        (name, *(str(own[key]) for key in COLUMNS.values()), ", ".join(users[name])) for name, own in settings.items()
    )
    columns = ("name", *COLUMNS, "recipe of")
    caption = (
        "epochs: of methods without re-sampling, and of those with it\n"
        "mltbench recipes NAME shows all settings; --recipe NAME of mltbench run uses it"
    )
    return table_of(columns, rows, numbers=columns[1:-1], prose=columns[-1:], optional=("batch",), caption=caption)


def _settings(name: str, users: Sequence[str]) -> Table:
    own, paper = (settings_text(recipe=_flat(each)) for each in (name, "paper"))
    pairs = [(setting.partition("="), standard.partition("=")[2]) for setting, standard in zip(own, paper, strict=True)]
    rows = [(key, value, standard if standard != value else "") for (key, _, value), standard in pairs]
    title = f"Recipe {name}, {f'that of {some_of(users)}' if users else 'which no dataset has by itself'}"
    caption = "change a setting with --override KEY=VALUE"
    return table_of(("setting", "value", "paper"), rows, title=escape(title), caption=caption)


def _flat(name: str) -> dict[str, Any]:
    return dict(by_dotted_name(asdict(get_recipe(name))))
