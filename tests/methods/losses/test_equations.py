"""Losses since 2020 against scalar loops in double precision, written from the papers' and originals' equations.

Batches and training sets have unknown labels, an image without labels, one with all, one of which nothing is known, and
a class without a positive. Gradients are compared with differences of the loops, in which what is blocked is held.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mltbench import ClassStatistics, Context
from mltbench.methods.adjustments import LabelMargin, LargestMargin, NegativeTolerant, PriorLogOdds, UndividedTolerant
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
from mltbench.methods.weights import DeferredEffectiveNumber, EffectiveNumber, Prevalence

IMAGES, CLASSES, TRAINING, EPOCHS = 8, 5, 60, 40
EPSILON = 1e-8


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def cross_entropy(z, y):
    return softplus(-z if y else z)


def floored(p):
    return math.log(max(p, EPSILON))


def cells_of(labels):
    """What is known, as (image, class)."""
    return [(i, c) for i, row in enumerate(labels) for c, y in enumerate(row) if y is not None]


def training_set(rows):
    """What a training set of 0, 1 and None says, counted one by one."""
    classes = range(len(rows[0]))
    counts = [sum(row[c] == 1 for row in rows) for c in classes]
    known = [sum(row[c] is not None for row in rows) for c in classes]
    joint = [[sum(row[i] == row[j] == 1 for row in rows) for j in classes] for i in classes]
    return SimpleNamespace(n=counts, known=known, joint=joint, images=len(rows))


# Losses of a cell: of logit z, whose focus is taken at the logit h, label y, class c, the labels of its image, the
# training set, and how far training has come.


def clipped(z, clip):
    """Probability of absence q after asymmetric clipping, and 1 - q."""
    return min(sigmoid(-z) + clip, 1.0), max(sigmoid(z) - clip, 0.0)


def focus_of(focus_gradient, z, h):
    return {"through": z, "blocked": h}[focus_gradient]


def asl(z, h, y, at, *, gamma_negative=4, gamma_positive=0, clip=0.05, focus_gradient="blocked"):
    focus = focus_of(focus_gradient, z, h)
    if y:
        return -floored(sigmoid(z)) * sigmoid(-focus) ** gamma_positive
    return -floored(clipped(z, clip)[0]) * clipped(focus, clip)[1] ** gamma_negative


def polynomial(z, y, clip, e1, e2, en):
    p, q = max(sigmoid(z), EPSILON), max(clipped(z, clip)[0], EPSILON)
    return -(math.log(p) + e1 * (1 - p) + e2 / 2 * (1 - p) ** 2) if y else -(math.log(q) + en * q)


def apl(
    z,
    h,
    y,
    at,
    *,
    gamma_negative=4,
    gamma_positive=0,
    clip=0.05,
    focus_gradient="blocked",
    epsilon_positive=1,
    epsilon_positive_square=-2.5,
    epsilon_negative=0,
):
    focus = focus_of(focus_gradient, z, h)
    weight = sigmoid(-focus) ** gamma_positive if y else clipped(focus, clip)[1] ** gamma_negative
    return weight * polynomial(z, y, clip, epsilon_positive, epsilon_positive_square, epsilon_negative)


def ral(z, h, y, at, *, hill_lambda=1.5, focus_gradient="through", clip=0.05, **more):
    cost = apl(z, h, y, at, clip=clip, focus_gradient=focus_gradient, **more)
    p, q = sigmoid(z), clipped(z, clip)[0]
    return cost if y else cost * (hill_lambda - p) * p**2 * (hill_lambda - q)


def hill(z, h, y, at, *, margin=1, gamma=2, hill_lambda=1.5):
    p = sigmoid(z)
    return sigmoid(margin - z) ** gamma * softplus(margin - z) if y else (hill_lambda - p) * p * p


def splc(z, h, y, at, *, threshold=0.6, margin=1, gamma=2, correct_from=1 / 80):
    z -= margin * y
    corrects = at.epoch >= correct_from * EPOCHS
    if y or (corrects and sigmoid(z) > threshold):
        return sigmoid(-z) ** gamma * softplus(-z)
    return sigmoid(z) ** gamma * softplus(z)


def rarity(at, exponent):
    return (1 - math.log(at.train.n[at.c] / max(at.train.n))) ** exponent


def multi_grained(z, h, y, at, *, gamma_negative=4, gamma_positive=0, clip=0.05, rarity_exponent=1 / 6):
    w = rarity(at, rarity_exponent)
    return w * asl(z, h, y, at, gamma_negative=gamma_negative + w, gamma_positive=gamma_positive, clip=clip)


def mfm(z, h, y, at, *, gamma_negative=3, gamma_positive=0, clip=0.05, rarity_exponent=1 / 3, beside_factor=1.2):
    w, joint, classes = rarity(at, rarity_exponent), at.train.joint, range(CLASSES)
    held = [i for i in classes if at.row[i] == 1]
    beside = [sum(joint[i][j] / sum(joint[k][j] for k in classes) for i in held) / max(len(held), 1) for j in classes]
    a = beside[at.c] / sum(beside) if held else 0.0
    if y:
        return -w * floored(sigmoid(z) * (1 - a)) * (1 - sigmoid(h) * (1 - a)) ** gamma_positive
    shifted, focus = (min((beside_factor if a > 0 else 1) * clipped(x, clip)[0], 1) for x in (z, h))
    return -w * floored(shifted) * (1 - focus) ** (gamma_negative + w)


# Weights of a cell.


def effective(n, beta):
    return (1 - beta) / (1 - beta**n)


def with_sum_of_classes(at, beta):
    weights = [effective(n, beta) for n in at.train.n]
    return [w * CLASSES / sum(weights) for w in weights]


def effective_number(y, at, *, cb_beta, cb_mode):
    weights = with_sum_of_classes(at, cb_beta)
    if cb_mode == "by_class":
        return effective(at.train.n[at.c], cb_beta)
    if cb_mode == "positives":
        return weights[at.c] if y else 1
    return sum(w for w, held in zip(weights, at.row, strict=True) if held == 1)


def deferred(y, at, *, cb_beta=0.9999, deferred_until=0.8):
    return with_sum_of_classes(at, cb_beta)[at.c] if y and at.epoch >= deferred_until * EPOCHS else 1


def prevalence(y, at):
    share = at.train.n[at.c] / at.train.known[at.c]
    return math.exp(1 - share if y else share)


# Adjusted logits, and the factor of the loss.


def prior_log_odds(z, y, at, *, tau=1):
    return z + tau * math.log(at.train.n[at.c] / (at.train.known[at.c] - at.train.n[at.c])), 1


def largest_margin(z, y, at, *, largest_margin=0.5, ldam_scale=30):
    # D_c = m n_c^(-1/4) / max n^(-1/4).
    margin = largest_margin * at.train.n[at.c] ** -0.25 / max(n**-0.25 for n in at.train.n)
    return ldam_scale * (z - y * margin), 1


def label_margin(z, y, at, *, ldam_margin, ldam_scale=1):
    return ldam_scale * (z - y * ldam_margin / at.train.n[at.c] ** 0.25), 1


def tolerant(z, y, at, *, negative_scale, kappa, nu):
    bias = kappa * math.log(at.train.known[at.c] / at.train.n[at.c] - 1)
    shifted = z - (bias / negative_scale if nu == "published" else bias)
    return (shifted, 1) if y else (negative_scale * shifted, 1 / negative_scale)


def undivided(z, y, at, **values):
    return tolerant(z, y, at, **values)[0], 1


def focal(cost, y, *, gamma=2, focal_scale=2):
    return focal_scale * (1 - math.exp(-cost)) ** gamma * cost


def alpha_focal(cost, y, *, focal_scale=1, focal_alpha=0.25, **more):
    return focal(cost, y, focal_scale=focal_scale, **more) * (focal_alpha if y else 1 - focal_alpha)


LOSSES = {
    AsymmetricLoss: asl,
    AsymmetricPolynomialLoss: apl,
    RobustAsymmetricLoss: ral,
    HillLoss: hill,
    SelfPacedCorrection: splc,
    MultiGrained: multi_grained,
    MultiFocalModifier: mfm,
}
WEIGHTS = {EffectiveNumber: effective_number, DeferredEffectiveNumber: deferred, Prevalence: prevalence}
ADJUSTMENTS = {
    PriorLogOdds: prior_log_odds,
    LargestMargin: largest_margin,
    LabelMargin: label_margin,
    NegativeTolerant: tolerant,
    UndividedTolerant: undivided,
}
FOCALS = {Focal: focal, AlphaFocal: alpha_focal}
SLOTS = {"loss": LOSSES, "weights": WEIGHTS, "adjustment": ADJUSTMENTS, "focal": FOCALS}


def composed(parts, logits, held, labels, train, epoch):
    """Loss of each known cell; what is blocked is taken at the logits `held`."""
    naive = {slot: (of_kind[kind], parts[kind]) for slot, of_kind in SLOTS.items() for kind in parts if kind in of_kind}
    cells = {}
    for i, c in cells_of(labels):
        z, h, y, outside = logits[i][c], held[i][c], labels[i][c], 1.0
        at = SimpleNamespace(c=c, row=labels[i], train=train, epoch=epoch)
        if "adjustment" in naive:
            adjust, values = naive["adjustment"]
            (h, _), (z, outside) = (adjust(x, y, at, **values) for x in (h, z))
        cost = cross_entropy(z, y)
        if "loss" in naive:
            of_cell, values = naive["loss"]
            cost = of_cell(z, h, y, at, **values)
        if "focal" in naive:
            modulate, values = naive["focal"]
            cost = modulate(cost, y, **values)
        if "weights" in naive:
            weigh, values = naive["weights"]
            cost *= weigh(y, at, **values)
        cells[i, c] = cost * outside
    return cells


# Losses of a batch: their value, and what they remember after it.


def zlpr(logits, held, labels, at):
    terms = []
    for z_of, y_of in zip(logits, labels, strict=True):
        sums = [sum(math.exp(-z if y else z) for z, y in zip(z_of, y_of, strict=True) if y == side) for side in (0, 1)]
        if any(y is not None for y in y_of):
            terms.append(sum(math.log1p(of_side) for of_side in sums))
    return sum(terms) / len(terms), None


def two_way(logits, held, labels, at, *, temperature_positive=4, temperature_negative=1):
    total = 0.0
    for z_lines, y_lines in ((logits, labels), (zip(*logits, strict=True), zip(*labels, strict=True))):
        terms = []
        for z_of, y_of in zip(z_lines, y_lines, strict=True):
            line = list(zip(z_of, y_of, strict=True))
            zeros = [z / temperature_negative for z, y in line if y == 0]
            ones = [-z / temperature_positive for z, y in line if y == 1]
            if ones:
                logs = [math.log(sum(map(math.exp, some))) if some else -math.inf for some in (zeros, ones)]
                inside = temperature_negative * logs[0] + temperature_positive * logs[1]
                terms.append(0.0 if inside == -math.inf else softplus(inside))
        total += sum(terms) / len(terms)
    return total, None


def bal(logits, held, labels, at, *, gamma_negative=12, gamma_positive=0, clip=0.05, smoothing=0.01, class_power=0.7):
    known = cells_of(labels)
    largest = max(logits[i][c] for i, c in known)
    weights = [(at.train.images / n) ** class_power for n in at.train.n]
    total = 0.0
    for i, c in known:
        u, y = logits[i][c] / largest, labels[i][c]
        p, q = sigmoid(u), clipped(u, clip)[0]
        t = (1 - smoothing) * y + smoothing / CLASSES
        base = max(1 - p * t - q * (1 - y), 0.0)
        logs = t * floored(p) * (1 + weights[c] / max(weights)) + (1 - y) * floored(q)
        total -= logs * base ** (gamma_positive * t + gamma_negative * (1 - y))
    return total / len(known), None


def eql(logits, held, labels, at, *, eql_gamma=12, eql_mu=0.8, eql_alpha=4):
    positive, negative = (list(sums) for sums in at.state or ([0.0] * CLASSES, [0.0] * CLASSES))
    total, known = 0.0, cells_of(labels)
    ratios = [p / (n + 1e-10) if p + n else 100 for p, n in zip(positive, negative, strict=True)]
    for i, c in known:
        z, y = logits[i][c], labels[i][c]
        r = sigmoid(eql_gamma * (ratios[c] - eql_mu))
        weight = 1 + eql_alpha * (1 - r) if y else r
        total += weight * cross_entropy(z, y)
        (positive if y else negative)[c] += weight * abs(sigmoid(z) - y)
    return total / len(known), (positive, negative)


def map_surrogate(logits, held, labels, at, *, map_margin=1, map_decay=0.9):
    def lag(z, i, j, c):
        return max(map_margin - (sigmoid(z[i][c]) - sigmoid(z[j][c])), 0) ** 2

    old = at.state or {}
    new, terms = dict(old), []
    for c in range(CLASSES):
        known = [i for i, row in enumerate(labels) if row[c] is not None]
        positives = [i for i in known if labels[i][c]]
        for i in positives:
            u, v = old.get((c, at.rows[i]), (0.0, 0.0))
            lags = [lag(held, i, j, c) for j in known]
            of_positives = [each for each, j in zip(lags, known, strict=True) if j in positives]
            means = [sum(some) / len(known) for some in (lags, of_positives)]
            new[c, at.rows[i]] = tuple(
                (1 - map_decay) * old_one + map_decay * now for old_one, now in zip((u, v), means, strict=True)
            )
        of_class = 0.0
        for i in positives:
            u, v = new[c, at.rows[i]]
            of_class += sum((v - u * (j in positives)) / u**2 * lag(logits, i, j, c) for j in known)
        terms += [of_class / len(positives) / len(known)] if positives else []
    return (sum(terms) / len(terms) if terms else 0.0), new


WHOLE = {Zlpr: zlpr, TwoWay: two_way, BalancedAsymmetric: bal, EqualizationV2: eql, MapSurrogate: map_surrogate}
MADE = {**SLOTS, "loss": {**LOSSES, **WHOLE}}


# Training sets and batches.


def training_labels(*, complete):
    """Class 3 never beside class 0, class 4 always alone, and of each class fewer than of the one before."""
    generator = np.random.default_rng(4)
    rows = (generator.random((TRAINING, CLASSES)) < [0.6, 0.4, 0.25, 0.2, 0.1]).astype(np.int8)
    rows[:CLASSES] = np.eye(CLASSES)
    rows[rows[:, 3] == 1, 0] = 0
    rows[rows[:, 4] == 1, :4] = 0
    if not complete:
        rows[CLASSES:][generator.random((TRAINING - CLASSES, CLASSES)) < 0.15] = -1
    return rows


def batch(seed, *, complete):
    generator = np.random.default_rng(seed)
    labels = (generator.random((IMAGES, CLASSES)) < 0.4).astype(np.int8)
    labels[0] = [1, 0, 1, 0, 0]
    labels[1], labels[2] = 0, np.arange(CLASSES) == 4
    logits = generator.normal(0, 3, labels.shape)
    logits[0] = [-30, 30, 29, -30, 20]
    if complete:
        labels[-1] = 1
    else:
        labels[3:][generator.random((IMAGES - 3, CLASSES)) < 0.25] = -1
        # Of two images one cell and none is known; class 3 has no positive.
        labels[-2:] = -1
        labels[-2, 2] = 0
        labels[labels[:, 3] == 1, 3] = 0
    return logits, labels


def as_lists(labels):
    return [[None if y == -1 else y for y in row] for row in labels.tolist()]


def build(parts, labels):
    """In double precision, constants included."""
    made = {slot: kind(**parts[kind]) for slot, of_kind in MADE.items() for kind in parts if kind in of_kind}
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        method = Method(name="one", title="", summary="", reference="", **made)
        return method.build_loss(ClassStatistics.from_labels(labels))
    finally:
        torch.set_default_dtype(default)


STEP = 1e-6
EXTREMES = {"gamma_negative": 0, "gamma_positive": 0, "clip": 0}
INVERTED = {"gamma_negative": 1, "gamma_positive": 3.5, "clip": 0.2}
PARTS = [
    *({kind: values} for kind in (AsymmetricLoss, AsymmetricPolynomialLoss, RobustAsymmetricLoss)
      for values in ({}, {"focus_gradient": "blocked", **INVERTED}, {"focus_gradient": "through", **INVERTED},
                     {"focus_gradient": "through", "clip": 0}, EXTREMES)),
    *({AsymmetricPolynomialLoss: values} for values in (
        {"epsilon_positive": 0.3, "epsilon_positive_square": 1.7, "epsilon_negative": -0.6, "gamma_positive": 1},
        {"epsilon_negative": 0.9, "focus_gradient": "through", "gamma_negative": 0, "clip": 0})),
    {RobustAsymmetricLoss: {"hill_lambda": 1.1, "epsilon_negative": 0.4, "epsilon_positive": 0}},
    *({HillLoss: values} for values in (
        {}, {"margin": 0}, {"margin": -2, "gamma": 0.5}, {"gamma": 0, "hill_lambda": 1}, {"hill_lambda": 3.5})),
    *({SelfPacedCorrection: values} for values in (
        {}, {"correct_from": 0}, {"correct_from": 0.5, "threshold": 0.2, "margin": 0}, {"correct_from": 1},
        {"threshold": 0.95, "margin": 2.5, "gamma": 0.5}, {"gamma": 0, "threshold": 1})),
    *({MultiGrained: values} for values in ({}, {"rarity_exponent": 0, **INVERTED}, {"rarity_exponent": 1, "clip": 0})),
    *({MultiFocalModifier: values} for values in (
        {}, {"gamma_positive": 1}, {"rarity_exponent": 1, **INVERTED}, {"beside_factor": 1, "clip": 0},
        {"beside_factor": 2.5, "rarity_exponent": 0})),
    {Prevalence: {}},
    {Prevalence: {}, AsymmetricLoss: {"gamma_positive": 1, "focus_gradient": "through"}},
    *({PriorLogOdds: {"tau": tau}} for tau in (0, 0.5, 1, -2)),
    {PriorLogOdds: {}, HillLoss: {}},
    *({LargestMargin: values} for values in ({}, {"ldam_scale": 1, "largest_margin": 3}, {"largest_margin": 0})),
    *({LabelMargin: {"ldam_margin": 1.5, "ldam_scale": scale}} for scale in (1, 0.5, 30)),
    *({DeferredEffectiveNumber: values} for values in (
        {}, {"deferred_until": 0, "cb_beta": 0.9}, {"deferred_until": 1})),
    {LargestMargin: {"ldam_scale": 5}, DeferredEffectiveNumber: {"deferred_until": 0.5}},
    *({AlphaFocal: values} for values in ({}, {"gamma": 0, "focal_alpha": 0.75}, {"gamma": 3.5, "focal_scale": 7})),
    *({EffectiveNumber: {"cb_beta": beta, "cb_mode": mode}, **focus}
      for beta, modes in ((0.5, ("by_class", "sum_w", "positives")), (0.9999, ("sum_w", "positives"))) for mode in modes
      for focus in ({}, {AlphaFocal: {"focal_alpha": 0.6}}, {Focal: {"focal_scale": 1}})),
    *({UndividedTolerant: {"negative_scale": 2, "kappa": kappa, "nu": nu}, AlphaFocal: {"focal_alpha": 0.5}}
      for kappa, nu in ((0.05, "paper"), (1, "published"))),
    {NegativeTolerant: {"negative_scale": 2, "kappa": 0.05, "nu": "paper"}, AlphaFocal: {"focal_alpha": 0.5}},
    {NegativeTolerant: {"negative_scale": 2, "kappa": 1, "nu": "paper"}, AsymmetricLoss: {}, Prevalence: {}},
]  # fmt: skip


def name_of(parts):
    return " x ".join(f"{kind.kind}({', '.join(map(str, values.values()))})" for kind, values in parts.items())


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "incomplete"])
@pytest.mark.parametrize("parts", PARTS, ids=name_of)
def test_a_loss_of_cells_and_its_gradient_are_those_of_a_plain_loop(parts, complete):
    of_training, (z, y) = training_labels(complete=complete), batch(1, complete=complete)
    loss, train, labels = build(parts, of_training), training_set(as_lists(of_training)), as_lists(y)
    timed = parts.keys() & {SelfPacedCorrection, DeferredEffectiveNumber}
    for epoch in (0, 1, 19, 20, 31, 32, 39) if timed else (0,):
        context = Context(epoch=epoch, epochs=EPOCHS) if timed else None
        cells = composed(parts, z.tolist(), z.tolist(), labels, train, epoch)
        expected, slopes = np.zeros_like(z), np.zeros_like(z)
        above, below = (composed(parts, (z + h).tolist(), z.tolist(), labels, train, epoch) for h in (STEP, -STEP))
        for cell, cost in cells.items():
            expected[cell], slopes[cell] = cost, (above[cell] - below[cell]) / (2 * STEP * len(cells))
        logits = torch.from_numpy(z).requires_grad_()
        mean = loss(logits, torch.from_numpy(y), context)
        mean.backward()
        found = loss.elementwise(logits, torch.from_numpy(y), context).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        assert mean.item() == pytest.approx(sum(cells.values()) / len(cells), rel=1e-12)
        np.testing.assert_allclose(logits.grad.numpy(), slopes, rtol=1e-6, atol=1e-7 * np.abs(slopes).max() + 1e-10)


WHOLE_CASES = [
    (Zlpr, {}),
    (TwoWay, {}),
    (TwoWay, {"temperature_positive": 0.7, "temperature_negative": 2.5}),
    (BalancedAsymmetric, {}),
    (BalancedAsymmetric, {"gamma_negative": 9.8, "smoothing": 0.1, "class_power": 1.35}),
    (BalancedAsymmetric, {"gamma_negative": 2, "gamma_positive": 1.5, "smoothing": 0, "clip": 0}),
    (EqualizationV2, {}),
    (EqualizationV2, {"eql_gamma": 5, "eql_mu": 0.3, "eql_alpha": 1.5}),
    (MapSurrogate, {}),
    (MapSurrogate, {"map_margin": 0.4, "map_decay": 0.3}),
    (MapSurrogate, {"map_margin": 1.6, "map_decay": 1}),
]
REMEMBERED = {
    EqualizationV2: ("positive_gradients", "negative_gradients"),
    MapSurrogate: ("average_all", "average_positive"),
}


def remembered(state):
    """What was remembered, as two arrays."""
    if isinstance(state, dict):
        arrays = np.zeros((2, CLASSES, TRAINING))
        for (c, row), values in state.items():
            arrays[:, c, row] = values
        return arrays
    return np.array(state)


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "incomplete"])
@pytest.mark.parametrize(("kind", "values"), WHOLE_CASES, ids=lambda each: getattr(each, "kind", ""))
def test_a_loss_of_batches_and_its_gradient_are_those_of_a_plain_loop(kind, values, complete):
    of_training = training_labels(complete=complete)
    loss, train, state = build({kind: values}, of_training), training_set(as_lists(of_training)), None
    generator = np.random.default_rng(2)
    for step in range(3):
        z, y = batch(step, complete=complete)
        if kind is BalancedAsymmetric and step:
            # Largest logits as small as this make others go far below the floor.
            z -= z.max() - 1.3 / step
        # Half of the images were in the batch before; in the last, one comes twice, as another picture.
        rows = (np.arange(IMAGES) + IMAGES // 2 * step)[generator.permutation(IMAGES)]
        if step == 2:
            rows[5], y[5] = rows[4], y[4]
        at = SimpleNamespace(train=train, rows=rows.tolist(), state=state)
        labels = as_lists(y)
        expected, state = WHOLE[kind](z.tolist(), z.tolist(), labels, at, **values)
        slopes = np.zeros_like(z)
        for cell in cells_of(labels):
            moved = [z.copy(), z.copy()]
            moved[0][cell] += STEP
            moved[1][cell] -= STEP
            above, below = (WHOLE[kind](each.tolist(), z.tolist(), labels, at, **values)[0] for each in moved)
            slopes[cell] = (above - below) / (2 * STEP)
        logits = torch.from_numpy(z).requires_grad_()
        value = loss(logits, torch.from_numpy(y), Context(indices=torch.from_numpy(rows)))
        value.backward()
        assert value.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
        np.testing.assert_allclose(logits.grad.numpy(), slopes, rtol=1e-6, atol=1e-7 * np.abs(slopes).max())
        for number, name in enumerate(REMEMBERED.get(kind, ())):
            kept = loss.get_buffer(f"loss_{name}").numpy()
            np.testing.assert_allclose(kept, remembered(state)[number], rtol=1e-10, atol=1e-15)


def test_eql_weighs_classes_that_had_positives_or_negatives_alone():
    loss = build({EqualizationV2: {}}, training_labels(complete=True))
    # Of so few images no gradients so far are as much as 1.
    loss(torch.tensor([[0.3, -0.2, 2.0, 0.1, -1.0]], dtype=torch.float64), torch.tensor([[1, 0, 1, 0, 0]]))
    logits = torch.zeros(1, CLASSES, dtype=torch.float64, requires_grad=True)
    loss(logits, torch.tensor([[1, 1, 0, 0, 0]])).backward()
    # Nothing has pulled at classes 0 and 2 but positives, hence r = 1; at the others nothing has pulled up.
    r = 1 / (1 + math.exp(12 * 0.8))
    weights = [-1, -(1 + 4 * (1 - r)), 1, r, r]
    np.testing.assert_allclose(logits.grad[0].numpy(), np.array(weights) / 2 / CLASSES, rtol=1e-12)


def test_splc_corrects_above_the_threshold_and_not_at_it():
    loss = build({SelfPacedCorrection: {"threshold": 0.5, "correct_from": 0}}, training_labels(complete=True))
    logits = torch.tensor([[0.0, 1e-9, -1e-9, -1, 1]], dtype=torch.float64, requires_grad=True)
    loss(logits, torch.zeros(1, CLASSES), Context(epoch=0, epochs=EPOCHS)).backward()
    # A corrected negative is pulled up.
    assert (logits.grad[0] < 0).tolist() == [False, True, False, False, True]
