"""One method for each loss of the catalogue: methods that differ in sampler, head or schedule alone share theirs."""

from mltbench import list_methods
from mltbench.methods.loss import CellLoss
from mltbench.methods.method import LOSS_SLOTS

_BY_LOSS = {}
for _method in list_methods():
    _BY_LOSS.setdefault(tuple(getattr(_method, slot) for slot in LOSS_SLOTS), _method)
METHODS = list(_BY_LOSS.values())
# Of each loss, and of those that are a mean over cells.
LOSSES = [method.name for method in METHODS]
OF_CELLS = [method.name for method in METHODS if method.loss is None or isinstance(method.loss, CellLoss)]
