"""Losses since 2020 against the numbers of their originals on real label rows: value, cells and gradient."""

import json

import numpy as np
import pytest
import torch
from mltbench import ClassStatistics, Context, InputError
from mltbench.methods.adjustments import LargestMargin, NegativeTolerant, PriorLogOdds, UndividedTolerant
from mltbench.methods.loss import AlphaFocal, Focal
from mltbench.methods.losses.asymmetric import AsymmetricLoss
from mltbench.methods.losses.asymmetric_polynomial import AsymmetricPolynomialLoss
from mltbench.methods.losses.balanced_asymmetric import BalancedAsymmetric
from mltbench.methods.losses.equalization import EqualizationV2
from mltbench.methods.losses.hill import HillLoss
from mltbench.methods.losses.map_surrogate import MapSurrogate
from mltbench.methods.losses.multi_focal_modifier import MultiFocalModifier
from mltbench.methods.losses.multi_grained import MultiGrained
from mltbench.methods.losses.robust_asymmetric import RobustAsymmetricLoss
from mltbench.methods.losses.self_paced_correction import SelfPacedCorrection
from mltbench.methods.losses.two_way import TwoWay
from mltbench.methods.losses.zlpr import Zlpr
from mltbench.methods.method import Method
from mltbench.methods.weights import DeferredEffectiveNumber, EffectiveNumber, Prevalence, Rebalanced

# Of a difference in double precision over the largest value: originals and formulas agree to 1e-11.
DOUBLE = 1e-9
# Of one in single precision, where the original's own rounding is less than this.
SINGLE = 1e-6
EPOCHS = 80


def gradient_of(given):
    return "through" if given["gradient_through_focusing_weight"] else "blocked"


def asymmetric(kind, given):
    names = {
        "gamma_neg": "gamma_negative",
        "gamma_pos": "gamma_positive",
        "clip": "clip",
        "epsilon_pos": "epsilon_positive",
        "epsilon_pos_pow": "epsilon_positive_square",
        "epsilon_neg": "epsilon_negative",
        "lamb": "hill_lambda",
    }
    return kind(focus_gradient=gradient_of(given), **{names[key]: given[key] for key in given if key in names})


def grained(kind, given, **more):
    values = {"gamma_negative": given["gamma_neg"], "gamma_positive": given["gamma_pos"], "clip": given["clip"]}
    return {"loss": kind(rarity_exponent=given["weight_exponent"], **values, **more)}


def of_text(given):
    """The family of the text losses: one function with switches in the original."""
    parts = {}
    if given["reweight"] == "rebalance":
        parts["weights"] = Rebalanced(alpha=given["map_alpha"], beta=given["map_beta"], mu=given["map_mu"])
    elif given["reweight"] == "CB-by-class":
        parts["weights"] = EffectiveNumber(cb_beta=given["cb_beta"], cb_mode="by_class")
    if "kappa" in given:
        kind = NegativeTolerant if given["reweight"] else UndividedTolerant
        parts["adjustment"] = kind(kappa=given["kappa"], negative_scale=given["neg_scale"], nu="paper")
    if given["focal"]:
        parts["focal"] = AlphaFocal(gamma=given["gamma"], focal_alpha=given["alpha"], focal_scale=given["loss_weight"])
    return parts


def effective(given, mode):
    weights = EffectiveNumber(cb_beta=given["cb_beta"], cb_mode=mode)
    return {"weights": weights, "focal": Focal(gamma=given["gamma"], focal_scale=1)}


def margins(given):
    return LargestMargin(largest_margin=given["max_margin"], ldam_scale=given["scale"])


def deferred(given):
    until = given["drw_epoch"] / EPOCHS
    return {
        "adjustment": margins(given),
        "weights": DeferredEffectiveNumber(cb_beta=given["cb_beta"], deferred_until=until),
    }


# Parts of a method from the parameters of its original.
PARTS = {
    "ASL": lambda given: {"loss": asymmetric(AsymmetricLoss, given)},
    "APL": lambda given: {"loss": asymmetric(AsymmetricPolynomialLoss, given)},
    "RAL": lambda given: {"loss": asymmetric(RobustAsymmetricLoss, given)},
    "Weighted-ASL": lambda given: {"loss": asymmetric(AsymmetricLoss, given), "weights": Prevalence()},
    "Weighted-BCE": lambda given: {"weights": Prevalence()},
    "Hill": lambda g: {"loss": HillLoss(hill_lambda=g["lamb"], margin=g["margin"], gamma=g["gamma"])},
    "SPLC": lambda g: {
        "loss": SelfPacedCorrection(
            threshold=g["tau"], margin=g["margin"], gamma=g["gamma"], correct_from=g["change_epoch"] / EPOCHS
        )
    },
    "MFM": lambda given: grained(MultiFocalModifier, given, beside_factor=given["gamma_class_ng"]),
    "Multi-Grained": lambda given: grained(MultiGrained, given),
    "BAL": lambda g: {
        "loss": BalancedAsymmetric(
            gamma_negative=g["gamma_neg"],
            gamma_positive=g["gamma_pos"],
            clip=g["clip"],
            smoothing=g["label_smoothing"],
            class_power=g["class_weights_power"],
        )
    },
    "LDAM": lambda given: {"adjustment": margins(given)},
    "LDAM-DRW": deferred,
    "Logit-adjusted": lambda given: {"adjustment": PriorLogOdds(tau=given["tau"])},
    "CB-Focal-sum": lambda given: effective(given, "sum_w"),
    "CB-Focal-positives": lambda given: effective(given, "positives"),
    "Focal-alpha": lambda g: {"focal": AlphaFocal(gamma=g["gamma"], focal_alpha=g["alpha"])},
    "Two-way": lambda g: {
        "loss": TwoWay(temperature_positive=g["temperature_pos"], temperature_negative=g["temperature_neg"])
    },
    "EQL-v2": lambda g: {"loss": EqualizationV2(eql_gamma=g["gamma"], eql_mu=g["mu"], eql_alpha=g["alpha"])},
    "mAP-surrogate": lambda g: {"loss": MapSurrogate(map_margin=g["margin"], map_decay=g["gamma"])},
    "ZLPR": lambda given: {"loss": Zlpr()},
    **dict.fromkeys(
        ("DB-Focal-alpha", "R-Focal-alpha", "NTR-Focal-alpha", "DB-0FL", "CB-Focal-by-class-alpha", "CB-NTR-alpha"),
        of_text,
    ),
}


# What a loss remembers here and in its original.
REMEMBERED = {
    "average_all": "state_all",
    "average_positive": "state_pos",
    "positive_gradients": "pos_grad",
    "negative_gradients": "neg_grad",
}


class Golden:
    """One case: the loss as built here, and what the original gave."""

    def __init__(self, arrays, case, dtype):
        self.given = case["params"]
        self.arrays = {
            key.removeprefix(case["case"] + "/"): value for key, value in arrays.items() if key.startswith(case["case"])
        }
        self.dtype, self.reduction = dtype, case["reduction"]
        counts, images = self.arrays["class_freq"], int(self.arrays["num_images"])
        # The parameters of one case on COCO name VOC's file.
        joint = arrays[f"{case['case'].partition('/')[0]}/co_occurrence"].astype(np.int64)
        # The surrogate's training set is the few images that its batches draw from.
        of_training = self.given.get("pool", images)
        self.statistics = ClassStatistics(
            counts=counts.astype(np.int64),
            num_images=of_training,
            known_images=np.full(len(counts), images),
            co_occurrence=joint,
        )
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            parts = PARTS[case["method"]](self.given)
            method = Method(name="golden", title="golden", summary="", reference="", **parts)
            self.loss = method.build_loss(self.statistics)
        finally:
            torch.set_default_dtype(default)

    def context(self, step):
        rows = self.arrays.get("index")
        indices = None if rows is None else torch.from_numpy(rows[step].astype(np.int64))
        return Context(epoch=self.given.get("epoch"), epochs=EPOCHS, indices=indices)

    def factor(self, labels):
        """By what the original's reduction is our mean."""
        cells, classes = labels.numel(), labels.shape[1]
        return {
            "sum": cells,
            "sum over cells / sum of labels": cells / max(int(labels.sum()), 1),
            "sum over cells / N": classes,
        }.get(self.reduction, self.given.get("loss_weight", 1) ** self.unfocused)

    @property
    def unfocused(self):
        """Whether the case's factor of the whole loss has no focal term to stand in."""
        return not self.given.get("focal", True)

    def batches(self):
        """Logits, labels and what the original gave of scalar and gradient, batch after batch."""
        names = ("logits", "labels", "scalar_float64", "grad_of_scalar_float64")
        logits, labels, scalars, gradients = (self.arrays[name] for name in names)
        if logits.ndim == 2:
            logits, labels, scalars, gradients = logits[None], labels[None], scalars[None], gradients[None]
        for step, (z, y) in enumerate(zip(logits, labels, strict=True)):
            given = torch.from_numpy(z).to(self.dtype).requires_grad_(), torch.from_numpy(y)
            yield step, *given, scalars[step], gradients[step]


def distance(ours, golden):
    """Largest difference over largest value."""
    ours = np.asarray(ours.detach() if isinstance(ours, torch.Tensor) else ours, dtype=np.float64)
    assert ours.shape == golden.shape
    return np.abs(ours - golden).max() / max(np.abs(golden).max(), 1e-300)


@pytest.fixture(scope="module")
def golden(shared_folder):
    with np.load(shared_folder / "golden" / "successors.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def cases(shared_folder):
    return {one["case"]: one for one in json.loads((shared_folder / "golden" / "successors.json").read_text())}


def test_every_kind_of_case_is_compared(cases):
    assert {case["method"] for case in cases.values()} == PARTS.keys()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", PARTS)
def test_values_and_gradients_are_those_of_the_original(golden, cases, method, dtype):
    own = [case for case in cases.values() if case["method"] == method]
    for case in own:
        one = Golden(golden, case, dtype)
        if "all logits negative" in "".join(case["edge"]):
            with pytest.raises(InputError, match="turn the order of scores around"):
                one.loss(*next(one.batches())[1:3])
            continue
        limits = {key: DOUBLE if dtype == torch.float64 else max(case["check"]["float32"][key], SINGLE)
                  for key in ("scalar", "elementwise", "gradient")}  # fmt: skip
        values, scalars = [], []
        for step, logits, labels, scalar, gradient in one.batches():
            context, factor = one.context(step), one.factor(labels)
            if hasattr(one.loss, "elementwise"):
                cells = one.loss.elementwise(logits, labels, context) * one.given.get("loss_weight", 1) ** one.unfocused
                assert distance(cells, one.arrays["elementwise_float64"]) <= limits["elementwise"], case["case"]
            value = one.loss(logits, labels, context)
            value.backward()
            values, scalars = [*values, value.item() * factor], [*scalars, scalar]
            assert distance(logits.grad * factor, gradient) <= limits["gradient"], case["case"]
        # Together, for that of the surrogate's first batch is 0 but for rounding.
        assert distance(values, np.array(scalars)) <= limits["scalar"], case["case"]
        for ours, theirs in REMEMBERED.items():
            if theirs in one.arrays:
                # The last of those after each batch; kept in single precision alone.
                kept, remembered = one.arrays[theirs], one.loss.get_buffer(f"loss_{ours}")
                assert distance(remembered, kept[-1] if kept.ndim > remembered.ndim else kept) <= SINGLE, case["case"]
    assert own
