"""The catalogue: every row of Tables 1 to 3 as a composition of parts, with the paper's values per dataset."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from ..datasets.long_tail.statistics import ClassStatistics
from ..errors import InputError, require_known
from .adjustments import LabelMargin, LargestMargin, NegativeTolerant, PriorLogOdds, SymmetricTolerant
from .heads import LabelGraph
from .loss import AlphaFocal, Focal
from .losses.asymmetric import AsymmetricLoss
from .losses.asymmetric_polynomial import AsymmetricPolynomialLoss
from .losses.balanced_asymmetric import BalancedAsymmetric
from .losses.equalization import EqualizationV2
from .losses.hill import HillLoss
from .losses.map_surrogate import MapSurrogate
from .losses.multi_focal_modifier import MultiFocalModifier
from .losses.multi_grained import MultiGrained
from .losses.robust_asymmetric import RobustAsymmetricLoss
from .losses.self_paced_correction import SelfPacedCorrection
from .losses.two_way import TwoWay
from .losses.zlpr import Zlpr
from .method import METHODS, Method
from .samplers import ClassAware, PositivesAndNegatives
from .weights import DeferredEffectiveNumber, EffectiveNumber, InverseSquareRoot, Prevalence, Rebalanced

logger = logging.getLogger("mltbench")

# Class-aware re-sampling comes with the 8-epoch schedule.
RESAMPLED: dict[str, Any] = {"sampler": ClassAware(), "schedule": "re-sampled"}

# fmt: off
PAPER: tuple[Method, ...] = (
    Method(name="erm", title="ERM", reference="Sec. 4.2 (1)",
           summary="binary cross-entropy, every image equally often"),
    Method(name="rw", title="RW", reference="Sec. 4.2 (2)", weights=InverseSquareRoot(),
           summary="weights by the inverse square root of class frequency"),
    Method(name="focal", title="Focal", reference="Lin et al. 2017", focal=Focal(),
           summary="focal loss"),
    Method(name="rs", title="RS", reference="Shen et al. 2016", **RESAMPLED,
           summary="class-aware re-sampling"),
    Method(name="rs-focal", title="RS-Focal", reference="Sec. 4.3", focal=Focal(), **RESAMPLED,
           summary="re-sampling with focal loss"),
    Method(name="ml-gcn", title="ML-GCN", reference="Chen et al. 2019", head=LabelGraph(),
           summary="classifiers from graph convolutions over the labels"),
    Method(name="ldam", title="LDAM", reference="Cao et al. 2019", adjustment=LabelMargin(),
           summary="larger margins for rarer classes"),
    Method(name="cb-focal", title="CB-Focal", reference="Cui et al. 2019", weights=EffectiveNumber(), focal=Focal(),
           summary="weights by effective numbers, with focal loss"),
    Method(name="r-bce", title="R-BCE", reference="Eq. 5", weights=Rebalanced(), **RESAMPLED,
           summary="re-balanced weights after re-sampling"),
    Method(name="r-bce-focal", title="R-BCE-Focal", reference="Eq. 5", weights=Rebalanced(), focal=Focal(), **RESAMPLED,
           summary="re-balanced weights with focal loss"),
    Method(name="db", title="DB", reference="Eq. 10", weights=Rebalanced(), adjustment=NegativeTolerant(), **RESAMPLED,
           summary="distribution-balanced loss: re-balanced weights and negative-tolerant regularization"),
    Method(name="db-focal", title="DB-Focal", reference="Eq. 10", weights=Rebalanced(), adjustment=NegativeTolerant(),
           focal=Focal(), **RESAMPLED,
           summary="distribution-balanced loss with focal loss"),
    Method(name="rs+rw-focal", title="RS+RW-Focal", reference="Sec. 4.4", weights=InverseSquareRoot(), focal=Focal(),
           **RESAMPLED, summary="re-sampling, inverse-square-root weights, focal loss"),
    Method(name="rs+cb-focal", title="RS+CB-Focal", reference="Sec. 4.4", weights=EffectiveNumber(), focal=Focal(),
           **RESAMPLED, summary="re-sampling, effective-number weights, focal loss"),
    Method(name="nt-bce", title="NT-BCE", reference="Eq. 7", adjustment=NegativeTolerant(), **RESAMPLED,
           summary="negative-tolerant regularization alone, after re-sampling"),
    Method(name="db-symmetric", title="DB-Symmetric", reference="Sec. 4.5", weights=Rebalanced(),
           adjustment=SymmetricTolerant(), **RESAMPLED,
           summary="distribution-balanced loss with the regularization on positive logits too, the paper's ablation"),
)

# Losses published since 2020, every image equally often, as their authors trained them.
SINCE_2020: tuple[Method, ...] = (
    Method(name="focal-alpha", title="Focal-alpha", reference="Lin et al. 2017", focal=AlphaFocal(),
           summary="focal loss with another share for positives than for negatives"),
    Method(name="cb-focal-sum", title="CB-Focal-sum", reference="Ju et al. 2023", focal=Focal(focal_scale=1),
           weights=EffectiveNumber(cb_beta=.9999, cb_mode="sum_w"),
           summary="effective numbers, an image weighed by the sum over its labels"),
    Method(name="cb-focal-positives", title="CB-Focal-positives", reference="CXR-LT 2026 entry",
           weights=EffectiveNumber(cb_beta=.9999, cb_mode="positives"), focal=Focal(focal_scale=1),
           summary="effective numbers on positives alone"),
    Method(name="cb-focal-class", title="CB-Focal-class", reference="Huang et al. 2021",
           weights=EffectiveNumber(cb_mode="by_class"), focal=AlphaFocal(focal_alpha=.5, focal_scale=10),
           summary="effective numbers by class, as in multi-label text classification"),
    Method(name="ldam-drw", title="LDAM-DRW", reference="Cao et al. 2019", adjustment=LargestMargin(),
           weights=DeferredEffectiveNumber(), summary="larger margins for rarer classes, weights late in training"),
    Method(name="eql-v2", title="EQL v2", reference="Tan et al. 2021", loss=EqualizationV2(),
           summary="positives and negatives balanced by the gradients of each class so far"),
    Method(name="logit-adjusted", title="Logit-adjusted", reference="Menon et al. 2021", adjustment=PriorLogOdds(),
           summary="log odds of the training set added to logits in training"),
    Method(name="asl", title="ASL", reference="Ridnik et al. 2021", loss=AsymmetricLoss(),
           summary="asymmetric focusing, and very easy negatives left out"),
    Method(name="hill", title="Hill", reference="Zhang et al. 2021", loss=HillLoss(),
           summary="negatives whose gradient vanishes at both ends, for missing labels"),
    Method(name="splc", title="SPLC", reference="Zhang et al. 2021", loss=SelfPacedCorrection(),
           summary="negatives that the network is sure of become positives"),
    Method(name="zlpr", title="ZLPR", reference="Su et al. 2022", loss=Zlpr(),
           summary="an image's positives ranked above 0 and its negatives"),
    Method(name="apl", title="APL", reference="Huang et al. 2023", loss=AsymmetricPolynomialLoss(),
           summary="ASL with other coefficients in the series of its logarithms"),
    Method(name="ral", title="RAL", reference="Park et al. 2023", loss=RobustAsymmetricLoss(),
           summary="APL with Hill's factors on negatives"),
    Method(name="two-way", title="Two-way", reference="Kobayashi 2023", loss=TwoWay(),
           summary="positives ranked above negatives by image and by class"),
    Method(name="weighted-bce", title="Weighted-BCE", reference="Kim 2023", weights=Prevalence(),
           summary="cross-entropy with weights up to e for rare positives and frequent negatives"),
    Method(name="weighted-asl", title="Weighted-ASL", reference="Kim 2023", weights=Prevalence(),
           loss=AsymmetricLoss(gamma_positive=1, focus_gradient="through"),
           summary="ASL with weights up to e for rare positives and frequent negatives"),
    Method(name="multi-grained", title="Multi-Grained", reference="Zhang et al. 2023", loss=MultiGrained(),
           summary="ASL with more weight and focus for rarer classes"),
    Method(name="mfm", title="MFM", reference="Zhang et al. 2023", loss=MultiFocalModifier(),
           summary="multi-grained focal loss that knows which classes occur together"),
    Method(name="bal", title="BAL", reference="Timmermann et al. 2025", loss=BalancedAsymmetric(),
           summary="ASL of logits by their largest, for similarities of CLIP"),
)

# Those of them that do not make up for class frequency already, after class-aware re-sampling.
AFTER_RESAMPLING = ("focal-alpha", "asl", "hill", "splc", "zlpr", "apl", "ral", "two-way", "multi-grained", "mfm",
                    "bal")
RESAMPLED_SINCE_2020: tuple[Method, ...] = (
    *(replace(method, name=f"rs-{method.name}", title=f"RS-{method.title}", summary=f"{method.summary}; re-sampled",
              **RESAMPLED) for method in SINCE_2020 if method.name in AFTER_RESAMPLING),
    Method(name="db-focal-alpha", title="DB-Focal-alpha", reference="Huang et al. 2021", weights=Rebalanced(),
           adjustment=NegativeTolerant(nu="paper"), focal=AlphaFocal(focal_alpha=.5), **RESAMPLED,
           summary="DB-Focal as in multi-label text classification: the paper's bias, a quarter of the loss"),
    Method(name="map-surrogate", title="mAP-surrogate", reference="Qi et al. 2021", loss=MapSurrogate(),
           sampler=PositivesAndNegatives(), summary="the gradient of average precision by moving averages"),
)
CATALOGUE: tuple[Method, ...] = (*PAPER, *SINCE_2020, *RESAMPLED_SINCE_2020)

# Rows of a table by sampler: methods since 2020 beside three anchors.
BLOCKS: dict[int, dict[str, tuple[str, ...]]] = {
    3: {
        "every image equally often": ("erm", *(method.name for method in SINCE_2020)),
        "re-sampled": ("rs", "db-focal", *(method.name for method in RESAMPLED_SINCE_2020)),
    },
}

# Rows of the paper's tables, in its order, and of a third one, since 2020.
TABLES: dict[int, tuple[str, ...]] = {
    1: ("erm", "rw", "focal", "rs", "rs-focal", "ml-gcn", "ldam", "cb-focal", "r-bce", "r-bce-focal", "db", "db-focal"),
    2: ("rs", "rs-focal", "rs+rw-focal", "rs+cb-focal", "r-bce-focal"),
    3: (*BLOCKS[3]["every image equally often"], *BLOCKS[3]["re-sampled"]),
}
# fmt: on

# Hyper-parameters in which the paper's datasets differ (Sec. 4.3). The parts' own defaults are VOC-MLT's.
PAPER_VALUES: dict[str, dict[str, float]] = {
    "voc-mlt": {"mu": 0.3, "negative_scale": 5.0},
    "coco-mlt": {"mu": 0.2, "negative_scale": 2.0},
}
DEFAULT_VALUES = "voc-mlt"
# Datasets whose methods were tuned, each with its study as `mltbench study show NAME --json` prints it.
TUNED = {file.stem: file for file in sorted(Path(__file__).with_name("values").glob("*.json"))}
VALUES = tuple(dict.fromkeys([*PAPER_VALUES, *TUNED]))


# Adds a method; raises `InputError` if the name is taken.
register_method = METHODS.add

for row in CATALOGUE:
    register_method(row)


def block_of(table: int, method: str) -> str:
    """The block of a table's rows that a method belongs to; empty where a table has none, or not this method."""
    return next((name for name, methods in BLOCKS.get(table, {}).items() if method in methods), "")


def list_methods() -> list[Method]:
    """All methods, the paper's first, then registered ones in order of registration."""
    return list(METHODS.load().values())


def whose_paper_values(dataset: str | None) -> str:
    """The dataset whose values the paper has for one: itself, or VOC-MLT for those that are not in the paper."""
    return dataset if dataset in PAPER_VALUES else DEFAULT_VALUES


def get_method(name: str, *, dataset: str | None = None) -> Method:
    """Return a method with its hyper-parameters for a dataset: the paper's, or those that were tuned on it.

    A dataset that the paper does not have, and that nothing was tuned on, gets VOC-MLT's.

    Raises:
        InputError: if there is no method of that name.

    >>> get_method("db-focal", dataset="coco-mlt").parameters["mu"]
    0.2
    """
    method = METHODS.get(name)
    values = PAPER_VALUES[whose_paper_values(dataset)]
    paper = method.with_parameters(**{key: value for key, value in values.items() if key in _paper_parameters(method)})
    if dataset not in TUNED or name not in (winners := tuned_settings(TUNED[dataset])):
        return paper
    recipe, settings = winners[name]
    own, training = (
        {key.removeprefix(owner): value for key, value in settings.items() if key.startswith(owner)}
        for owner in ("method.", "recipe.")
    )
    return replace(paper.with_parameters(**own), recipes={recipe: training})


@cache
def tuned_settings(study: Path) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The recipe of a tuning and the settings that it found best on the validation split, by method.

    `study` is a file of `mltbench study show NAME --json`; of equal trials the first is the best.
    """
    found = json.loads(study.read_text(encoding="utf-8"))
    recipe, objective = found["definition"]["recipe"], found["definition"]["objective"]
    winners = {}
    for arm, trials in found["trials"].items():
        complete = [trial for trial in trials if trial["outcome"] == "complete"]
        if complete:
            best = max(complete, key=lambda trial: float(trial["validation"][objective]))
            winners[arm.partition("@")[0]] = (recipe, best["settings"])
    return winners


def create_loss(name: str, statistics: ClassStatistics, *, dataset: str | None = None, **parameters: Any) -> nn.Module:
    """Build a method's loss for any training loop: `loss(logits (N, C), labels (N, C)) -> scalar mean`.

    Logits are raw, not probabilities. Labels are 0, 1, -1 where unknown, or soft, in 0..1; see `ComposedLoss`.

    Args:
        name: a method's name; see `list_methods`.
        statistics: of the training set.
        dataset: the dataset whose values are taken: `voc-mlt` or `coco-mlt` (the paper's), or `digits-mlt`.
        parameters: hyper-parameters to override.

    Raises:
        InputError: if a name is unknown, a value out of range, or the statistics are none.

    Example:
        >>> import mltbench
        >>> statistics = mltbench.ClassStatistics.from_labels([[1, 0], [1, 1], [1, 0], [0, 1]])
        >>> mltbench.create_loss("db-focal", statistics, dataset="voc-mlt", nu="paper").focal
        Focal(gamma=2.0, focal_scale=2.0)
    """
    given: object = statistics
    if not isinstance(given, ClassStatistics):
        made = "ClassStatistics.from_labels(labels) or .from_counts(counts, num_images) makes them"
        raise InputError(f"statistics must be ClassStatistics; got {type(given).__name__}. {made}")
    if dataset is not None:
        require_known("dataset with hyper-parameters of its own", dataset, VALUES)
    method = get_method(name, dataset=dataset)
    for key in parameters:
        require_known(f"hyper-parameter of the {name} loss", key, method.loss_parameters)
    assumed = [
        key for key in PAPER_VALUES[DEFAULT_VALUES] if key in _paper_parameters(method) and key not in parameters
    ]
    if dataset is None and assumed:
        chosen = ", ".join(f"{key}={method.parameters[key]:g}" for key in assumed)
        logger.warning(
            "%s: taking the paper's values for VOC-MLT, %s; pass dataset= or the values themselves", name, chosen
        )
    return method.with_parameters(**parameters).build_loss(statistics)


def _paper_parameters(method: Method) -> dict[str, Any]:
    """Hyper-parameters of the paper's own parts; the `mu` of your own loss is not the paper's."""
    return method.parameters if method.loss is None else {}
