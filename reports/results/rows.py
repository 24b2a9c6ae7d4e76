"""Which runs make one table: its protocol, what each row is called, and the seeds on which rows compete."""

import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...benchmark.training.metrics import SCORE_NAMES
from ...datasets.registry import get_dataset_entry
from ...errors import InputError, require_known
from ...methods.catalogue import list_methods
from ...terminal import short_id
from .quoted import quoted_datasets
from .runs import load_runs, of_one_dataset

# Fewer seeds than this make nobody the best.
LEAST_SEEDS = 3
# Settings of runs that say what network is trained, which all methods of a table share.
OF_THE_NETWORK = ("backbone", "weights", "weights-input", "weights-padding")
# What numbers may differ in besides settings, as labels name it.
VERSIONS = ("dataset_digest", "numerics_version", "precision")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What all rows of a table share."""

    recipe: str
    settings: tuple[str, ...] = ()  # that differ from the dataset's own, such as `backbone=mobilenet_v2`

    @property
    def text(self) -> str:
        """As captions print it.

        >>> Protocol(recipe="photos-short", settings=("backbone=mobilenet_v2",)).text
        'recipe photos-short, backbone=mobilenet_v2'
        """
        return ", ".join([f"recipe {self.recipe}", *self.settings])


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The runs of one dataset that a table is made from.

    `runs` has the columns of `load_runs`, where `overrides` are those that not all rows share, and two more: `row`, the
    label of its configuration, which no other configuration has, and `standard`, whether it is its method's row by the
    protocol.
    """

    dataset: str
    protocol: Protocol
    runs: pd.DataFrame
    left_out: tuple[str, ...] = ()  # sentences on finished runs of the dataset that `runs` lacks

    @property
    def standard(self) -> pd.DataFrame:
        """Finished runs of the methods' rows by the protocol, in the catalogue's order of methods."""
        kept = self.runs[self.runs.standard & (self.runs.state == "finished")]
        order = {name: i for i, name in enumerate(method_order(kept.method))}
        return kept.sort_values(["method", "seed"], key=lambda c: c.map(order) if c.name == "method" else c)

    @property
    def results(self) -> pd.DataFrame:
        """Total, head, medium and tail of every finished run, in percent, indexed by `row` and `seed`."""
        rest = self.runs[~self.runs.standard & (self.runs.state == "finished")]
        return pd.concat([self.standard, rest]).set_index(["row", "seed"])[list(SCORE_NAMES)]


def select_runs(
    runs: pd.DataFrame,
    dataset: str,
    *,
    recipe: str | None = None,
    methods: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Selection:
    """Select the runs of one dataset that can be compared, and name their rows.

    Args:
        runs: as `load_runs` returns them.
        dataset: name of the dataset.
        recipe: of the runs; None takes the dataset's own if it has runs, else the one that most runs have.
        methods: only these: names of methods, or labels of rows, which then are rows of their own right.
        without: all but these.

    Raises:
        InputError: if no run has such a method or label.
    """
    own = runs[runs.dataset == dataset]
    protocol = choose_protocol(own, dataset, recipe)
    within = own[own.recipe == protocol.recipe]
    named = _labelled(within, protocol)
    chosen = _chosen(named, methods, without)
    others = own[(own.recipe != protocol.recipe) & (own.state == "finished")].recipe.value_counts().sort_index()
    sentences = [
        f"{runs_are(number, f' of recipe {name}')} not in this table: --recipe {shlex.quote(str(name))}"
        for name, number in others.items()
    ]
    unchosen = int((named.state == "finished").sum() - (chosen.state == "finished").sum())
    if unchosen:
        sentences.append(f"{runs_are(unchosen)} not in this table, as --method or --without chose.")
    if unfinished := int((~chosen.state.isin(["finished", "failed"])).sum()):
        sentences.append(f"{runs_are(unfinished)} not finished, and not in this table: mltbench status")
    return Selection(dataset=dataset, protocol=protocol, runs=chosen, left_out=tuple(sentences))


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of all datasets and recipes, as `load_runs` returns them, with the columns of a `Selection`."""
    if runs.empty:
        return runs.assign(row="", standard=False)
    pairs = runs[["dataset", "recipe"]].drop_duplicates().itertuples(index=False, name=None)
    return pd.concat([select_runs(runs, str(dataset), recipe=str(recipe)).runs for dataset, recipe in pairs])


def load_results(
    out: Path | str | None = None,
    *,
    dataset: str | None = None,
    recipe: str | None = None,
    tracking_uri: str | None = None,
) -> pd.DataFrame:
    """Load the results of one dataset by the tables' protocol, so that nothing is pooled which differs in a setting.

    Columns are total, head, medium and tail (mAP on the test split, percent); the index is `row` (the label of one
    configuration, as tables print it) and `seed`. All methods are there, those of Table 2 and overridden ones too.

    Args:
        out: results root; None takes MLTBENCH_HOME or `mltbench-results`.
        dataset: which, where there are several.
        recipe: None takes the dataset's own if it has runs, else the one that most runs have.
        tracking_uri: of MLflow; None takes MLFLOW_TRACKING_URI or SQLite under `out`.

    Raises:
        InputError: if there are no results, or several datasets and none is named.

    Example:
        results = load_results("mltbench-results")
        results.groupby("row").mean()
    """
    runs = load_runs(out, tracking_uri=tracking_uri)
    own = of_one_dataset(runs[runs.state == "finished"], dataset)
    return select_runs(own, str(own.dataset.iloc[0]), recipe=recipe).results


def choose_protocol(runs: pd.DataFrame, dataset: str, recipe: str | None = None) -> Protocol:
    """The protocol of a table of these runs, all of one dataset.

    The recipe, and below it the network, are the dataset's own wherever these have finished runs, else those that most
    runs have; where no run is without overrides, those that all share belong to it too.
    """
    finished = runs[runs.state == "finished"]
    recipe = recipe or _recipe(finished, dataset)
    items = [_items(text) for text in finished[finished.recipe == recipe].overrides]
    networks = Counter(tuple(item for item in own if _is_of_the_network(item)) for own in items)
    if not networks:
        return Protocol(recipe=recipe)
    network = () if () in networks else networks.most_common(1)[0][0]
    rest = [own for own in items if tuple(item for item in own if _is_of_the_network(item)) == network]
    shared = [item for item in rest[0] if all(item in own for own in rest)]
    return Protocol(recipe=recipe, settings=tuple(shared))


def shared_seeds(seeds: Iterable[Collection[int]], *, least: int = LEAST_SEEDS) -> frozenset[int]:
    """The seeds on which rows compete: at least so many, that as many rows as possible have; none where there are none.

    >>> sorted(shared_seeds([{0, 1, 2}, {0, 1, 2, 3}, {7}]))
    [0, 1, 2]
    >>> sorted(shared_seeds([{0}, {0, 1}]))
    []
    """
    sets = [frozenset(own) for own in seeds]
    # What some rows share: intersections of any number of them.
    candidates: set[frozenset[int]] = set()
    for own in set(sets):
        candidates |= {shared for one in (own, *candidates) if len(shared := own & one) >= least}
    return max(
        candidates, key=lambda one: (sum(one <= own for own in sets), len(one), sorted(one, reverse=True)),
        default=frozenset(),
    )  # fmt: skip


def expected_seeds(seeds: Iterable[Collection[int]]) -> frozenset[int]:
    """The seeds that a row should have: those that most rows have, the larger of equally common ones.

    >>> sorted(expected_seeds([{0, 1, 2}, {0, 1, 2}, {0, 1}, {5}]))
    [0, 1, 2]
    """
    counts = Counter(frozenset(own) for own in seeds if own)
    return max(counts, key=lambda own: (counts[own], len(own), sorted(own, reverse=True)), default=frozenset())


def is_leading(runs: pd.DataFrame, column: str) -> pd.Series:
    """Whether each run's configuration has the most seeds of those that share a value of the column.

    Of equal ones it is the newest.
    """
    ends = (
        runs[runs.state == "finished"].groupby("configuration_id").agg(n=("seed", "nunique"), last=("started", "max"))
    )
    place = {name: i for i, name in enumerate(ends.sort_values(["n", "last"], kind="stable").index)}
    places = runs.configuration_id.map(lambda name: place.get(name, -1))
    return places == places.groupby(runs[column]).transform("max")


def own_label(label: str, configuration: str) -> str:
    """What a configuration is called whose label others have too.

    >>> own_label("DB", "28ddae3adf59d615")
    'DB [28ddae]'
    """
    return f"{label} [{configuration[:6]}]"


def method_order(names: Iterable[str]) -> list[str]:
    """Names of methods in the catalogue's order, those of plug-ins after them by name.

    >>> method_order(["mine", "rs", "erm"])
    ['erm', 'rs', 'mine']
    """
    wanted = set(names)
    known = [method.name for method in list_methods()]
    return [*(name for name in known if name in wanted), *sorted(wanted - set(known))]


def runs_are(number: int, which: str = "") -> str:
    """So many runs as the subject of a sentence.

    >>> runs_are(1), runs_are(3, " of recipe paper")
    ('1 run is', '3 runs of recipe paper are')
    """
    return f"{number} run{'s' if number != 1 else ''}{which} {'is' if number == 1 else 'are'}"


def _recipe(finished: pd.DataFrame, dataset: str) -> str:
    there = finished.recipe.value_counts()
    if dataset in quoted_datasets():
        own = "paper"
    else:
        try:
            own = get_dataset_entry(dataset).recipe
        except InputError:  # an imported dataset that is not on this machine
            own = ""
    return own if own in there.index or there.empty else str(there.index[0])


def _items(overrides: str) -> list[str]:
    return [item for item in overrides.split(", ") if item]


def _is_of_the_network(item: str) -> bool:
    return item.partition("=")[0] in OF_THE_NETWORK


def _labelled(runs: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """The runs with the columns of a `Selection`."""
    items = [_items(text) for text in runs.overrides]
    own = [[item for item in of_run if item not in protocol.settings] for of_run in items]
    lacking = [_lacking(protocol, of_run) for of_run in items]
    plain = [not (of_run or lacks) for of_run, lacks in zip(own, lacking, strict=True)]
    versions = (
        runs.assign(precision=[_precision(text) for text in runs.settings])[list(VERSIONS)].astype(object).fillna("")
    )
    usual = _usual(versions, runs, plain)
    differing = [
        [_version_text(str(name), value) for name, value in version.items() if value != usual[str(name)]]
        for version in versions.to_dict("records")
    ]
    labels = []
    for title, role, items_of, lacks, differs in zip(runs.title, runs.role, own, lacking, differing, strict=True):
        settings = ["tuned"] if role == "tuned" and items_of else items_of
        text = ", ".join([*settings, *lacks, *differs])
        labels.append(f"{title} ({text})" if text else str(title))
    standard = [is_plain and not differs for is_plain, differs in zip(plain, differing, strict=True)]
    return _unique(runs.assign(overrides=[", ".join(of_run) for of_run in own], row=labels, standard=standard))


def _lacking(protocol: Protocol, items: Sequence[str]) -> list[str]:
    """What a run lacks of its protocol's settings and does not set otherwise."""
    keys = {item.partition("=")[0] for item in items}
    return [f"without {setting}" for setting in protocol.settings if setting.partition("=")[0] not in keys]


def _precision(settings: object) -> str:
    # A frame that was made by hand may have no settings.
    return str(json.loads(settings).get("recipe.precision", "")) if isinstance(settings, str) else ""


def _usual(versions: pd.DataFrame, runs: pd.DataFrame, plain: Sequence[bool]) -> dict[str, str]:
    """What most finished runs by the protocol have of `VERSIONS`, the newest of equally many."""
    finished = runs.state == "finished"
    for chosen in (finished & pd.Series(plain, index=runs.index), finished, pd.Series(data=True, index=runs.index)):
        if chosen.any():
            groups = runs[chosen].started.groupby([versions[chosen][name] for name in VERSIONS]).agg(["size", "max"])
            return dict(zip(VERSIONS, groups.sort_values(["size", "max"]).index[-1], strict=True))
    return dict.fromkeys(VERSIONS, "")


def _version_text(name: str, value: str) -> str:
    """As labels have it: `bfloat16`, `numerics version 2`, `dataset 3fa1b2c4`."""
    if name == "dataset_digest":
        return f"dataset {short_id(value)}"
    return value if name == "precision" else f"numerics version {value}"


def _unique(frame: pd.DataFrame) -> pd.DataFrame:
    """Labels that several configurations share get the configuration's id; one of these stays its method's row."""
    several = frame.groupby("row").configuration_id.transform("nunique") > 1
    labels = [
        own_label(label, configuration) if shared else label
        for label, configuration, shared in zip(frame.row, frame.configuration_id, several, strict=True)
    ]
    standard = frame.standard & is_leading(frame, "row")
    # Where every run is overridden, each in its way, a method's row is what was run most.
    return frame.assign(row=labels, standard=standard if standard.any() else is_leading(frame, "method"))


def _chosen(frame: pd.DataFrame, methods: Sequence[str], without: Sequence[str]) -> pd.DataFrame:
    known = dict.fromkeys([*method_order(frame.method), *frame.row])
    for name in (*methods, *without):
        require_known("method or row", name, known)

    def named(names: Set[str]) -> pd.Series:
        return frame.method.isin(names) | frame.row.isin(names)

    kept = named(set(methods)) if methods else pd.Series(data=True, index=frame.index)
    if without:
        kept &= ~named(set(without))
    # A row that was asked for by its label is compared with the others.
    return frame.assign(standard=frame.standard | frame.row.isin(methods))[kept]
