"""How long an all-reduce lasts: alpha-beta models of the algorithms in use, as pure functions.

``n`` ranks sum ``size`` bytes. A message of s bytes takes ``latency + s * per_byte`` over a wire
that carries both directions at once; arithmetic is not counted.

References:
    Thakur, Rabenseifner & Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49: ring,
    recursive doubling, recursive halving and doubling.
    Sanders, Speck & Traeff, Parallel Comput. 35 (2009) 581: two binary trees, as in NCCL.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Wire(NamedTuple):
    """A link: seconds until the first byte arrives, and seconds for each byte."""

    latency: float
    per_byte: float


def ring(n: int, size: float, wire: Wire) -> float:
    """2 (n - 1) latency + 2 (n - 1) / n size / bandwidth: fewest bytes, most messages."""
    steps = 2 * (n - 1)
    return steps * wire.latency + steps / n * size * wire.per_byte


def doubling(n: int, size: float, wire: Wire) -> float:
    """log2 n exchanges of everything: fewest messages, most bytes.

    Where n is no power of two the ranks beyond one hand their part over first, and are told the
    sum last: two more messages.
    """
    stages, folds = _stages(n)
    return (stages + folds) * (wire.latency + size * wire.per_byte)


def halving(n: int, size: float, wire: Wire) -> float:
    """2 log2 n exchanges of halves, quarters, ... and back: few messages and few bytes.

    Two more messages of everything where n is no power of two.
    """
    stages, folds = _stages(n)
    moved = 2 * (1 - 2.0**-stages) * size
    return 2 * stages * wire.latency + moved * wire.per_byte + folds * _message(size, wire)


def tree(n: int, size: float, wire: Wire) -> float:
    """Up and down two binary trees of half the bytes each, in small portions.

    2 ceil(log2 n) latencies; each rank passes every byte once up and once down.
    """
    if n == 1:
        return 0.0
    return 2 * math.ceil(math.log2(n)) * wire.latency + 2 * size * wire.per_byte


def fastest(n: int, size: float, wire: Wire) -> float:
    """The faster of ring and tree, as NCCL chooses."""
    return min(ring(n, size, wire), tree(n, size, wire))


ALGORITHMS: dict[str, Callable[[int, float, Wire], float]] = {
    "ring": ring,
    "tree": tree,
    "doubling": doubling,
    "halving": halving,
    "fastest": fastest,
}


def hierarchical(
    gpus: int, per_node: int, size: float, within: Wire, between: Wire, algorithm: str
) -> float:
    """Reduce-scatter inside each node, all-reduce of each part between nodes, gather inside.

    The GPUs of a node send their parts at once over the node's ``between``, which so carries
    ``size`` bytes as if it were one rank's.

    Args:
        gpus: ranks in all.
        per_node: ranks of a full node.
        size: bytes.
        within: from one GPU of a node to the next.
        between: of a whole node.
        algorithm: between the nodes, of ``ALGORITHMS``; inside it is a ring.
    """
    local = ring(min(gpus, per_node), size, within)
    return local + ALGORITHMS[algorithm](-(-gpus // per_node), size, between)


def flat(
    gpus: int, per_node: int, size: float, within: Wire, between: Wire, algorithm: str
) -> float:
    """All GPUs alike: a ring leaves each node once, else its GPUs share the node's link.

    What goes round the ring passes ``per_node`` - 1 links within each node and one between.
    """
    if gpus <= per_node:
        return ALGORITHMS[algorithm](gpus, size, within)

    def shared(name: str) -> float:
        if name == "ring":
            of_a_node = within.latency * (per_node - 1) + between.latency
            wire = Wire(of_a_node / per_node, max(between.per_byte, within.per_byte))
        else:
            wire = Wire(between.latency, max(between.per_byte * per_node, within.per_byte))
        return ALGORITHMS[name](gpus, size, wire)

    return min(shared("ring"), shared("tree")) if algorithm == "fastest" else shared(algorithm)


def _message(size: float, wire: Wire) -> float:
    return wire.latency + size * wire.per_byte


def _stages(n: int) -> tuple[int, int]:
    """Exchanges of the largest power of two <= n, and messages to fold the others in."""
    stages = n.bit_length() - 1
    return stages, 0 if n == 1 << stages else 2
