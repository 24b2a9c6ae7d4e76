"""ML-GCN's head as a module."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


class GraphHead(nn.Module):
    """Logits = features x classifiers, classifiers = G leaky_relu(G V W1) W2 with label graph G and word vectors V.

    Args:
        word_vectors: `(C, D)`.
        graph: `(C, C)`, normalised.
        width: channels of the hidden layer.
        out_features: width of the image features.
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
