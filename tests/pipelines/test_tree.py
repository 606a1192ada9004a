"""Paths through a tree against enumeration."""

import itertools
import math

import pytest
import torch

from pipelines.tree import (
    choice_log_probabilities,
    counts_of_levels,
    descend,
    inner_nodes,
    node_weights,
    nodes_of,
    path_log_probability,
    path_to,
)

B, L = 3, 3
PATHS = torch.tensor(list(itertools.product(range(B), repeat=L)))  # of the leaves in order


def test_nodes_and_paths_are_inverse():
    assert inner_nodes(B, L) == 1 + 3 + 9 and inner_nodes(7, 1) == 1
    nodes = nodes_of(PATHS, B)
    assert torch.equal(nodes[:, -1], torch.arange(27)) and (nodes[:, 0] == 0).all()
    for level in range(L + 1):
        assert torch.equal(path_to(nodes[:, level], B, level), PATHS[:, :level])


def test_weights_of_nodes_are_products_of_choices():
    choices = torch.randn(2, inner_nodes(B, L), B, generator=torch.Generator().manual_seed(0)).softmax(-1)
    weights = node_weights(choices)
    assert [w.shape[1] for w in weights] == [1, 3, 9, 27]
    for w in weights:
        assert torch.allclose(w.sum(1), torch.ones(2))
    for path in PATHS.tolist():
        a, b, c = path
        product = choices[:, 0, a] * choices[:, 1 + a, b] * choices[:, 4 + 3 * a + b, c]
        assert torch.allclose(weights[3][:, 9 * a + 3 * b + c], product)


def test_descending_takes_the_best_child_of_each_node():
    scores = torch.randn(5, inner_nodes(B, L), B, generator=torch.Generator().manual_seed(1))
    for row, path in zip(scores, descend(scores, L).tolist(), strict=True):
        a = int(row[0].argmax())
        b = int(row[1 + a].argmax())
        assert path == [a, b, int(row[4 + 3 * a + b].argmax())]


def test_probabilities_follow_the_counts():
    counts = torch.randint(0, 50, (27,), generator=torch.Generator().manual_seed(2)).tolist()
    levels = counts_of_levels(counts, B)
    assert [len(level) for level in levels] == [1, 3, 9, 27] and levels[0].item() == sum(counts)
    log_p = choice_log_probabilities(counts, B)
    each = path_log_probability(log_p, PATHS)
    assert each.exp().sum().item() == pytest.approx(1)
    first = [sum(counts[9 * a : 9 * a + 9]) + 1 for a in range(3)]
    expected = math.log(first[1] / sum(first))
    second = [sum(counts[9 + 3 * b : 12 + 3 * b]) + 1 for b in range(3)]
    third = [count + 1 for count in counts[9:12]]
    expected += math.log(second[0] / sum(second)) + math.log(third[2] / sum(third))
    assert each[9 + 2].item() == pytest.approx(expected)
