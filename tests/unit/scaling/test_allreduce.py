"""All-reduce models against values worked out by hand, and their limits."""

import math

import pytest

from hpc_gw.scaling.allreduce import ALGORITHMS, Wire, flat, hierarchical

WIRE = Wire(latency=1e-6, per_byte=1e-9)  # 1 us, 1 GB/s
SIZE = 1e6  # 1 ms on the wire


@pytest.mark.parametrize(
    ("name", "n", "microseconds"),
    [
        ("ring", 2, 2 + 1000),  # two messages of a half
        ("ring", 4, 6 + 1500),  # six messages of a quarter
        ("doubling", 4, 2 + 2000),  # two of everything
        ("doubling", 5, 4 + 4000),  # and two more to fold the fifth in and out
        ("halving", 4, 4 + 2 * 500 + 2 * 250),  # a half, a quarter, and back
        ("halving", 6, 4 + 1500 + 2 + 2000),
        ("tree", 4, 4 + 2000),  # up two levels and down
        ("tree", 5, 6 + 2000),
        ("fastest", 4, 6 + 1500),
    ],
)
def test_each_algorithm_takes_what_its_messages_add_up_to(name, n, microseconds):
    assert ALGORITHMS[name](n, SIZE, WIRE) == pytest.approx(1e-6 * microseconds)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_single_rank_sends_nothing(name):
    assert ALGORITHMS[name](1, SIZE, WIRE) == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_with_infinite_bandwidth_only_latency_is_left(name):
    wire = Wire(1e-6, 0.0)
    many = ALGORITHMS[name](64, SIZE, wire)
    assert many == ALGORITHMS[name](64, 0.0, wire)
    assert many == pytest.approx(
        1e-6 * {"ring": 126, "doubling": 6, "halving": 12, "tree": 12, "fastest": 12}[name]
    )


@pytest.mark.parametrize("name", ["ring", "tree", "fastest"])
def test_more_ranks_never_take_less_time(name):
    times = [ALGORITHMS[name](n, SIZE, WIRE) for n in range(1, 300)]
    assert times == sorted(times)


@pytest.mark.parametrize("name", ["ring", "halving"])
def test_many_ranks_move_twice_the_bytes(name):
    assert ALGORITHMS[name](4096, SIZE, Wire(0.0, 1e-9)) == pytest.approx(2e-3, rel=1e-3)


def test_no_algorithm_beats_the_bound_of_bytes():
    for n in (2, 4, 8, 64, 1024):
        bound = 2 * (n - 1) / n * SIZE * WIRE.per_byte
        assert all(f(n, SIZE, Wire(0.0, 1e-9)) >= bound * (1 - 1e-12) for f in ALGORITHMS.values())


def test_a_hierarchy_is_a_ring_inside_and_another_sum_between():
    within, between = Wire(1e-6, 1e-11), Wire(5e-6, 1e-10)
    expected = ALGORITHMS["ring"](4, SIZE, within) + ALGORITHMS["tree"](16, SIZE, between)
    assert hierarchical(64, 4, SIZE, within, between, "tree") == pytest.approx(expected)
    assert hierarchical(3, 4, SIZE, within, between, "tree") == ALGORITHMS["ring"](3, SIZE, within)


def test_flat_ranks_share_the_link_of_their_node_unless_they_form_a_ring():
    within, between = Wire(0.0, 1e-12), Wire(0.0, 1e-10)
    ring, tree = (flat(64, 4, SIZE, within, between, name) for name in ("ring", "tree"))
    assert ring == pytest.approx(2 * 63 / 64 * SIZE * 1e-10)
    assert tree == pytest.approx(2 * 4 * SIZE * 1e-10)
    assert flat(64, 4, SIZE, within, between, "fastest") == min(ring, tree)
    assert flat(4, 4, SIZE, within, between, "ring") < ring
    assert math.isclose(flat(1, 4, SIZE, within, between, "ring"), 0.0)
    slow, fast = Wire(8e-6, 0.0), Wire(0.0, 0.0)  # one link of four is slow
    assert flat(64, 4, SIZE, fast, slow, "ring") == pytest.approx(2 * 63 * 2e-6)
