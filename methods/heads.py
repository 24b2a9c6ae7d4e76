"""Heads: how features become logits."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..datasets.long_tail.statistics import ClassStatistics
from .part import Part, hyper_parameter
from .search_space import Choice, Interval

WordVectors: TypeAlias = NDArray[np.float32] | None  # `(C, D)`, for heads that need them


class Head(Protocol):
    """What a head must be: a value that builds the module from features to logits."""

    kind: ClassVar[str]
    needs_word_vectors: ClassVar[bool]

    def build(self, in_features: int, statistics: ClassStatistics, word_vectors: WordVectors) -> nn.Module:
        """Build a module from features `(N, in_features)` to logits `(N, C)`; draws from torch's global generator."""


@dataclass(frozen=True, kw_only=True)
class Linear(Part, slot="head", kind="linear"):
    """One linear layer, weights from N(0, .01), zero bias, as published."""

    needs_word_vectors: ClassVar[bool] = False

    def build(self, in_features: int, statistics: ClassStatistics, word_vectors: WordVectors) -> nn.Module:
        """Build the layer."""
        layer = nn.Linear(in_features, statistics.num_classes)
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
        return layer


@dataclass(frozen=True, kw_only=True)
class LabelGraph(Part, slot="head", kind="label-graph"):
    """ML-GCN: classifiers made by two graph convolutions over word vectors of the class names (Chen et al. 2019).

    Attributes:
        graph_threshold: p(j|i) from which two classes are neighbours; .4 in ML-GCN.
        graph_weight: share of the neighbours against the class itself; .25 in ML-GCN's code (.2 in its paper).
        graph_width: channels between the two convolutions.
    """

    needs_word_vectors: ClassVar[bool] = True

    graph_threshold: float = hyper_parameter(0.4, allowed=(0, 1), search=Interval(low=0.05, high=0.95))
    graph_weight: float = hyper_parameter(0.25, allowed=(0, 1), search=Interval(low=0.05, high=0.95))
    graph_width: int = hyper_parameter(1024, allowed=(1, 65536), search=Choice(options=(256, 512, 1024)))

    def build(self, in_features: int, statistics: ClassStatistics, word_vectors: WordVectors) -> nn.Module:
        """Build the graph head on the label graph of the training set."""
        if word_vectors is None:
            raise ValueError("a label-graph head needs word vectors (C, D) of the class names")
        values = {"graph_threshold": self.graph_threshold, "graph_weight": self.graph_weight}
        graph = label_graph(statistics.conditional, **values)
        return GraphHead(word_vectors, graph, width=self.graph_width, out_features=in_features)


def label_graph(
    conditional: NDArray[np.float64], *, graph_threshold: float, graph_weight: float
) -> NDArray[np.float32]:
    """Normalised label graph `(C, C)`: D^-1/2 A D^-1/2, A = weight B / (row sum of B) + I, B = [p(j|i) >= threshold].

    `conditional` is p(i|j) at `[i, j]`, from the training labels; where it is unknown, NaN, there is no edge.
    """
    edges = (graph_threshold <= conditional.T).astype(np.float64)
    np.fill_diagonal(edges, 0)
    neighbours = edges.sum(axis=1, keepdims=True)
    graph = graph_weight * edges / np.maximum(neighbours, 1) + np.eye(len(edges))
    root = 1 / np.sqrt(graph.sum(axis=1))
    return np.asarray(root[:, None] * graph * root[None, :], dtype=np.float32)


class GraphHead(nn.Module):
    """Logits = features x classifiers, classifiers = G leaky_relu(G V W1) W2.

    G is the label graph `(C, C)`, V are the word vectors `(C, D)`; `width` channels lie between the two convolutions.
    """

    def __init__(
        self, word_vectors: NDArray[np.float32], graph: NDArray[np.float32], *, width: int, out_features: int
    ) -> None:
        super().__init__()
        self.register_buffer("propagated", torch.from_numpy(graph @ word_vectors))
        self.register_buffer("graph", torch.from_numpy(graph))
        self.first = nn.Parameter(_uniform(word_vectors.shape[1], width))
        self.second = nn.Parameter(_uniform(width, out_features))

    def classifiers(self) -> Tensor:
        """Classifier of each class `(C, out_features)`."""
        hidden = F.leaky_relu(self.get_buffer("propagated") @ self.first, 0.2)
        return self.get_buffer("graph") @ (hidden @ self.second)

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(N, C)` of features `(N, out_features)`."""
        return features @ self.classifiers().T


def _uniform(rows: int, columns: int) -> Tensor:
    """ML-GCN's initialisation: uniform within 1/sqrt(columns)."""
    bound = columns**-0.5
    return torch.empty(rows, columns).uniform_(-bound, bound)
