"""Heads: how features become logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .parameters import Part
from .search_space import Choice, Interval, SearchSpace

if TYPE_CHECKING:
    from torch import nn

    from ..datasets.long_tail.statistics import ClassStatistics


class Head(Protocol):
    """What a head must be: a value that builds the module from features to logits."""

    kind: ClassVar[str]
    needs_word_vectors: ClassVar[bool]

    def build(
        self, in_features: int, statistics: ClassStatistics, word_vectors: NDArray[np.float32] | None
    ) -> nn.Module:
        """Build a module from features `(N, in_features)` to logits `(N, C)`; draws from torch's global generator."""


@dataclass(frozen=True, kw_only=True)
class Linear(Part):
    """One linear layer, weights from N(0, .01), zero bias, as published."""

    kind: ClassVar[str] = "linear"
    needs_word_vectors: ClassVar[bool] = False

    def build(
        self, in_features: int, statistics: ClassStatistics, word_vectors: NDArray[np.float32] | None
    ) -> nn.Module:
        """Build the layer."""
        from torch import nn

        layer = nn.Linear(in_features, statistics.num_classes)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        return layer


@dataclass(frozen=True, kw_only=True)
class LabelGraph(Part):
    """ML-GCN: classifiers made by two graph convolutions over word vectors of the class names (Chen et al. 2019).

    Attributes:
        graph_threshold: p(j|i) from which two classes are neighbours; .4 in ML-GCN.
        graph_weight: share of the neighbours against the class itself; .25 in ML-GCN's code (.2 in its paper).
        graph_width: channels between the two convolutions.
    """

    kind: ClassVar[str] = "label-graph"
    needs_word_vectors: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        "graph_threshold": (0, 1),
        "graph_weight": (0, 1),
        "graph_width": (1, 65536),
    }
    search_space: ClassVar[SearchSpace] = {
        "graph_threshold": Interval(low=0.05, high=0.95),
        "graph_weight": Interval(low=0.05, high=0.95),
        "graph_width": Choice(options=(256, 512, 1024)),
    }

    graph_threshold: float = 0.4
    graph_weight: float = 0.25
    graph_width: int = 1024

    def build(
        self, in_features: int, statistics: ClassStatistics, word_vectors: NDArray[np.float32] | None
    ) -> nn.Module:
        """Build the graph head on the label graph of the training set."""
        from .graph_head import GraphHead

        if word_vectors is None:
            raise ValueError("a label-graph head needs word vectors (C, D) of the class names")
        graph = label_graph(
            statistics.conditional, graph_threshold=self.graph_threshold, graph_weight=self.graph_weight
        )
        return GraphHead(word_vectors, graph, width=self.graph_width, out_features=in_features)


def label_graph(
    conditional: NDArray[np.float64], *, graph_threshold: float, graph_weight: float
) -> NDArray[np.float32]:
    """Normalised label graph `(C, C)`: D^-1/2 A D^-1/2, A = weight B / (row sum of B) + I, B = [p(j|i) >= threshold].

    Args:
        conditional: p(i|j) at `[i, j]`, from the training labels.
        graph_threshold: least p(j|i) of an edge from i to j.
        graph_weight: what the neighbours of a class weigh together.
    """
    edges = (graph_threshold <= conditional.T).astype(np.float64)
    np.fill_diagonal(edges, 0)
    neighbours = edges.sum(axis=1, keepdims=True)
    graph = graph_weight * edges / np.maximum(neighbours, 1) + np.eye(len(edges))
    root = 1 / np.sqrt(graph.sum(axis=1))
    return np.asarray(root[:, None] * graph * root[None, :], dtype=np.float32)
