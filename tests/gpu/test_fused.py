"""Triton's kernels of the residual block against its modules; skipped where there is no GPU."""

import copy

import pytest
import torch

from hpc_gw.models.recompute import recomputed
from tests.unit.models.blocks import NORMS, make, results
from tests.unit.models.blocks import SHAPES as EVERYWHERE

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
pytest.importorskip("triton")

SHAPES = {**EVERYWHERE, "published": (16, 16, 32, 2, 10_254, 2, 16)}


def pair(norm, shape, dtype=torch.float32):
    """A block by the kernels, the same by its modules, and an input."""
    block, x = make(norm, shape, dtype, "cuda")
    block.triton = True
    other = copy.deepcopy(block)
    other.fused = False
    return block, other, x


def distance(found, expected):
    """Greatest distance of outputs and of gradients, over the greatest value of their kind."""
    return [
        max(float((a - b).norm()) for a, b in zip(ours, theirs, strict=True))
        / max(float(b.norm()) for b in theirs)
        for ours, theirs in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("norm", NORMS)
def test_outputs_and_gradients_are_those_of_the_modules(norm, shape):
    block, other, x = pair(norm, shape)
    assert max(distance(results(block, x), results(other, x))) < 1e-5


@pytest.mark.parametrize("norm", NORMS)
def test_double_precision_keeps_its_digits(norm):
    block, other, x = pair(norm, SHAPES["odd kernel"], torch.float64)
    assert max(distance(results(block, x), results(other, x))) < 1e-12


@pytest.mark.parametrize("norm", NORMS)
def test_any_order_in_memory_is_read_and_recomputation_changes_nothing(norm):
    block, other, x = pair(norm, SHAPES["compact"])
    last = x.transpose(1, 2).contiguous().transpose(1, 2)
    expected = results(other, x)
    assert max(distance(results(block, last), expected)) < 1e-5
    assert max(distance(results(block, x, lambda x: recomputed(block, x)), expected)) < 1e-5


def test_gradients_are_the_same_each_time():
    block, _, x = pair("none", SHAPES["compact"])
    first, again = results(block, x), results(block, x)
    assert all(torch.equal(a, b) for a, b in zip(first[1], again[1], strict=True))


@pytest.mark.parametrize("norm", NORMS)
def test_autocast_takes_the_modules(norm):
    block, other, x = pair(norm, SHAPES["compact"])
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        found, expected = block.eval()(x), other.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
