"""Places for the nodes of a graph: in layers, with few crossings and straight lines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

_SWEEPS = 8
_LEVELLINGS = 10
# A line through an empty place is to stay straight more than a node is to stay amid its neighbours.
_STRAIGHT = 8.0
# A line that is nearly upright is made so: its ends move by half of this at most.
_NEARLY = 9.0


class Size(NamedTuple):
    """Of a node."""

    width: float
    height: float


class Route(NamedTuple):
    """
    Where an edge runs.

    :ivar points: from the lower end of its source to the upper end of its target; where it is turned, the other way round.
    :ivar turned: whether it closes a circle, and so runs upwards.
    """

    source: int
    target: int
    points: list[tuple[float, float]]
    turned: bool


class Layout(NamedTuple):
    """
    :ivar places: the centre of each node.
    :ivar routes: in the order of the edges.
    """

    places: list[tuple[float, float]]
    routes: list[Route]
    width: float
    height: float


def lay_out(sizes: Sequence[Size], edges: Sequence[tuple[int, int]], *, across: float = 24, down: float = 46) -> Layout:
    """
    Places for nodes, in layers from top to bottom: longest path, barycentres, then the nearest places that keep the order.

    :param edges: pairs of nodes; they may form circles.
    :param across: the least space between two nodes of a layer.
    :param down: the space between two layers.
    """
    if not sizes:
        return Layout([], [], 0, 0)
    turned = _turned(len(sizes), edges)
    forward = [(target, source) if number in turned else (source, target) for number, (source, target) in enumerate(edges)]
    layers_of = _longest_paths(len(sizes), [edge for edge in forward if edge[0] != edge[1]])
    widths = [size.width for size in sizes]
    chains: list[list[int]] = []
    for source, target in forward:
        chain = [source]
        for layer in range(layers_of[source] + 1, layers_of[target]):
            chain.append(len(widths))
            widths.append(0.0)
            layers_of.append(layer)
        chains.append([*chain, target])
    links = list(dict.fromkeys((a, b) for chain in chains for a, b in itertools.pairwise(chain) if a != b))
    order = _ordered(layers_of, links)
    x = _levelled(order, links, widths, len(sizes), across)
    tops, height = _rows(order, sizes, down)
    left = min(x[node] - widths[node] / 2 for node in range(len(widths)))
    width = max(x[node] + widths[node] / 2 for node in range(len(widths))) - left
    places = [(x[node] - left, tops[layers_of[node]][1]) for node in range(len(sizes))]
    routes = []
    for number, chain in enumerate(chains):
        first, last = chain[0], chain[-1]
        points = [(places[first][0], places[first][1] + sizes[first].height / 2)]
        for node in chain[1:-1]:
            top, middle, bottom = tops[layers_of[node]]
            points += [(x[node] - left, top), (x[node] - left, bottom)] if bottom > top else [(x[node] - left, middle)]
        points.append((places[last][0], places[last][1] - sizes[last].height / 2))
        if len(points) == 2 and abs(points[0][0] - points[1][0]) < _NEARLY:
            middle = (points[0][0] + points[1][0]) / 2
            points = [(middle, points[0][1]), (middle, points[1][1])]
        routes.append(Route(*edges[number], points, number in turned))
    return Layout(places, routes, width, height)


def _turned(count: int, edges: Sequence[tuple[int, int]]) -> set[int]:
    """The edges that close circles, found by a walk in depth; without recursion."""
    out: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    into = [0] * count
    for number, (source, target) in enumerate(edges):
        out[source].append((number, target))
        into[target] += source != target
    state = [0] * count
    found: set[int] = set()
    for root in sorted(range(count), key=lambda node: into[node] > 0):
        if state[root]:
            continue
        state[root] = 1
        walk = [(root, iter(out[root]))]
        while walk:
            node, following = walk[-1]
            step = next(following, None)
            if step is None:
                state[node] = 2
                _ = walk.pop()
            elif state[step[1]] == 1:
                found.add(step[0])
            elif not state[step[1]]:
                state[step[1]] = 1
                walk.append((step[1], iter(out[step[1]])))
    return found


def _longest_paths(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    out: list[list[int]] = [[] for _ in range(count)]
    waits = [0] * count
    for source, target in edges:
        out[source].append(target)
        waits[target] += 1
    begins = {node for node in range(count) if not waits[node]}
    layer = [0] * count
    ready = sorted(begins)
    for node in ready:  # grows while it is walked
        for target in out[node]:
            layer[target] = max(layer[target], layer[node] + 1)
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    for node in begins:
        if out[node]:
            # Close to what follows from it, rather than at the top with a long line.
            layer[node] = min(layer[target] for target in out[node]) - 1
    return layer


def _ordered(layers_of: Sequence[int], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    above, below = _neighbours(len(layers_of), links)
    order: list[list[int]] = [[] for _ in range(max(layers_of) + 1)]
    for node in _by_depth(len(layers_of), below, layers_of):
        order[layers_of[node]].append(node)
    best, fewest = order, _crossings(order, below)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        order = [layer[:] for layer in order]
        for number in range(1, len(order)) if downwards else range(len(order) - 2, -1, -1):
            fixed = order[number - 1 if downwards else number + 1]
            position = {node: place for place, node in enumerate(fixed)}
            _sort(order[number], above if downwards else below, position)
        crossings = _crossings(order, below)
        if crossings < fewest:
            best, fewest = order, crossings
    return best


def _sort(layer: list[int], near: Sequence[Sequence[int]], position: Mapping[int, int]) -> None:
    own = {node: place for place, node in enumerate(layer)}

    def centre(node: int) -> tuple[float, int]:
        found = [position[other] for other in near[node] if other in position]
        return (sum(found) / len(found) if found else own[node], own[node])

    layer.sort(key=centre)


def _by_depth(count: int, below: Sequence[Sequence[int]], layers_of: Sequence[int]) -> Iterable[int]:
    # What hangs together comes beside each other.
    seen = [False] * count
    for root in sorted(range(count), key=lambda node: layers_of[node]):
        left = [root]
        while left:
            node = left.pop()
            if not seen[node]:
                seen[node] = True
                yield node
                left += reversed(below[node])


def _neighbours(count: int, links: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for upper, lower in links:
        below[upper].append(lower)
        above[lower].append(upper)
    return above, below


def _crossings(order: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(order):
        position = {node: place for place, node in enumerate(lower)}
        # Inversions, counted in a binary indexed tree.
        tree = [0] * (len(lower) + 1)
        passed = 0
        for node in upper:
            places = sorted(position[other] for other in below[node])
            for place in places:
                index, not_right = place + 1, 0
                while index:
                    not_right += tree[index]
                    index &= index - 1
                total += passed - not_right
            for place in places:
                index = place + 1
                while index < len(tree):
                    tree[index] += 1
                    index += index & -index
            passed += len(places)
    return total


def _levelled(
    order: Sequence[Sequence[int]], links: Sequence[tuple[int, int]], widths: Sequence[float], real: int, across: float
) -> list[float]:
    above, below = _neighbours(len(widths), links)
    x = [0.0] * len(widths)
    for layer in order:
        place = 0.0
        for node in layer:
            x[node] = place + widths[node] / 2
            place += widths[node] + across
        for node in layer:
            x[node] -= place / 2
    for turn in range(_LEVELLINGS):
        # At last amid all neighbours: done more often, that makes the whole lean to one side.
        both = turn == _LEVELLINGS - 1
        for layer in order if turn % 2 == 0 else reversed(order):
            near = (lambda node: above[node] + below[node]) if both else (above if turn % 2 == 0 else below).__getitem__
            _settle(layer, near, x, widths, real=real, across=across)
    return x


def _settle(
    layer: Sequence[int],
    near: Callable[[int], list[int]],
    x: list[float],
    widths: Sequence[float],
    *,
    real: int,
    across: float,
) -> None:
    """The places nearest to what is wished for, in the order as it is: neighbours that would overlap are moved as one block."""
    blocks: list[list[float]] = []  # wished place of the first, weight, nodes
    offset = 0.0
    offsets: list[float] = []
    for number, node in enumerate(layer):
        if number:
            offset += (widths[layer[number - 1]] + widths[node]) / 2 + across
        offsets.append(offset)
        others = near(node)
        wished = sum(x[other] for other in others) / len(others) if others else x[node]
        weight = _STRAIGHT if node >= real else 1.0 if others else 0.1
        blocks.append([wished - offset, weight, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            place, heavy, nodes = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + place * heavy) / (before[1] + heavy)
            before[1] += heavy
            before[2] += nodes
    number = 0
    for place, _, nodes in blocks:
        for _ in range(int(nodes)):
            x[layer[number]] = place + offsets[number]
            number += 1


def _rows(order: Sequence[Sequence[int]], sizes: Sequence[Size], down: float) -> tuple[list[tuple[float, float, float]], float]:
    """Top, middle and bottom of each layer."""
    rows = []
    top = 0.0
    for layer in order:
        height = max((sizes[node].height for node in layer if node < len(sizes)), default=0.0)
        rows.append((top, top + height / 2, top + height))
        top += height + down
    return rows, top - down


__all__ = ["Layout", "Route", "Size", "lay_out"]
