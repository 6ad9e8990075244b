"""The first of many by tournament, compiled: to find who of all replicas is next costs the logarithm of their number.

A tree has twice as many nodes as leaves, and a power of two of leaves: leaf i is node `leaves + i`, above nodes 2n and
2n + 1 is node n, node 1 is the root, and node 0 is not used. Of equals the one with the lower number comes first, as in
a search from the first to the last. Two kinds: one holds the least key of what is below each node, the other who has
the least key of two that are compared one after the other.
"""

from __future__ import annotations

from typing import Any

from penstock_lab.simulate.compiled import inlined
from penstock_lab.simulate.state import NOBODY


@inlined
def leaves_for(count: int) -> int:
    """The least power of two that is not below a count."""
    leaves = 1
    while leaves < count:
        leaves *= 2
    return leaves


@inlined
def build_least(tree: Any, leaves: int) -> None:
    """Set all nodes above the leaves."""
    for node in range(leaves - 1, 0, -1):
        tree[node] = min(tree[2 * node], tree[2 * node + 1])


@inlined
def put_least(tree: Any, leaves: int, leaf: int, key: float) -> None:
    """Give a leaf another key."""
    node = leaves + leaf
    tree[node] = key
    while node > 1:
        node //= 2
        least = min(tree[2 * node], tree[2 * node + 1])
        if tree[node] == least:
            return
        tree[node] = least


@inlined
def first_below(tree: Any, leaves: int, bound: float) -> int:
    """The first leaf whose key is below a bound, or NOBODY."""
    if not tree[1] < bound:
        return int(NOBODY)
    node = 1
    while node < leaves:
        node *= 2
        if not tree[node] < bound:
            node += 1
    return int(node - leaves)


@inlined
def _winner(tree: Any, node: int, key: Any, second: Any) -> int:
    one, other = tree[2 * node], tree[2 * node + 1]
    better = key[other] < key[one] or (key[other] == key[one] and second[other] < second[one])
    return int(other if better else one)


@inlined
def build_winners(tree: Any, leaves: int, key: Any, second: Any) -> None:
    """Set all nodes; the keys are those of the leaves."""
    for leaf in range(leaves):
        tree[leaves + leaf] = leaf
    for node in range(leaves - 1, 0, -1):
        tree[node] = _winner(tree, node, key, second)


@inlined
def put_winner(tree: Any, leaves: int, leaf: int, key: Any, second: Any) -> None:
    """See to the nodes above a leaf whose keys have changed."""
    node = (leaves + leaf) // 2
    while node > 0:
        before = tree[node]
        tree[node] = _winner(tree, node, key, second)
        if tree[node] == before != leaf:
            return
        node //= 2
