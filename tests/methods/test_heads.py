import numpy as np
import pytest
import torch
from mltbench.datasets.long_tail.statistics import ClassStatistics
from mltbench.datasets.word_vectors import hashed_word_vectors
from mltbench.errors import InputError
from mltbench.methods.heads import LabelGraph, Linear, label_graph


@pytest.fixture(autouse=True)
def own_random_numbers():
    # Heads draw from torch's global generator, which is put back for the tests that follow.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def naive_graph(labels, threshold, weight):
    classes = range(labels.shape[1])
    graph = [[0.0] * len(classes) for _ in classes]
    for i in classes:
        on_i = [row for row in labels if row[i]]
        likely = [j for j in classes if j != i and sum(int(row[j]) for row in on_i) / len(on_i) >= threshold]
        for j in likely:
            graph[i][j] = weight / len(likely)
        graph[i][i] = 1.0
    degree = [sum(row) for row in graph]
    return [[graph[i][j] / (degree[i] * degree[j]) ** 0.5 for j in classes] for i in classes]


@pytest.mark.parametrize("threshold", [0, 0.3, 0.4, 1])
@pytest.mark.parametrize("weight", [0, 0.25, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_label_graph_matches_naive_loops(threshold, weight, seed):
    generator = np.random.default_rng(seed)
    labels = np.vstack([generator.random((25, 6)) < np.linspace(0.8, 0.1, 6), np.eye(6)]).astype(np.uint8)
    conditional = ClassStatistics.from_labels(labels).conditional
    graph = label_graph(conditional, graph_threshold=threshold, graph_weight=weight)
    assert graph.dtype == np.float32
    np.testing.assert_allclose(graph, naive_graph(labels, threshold, weight), rtol=1e-6, atol=1e-7)


def test_where_a_probability_is_unknown_there_is_no_edge():
    conditional = np.array([[1, np.nan, 0.4], [0.7, 1, 0.3], [0.4, np.nan, 1]])
    # Edges from 0 to 1, for p(1|0) = .7, to 2 from exactly the threshold on, and back.
    edges = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]])
    graph = np.array([[1, 0.1, 0.1], [0, 1, 0], [0.2, 0, 1]])
    expected = graph / np.sqrt(np.outer([1.2, 1, 1.2], [1.2, 1, 1.2]))
    found = label_graph(conditional, graph_threshold=0.4, graph_weight=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert ((found > 0) == (edges + np.eye(3) > 0)).all()


def test_a_graph_head_draws_its_first_convolution_first(small_statistics):
    torch.manual_seed(3)
    head = LabelGraph(graph_width=7).build(6, small_statistics, np.ones((4, 12), np.float32))
    torch.manual_seed(3)
    for parameter, shape in ((head.first, (12, 7)), (head.second, (7, 6))):
        assert torch.equal(parameter, torch.empty(shape).uniform_(-(shape[1] ** -0.5), shape[1] ** -0.5))
    assert (LabelGraph.needs_word_vectors, Linear.needs_word_vectors) == (True, False)


def test_linear_head_starts_small_and_unbiased():
    statistics = ClassStatistics.from_counts([5] * 80, 100)
    layer = Linear().build(256, statistics, None)
    assert layer(torch.zeros(3, 256)).shape == (3, 80)
    assert layer.bias.count_nonzero() == 0
    # The spread of 20,480 draws is known to .5 %, their mean to .00007.
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert abs(layer.weight.mean().item()) < 4e-4


def test_graph_head_matches_plain_numpy(small_statistics):
    vectors = hashed_word_vectors(["person", "dog", "sofa", "dining table"], dimensions=12).vectors
    part = LabelGraph(graph_threshold=0.3, graph_weight=0.4, graph_width=9)
    head = part.build(6, small_statistics, vectors)
    features = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    graph = label_graph(small_statistics.conditional, graph_threshold=0.3, graph_weight=0.4).astype(np.float64)
    first, second = (parameter.detach().numpy().astype(np.float64) for parameter in head.parameters())
    assert (first.shape, second.shape) == ((12, 9), (9, 6))
    hidden = graph @ (vectors @ first)
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    assert (hidden < 0).any()
    classifiers = graph @ (hidden @ second)
    np.testing.assert_allclose(head.classifiers().detach().numpy(), classifiers, rtol=1e-4, atol=1e-5)
    logits = head(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(logits, features @ classifiers.T, rtol=1e-4, atol=1e-4)


def test_graph_head_learns_its_two_convolutions_alone_and_its_state_is_whole(small_statistics):
    vectors = hashed_word_vectors(["a", "b", "c", "d"], dimensions=12).vectors
    part = LabelGraph(graph_width=7)
    head, other = part.build(6, small_statistics, vectors), part.build(6, small_statistics, vectors[::-1].copy())
    assert [tuple(parameter.shape) for parameter in head.parameters()] == [(12, 7), (7, 6)]
    head(torch.ones(2, 6)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    # Uniform within 1/sqrt(columns), as ML-GCN starts.
    for parameter in head.parameters():
        bound = parameter.shape[1] ** -0.5
        assert bound * 0.8 < parameter.abs().max().item() <= bound
    features = torch.randn(3, 6)
    assert not torch.equal(head(features), other(features))
    other.load_state_dict(head.state_dict())
    assert torch.equal(head(features), other(features))


def test_the_graph_needs_labels_and_word_vectors(small_statistics):
    with pytest.raises(ValueError, match="word vectors"):
        LabelGraph().build(6, small_statistics, None)
    with pytest.raises(InputError, match="co-occurrence is unknown"):
        LabelGraph().build(6, ClassStatistics.from_counts([3, 2], 4), np.ones((2, 5), dtype=np.float32))
