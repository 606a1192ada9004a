"""Paths through a tree of b children at each node and L levels below the root, and what they select.

Node n of level l has the children n b ... n b + b - 1 of level l + 1, so a path is a number with L digits of base b.
Level l has b^l nodes, level 0 the root alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def inner_nodes(branching: int, depth: int) -> int:
    """Return the number of nodes with children, 1 + b + ... + b^(L - 1)."""
    return sum(branching**level for level in range(depth))


def nodes_of(path: torch.Tensor, branching: int) -> torch.Tensor:
    """Return the numbers of the nodes on paths, each within its level: int64 [N, L] -> int64 [N, L + 1], the root first."""
    nodes = [path.new_zeros(len(path))]
    for choice in path.T:
        nodes.append(nodes[-1] * branching + choice)
    return torch.stack(nodes, dim=1)


def path_to(node: torch.Tensor, branching: int, level: int) -> torch.Tensor:
    """Return the paths to nodes of a level: int64 [N] -> int64 [N, level]."""
    digits = [node // branching ** (level - 1 - place) % branching for place in range(level)]
    return torch.stack(digits, dim=1) if digits else node.new_zeros(len(node), 0)


def node_weights(choices: torch.Tensor) -> list[torch.Tensor]:
    """Return the weight of each node: the product of the choices on the way to it.

    Args:
        choices: [N, inner nodes, b], for each node the weights of its children, level by level.

    Returns:
        L + 1 tensors, [N, b^l] for level l. They sum to 1 in each row if the choices of each node do.
    """
    weights = [choices.new_ones(len(choices), 1)]
    start = 0
    while start < choices.shape[1]:
        number = weights[-1].shape[1]
        below = choices[:, start : start + number]  # [N, b^l, b]
        weights.append((weights[-1][:, :, None] * below).flatten(1))
        start += number
    return weights


def descend(scores: torch.Tensor, depth: int) -> torch.Tensor:
    """Return the paths that take the child with the highest score at each node: [N, inner nodes, b] -> int64 [N, L]."""
    rows, branching = torch.arange(len(scores), device=scores.device), scores.shape[2]
    node = torch.zeros_like(rows)
    path, start = [], 0
    for level in range(depth):
        path.append(scores[rows, start + node].argmax(-1))
        node, start = node * branching + path[-1], start + branching**level
    return torch.stack(path, dim=1)


def counts_of_levels(leaf_counts: Sequence[int], branching: int) -> list[torch.Tensor]:
    """Return the counts of the nodes of each level from those of the leaves, the root first: int64 [b^l] each."""
    counts = [torch.tensor(leaf_counts, dtype=torch.int64)]
    while len(counts[0]) > 1:
        counts.insert(0, counts[0].reshape(-1, branching).sum(1))
    return counts


def choice_log_probabilities(leaf_counts: Sequence[int], branching: int) -> torch.Tensor:
    """Return log p(child | node) from counts, each child with one image more than it has: float64 [inner nodes, b]."""
    levels = counts_of_levels(leaf_counts, branching)[1:]
    smooth = [counts.reshape(-1, branching).double() + 1 for counts in levels]
    return torch.cat([(counts / counts.sum(1, keepdim=True)).log() for counts in smooth])


def path_log_probability(log_p: torch.Tensor, path: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of whole paths, the sum over their choices.

    Args:
        log_p: log p(child | node), [inner nodes, b].
        path: int64 [N, L].
    """
    branching = log_p.shape[1]
    starts = torch.tensor([inner_nodes(branching, level) for level in range(path.shape[1])], device=path.device)
    return log_p[starts + nodes_of(path, branching)[:, :-1], path].sum(1)


def one_hot_choices(path: torch.Tensor, branching: int) -> list[torch.Tensor]:
    """Return the node weights of exact paths, as `node_weights` gives them: L + 1 tensors float32 [N, b^l]."""
    nodes = nodes_of(path, branching)
    return [F.one_hot(nodes[:, level], branching**level).float() for level in range(nodes.shape[1])]
