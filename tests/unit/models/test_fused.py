"""The fused residual block is the block, in results and in every gradient."""

import copy
import dataclasses
import importlib
import os
import subprocess
import sys

import pytest
import torch

from hpc_gw.models.fused import gate, to_plain
from hpc_gw.models.presets import COMPACT
from hpc_gw.models.recompute import recomputed
from hpc_gw.models.wavenet import WaveNet
from tests.unit.models.blocks import NORMS, make, results
from tests.unit.models.blocks import SHAPES as EVERYWHERE

SHAPES = {**EVERYWHERE, "wide and long": (40, 33, 48, 2, 2500, 2, 2)}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    """Inputs too small to pay are computed by the fused way all the same."""
    monkeypatch.setattr("hpc_gw.models.block.FEWEST", 0)


def eager(block):
    other = copy.deepcopy(block)
    other.fused = False
    return other


def assert_same(found, expected):
    """Outputs and gradients, each to the tolerance of their kind times their greatest value."""
    for ours, theirs in zip(found, expected, strict=True):
        scale = max(float(t.abs().max()) for t in theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0, atol=scale * TOLERANCE[b.dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("norm", NORMS)
def test_outputs_and_gradients_are_those_of_the_modules(norm, shape, dtype):
    block, x = make(norm, shape, dtype)
    other = eager(block)
    assert_same(results(block, x), results(other, x))
    for name, value in other.state_dict().items():  # running statistics among them
        torch.testing.assert_close(block.state_dict()[name], value)
    assert_same(results(block.eval(), x), results(other.eval(), x))


@pytest.mark.parametrize("norm", NORMS)
def test_the_fused_way_is_taken_when_asked_for(norm, monkeypatch):
    block, x = make(norm, SHAPES["compact"], torch.float32)

    def refuse(*_):
        raise AssertionError("fused")

    for name in ("gate", "gated_block"):
        monkeypatch.setattr(f"hpc_gw.models.block.{name}", refuse)
    with pytest.raises(AssertionError, match="fused"):
        block(x)
    monkeypatch.setattr("hpc_gw.models.block.FEWEST", x.shape[0] * x.shape[2] + 1)
    block(x)
    monkeypatch.setattr("hpc_gw.models.block.FEWEST", 0)
    block.fused = False
    block(x)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(2, 3, 2, 2, 5, 2, 1), (1, 2, 3, 2, 6, 3, 2)])
def test_gradients_are_those_of_differences(norm, shape):
    block, x = make(norm, shape, torch.float64)
    names, values = zip(*block.named_parameters(), strict=True)

    def call(x, *values):
        return torch.func.functional_call(block, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x.requires_grad_(), *values))


@pytest.mark.parametrize("shape", [(3, 8, 5), (7, 8)])
def test_the_gate_is_its_formula(shape):
    both = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    f, g = both.chunk(2, 1)
    torch.testing.assert_close(gate(both), f.tanh() * g.sigmoid(), rtol=0, atol=1e-15)
    assert torch.autograd.gradcheck(gate, both)
    far = torch.tensor([[-100.0, 100.0, 0.0, 100.0], [100.0, 0.0, 100.0, -100.0]])
    torch.testing.assert_close(gate(far), torch.tensor([[-0.5, 1.0], [1.0, 0.0]]))


@pytest.mark.parametrize("norm", NORMS)
def test_any_order_in_memory_is_read(norm):
    block, x = make(norm, SHAPES["odd kernel"], torch.float64)
    expected = results(eager(block), x)
    last = x.transpose(1, 2).contiguous().transpose(1, 2)
    every_second = torch.empty(*x.shape[:2], 2 * x.shape[2], dtype=x.dtype)[..., ::2].copy_(x)
    for same in (last, every_second):
        assert not same.is_contiguous()
        assert_same(results(block, same), expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kept", [0, 1])
def test_one_output_may_go_unused(norm, kept):
    block, x = make(norm, SHAPES["even kernel"], torch.float64)

    def one(block):
        return results(block, x, lambda x: block(x)[kept : kept + 1])

    assert_same(one(block), one(eager(block)))


@pytest.mark.parametrize("shape", [SHAPES["compact"], SHAPES["wide"], SHAPES["wide and long"]])
def test_an_input_that_wants_no_gradient_gets_none(shape):
    block, x = make("none", shape, torch.float64)
    found, expected = (
        torch.autograd.grad(sum(y.sin().sum() for y in b(x)), b.parameters())
        for b in (block, eager(block))
    )
    assert_same([found], [expected])


@pytest.mark.parametrize("norm", NORMS)
def test_without_gradients_the_outputs_are_the_same(norm):
    block, x = make(norm, SHAPES["compact"], torch.float32)
    block.eval()
    outputs = [y.detach() for y in block(x.clone().requires_grad_())]
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            again = block(x)
        assert all(torch.equal(a, b) for a, b in zip(again, outputs, strict=True))


@pytest.mark.parametrize("norm", NORMS)
def test_autocast_and_compilation_take_the_modules(norm):
    block, x = make(norm, SHAPES["compact"], torch.float32)
    block.eval()
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            ours, theirs = block(x), eager(block)(x)
        assert ours[1].dtype == theirs[1].dtype
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        compiled = torch.compile(block, backend="eager", fullgraph=True)(x)
        assert all(torch.equal(a, b) for a, b in zip(compiled, eager(block)(x), strict=True))


@pytest.mark.parametrize("norm", NORMS)
def test_recomputed_in_backward_it_is_the_same(norm):
    block, x = make(norm, SHAPES["compact"], torch.float64)
    other = copy.deepcopy(block)
    again = results(block, x, lambda x: recomputed(block, x))
    assert_same(again, results(other, x))
    for name, value in other.state_dict().items():
        torch.testing.assert_close(block.state_dict()[name], value)


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_of_fused_blocks_is_the_network(norm, chirps):
    torch.manual_seed(0)
    model = WaveNet(dataclasses.replace(COMPACT, norm=norm)).double().train()
    model.stem.calibrate(chirps)
    other = copy.deepcopy(model)
    for block in other.blocks:
        block.fused = False
    assert list(model.state_dict()) == list(other.state_dict())
    x = chirps[:3].double()
    assert model(x).std(0).min() > 1e-3  # there is something to tell apart

    def run(net):
        outputs = net(x)
        return [outputs.detach()], torch.autograd.grad(outputs.square().sum(), net.parameters())

    for ours, theirs in zip(run(model), run(other), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11 * float(b.abs().max() + 1))


def test_the_way_out_of_the_blocks_changes_no_number():
    x = torch.randn(2, 6, 5).transpose(1, 2).requires_grad_()
    y = to_plain(x)
    assert y.is_contiguous() and torch.equal(y, x)
    seed = torch.randn_like(y)
    (found,) = torch.autograd.grad(y, x, seed)
    assert torch.equal(found, seed) and found.transpose(1, 2).is_contiguous()
    assert to_plain(y) is y


# --- Triton's kernels, run by its interpreter where there is no GPU ------------------------------


INTERPRETED = "TRITON_INTERPRET"  # to be set before Triton is first imported, by torch for one


@pytest.fixture
def kernels():
    if os.environ.get(INTERPRETED) != "1":
        pytest.skip("run by the test below, in a process of its own")
    return importlib.import_module("hpc_gw.models.fused_triton")


@pytest.mark.skipif(INTERPRETED in os.environ, reason="this is that process")
def test_the_interpreter_runs_the_kernels(root):
    pytest.importorskip("triton")
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "the_kernels_of", __file__]
    environment = os.environ | {INTERPRETED: "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("shape", [s for s in SHAPES.values() if max(s[:3]) <= 32])
def test_the_kernels_of_the_block_give_the_same(kernels, shape):
    block, x = make("none", shape, torch.float32)
    arguments = block._arguments()
    assert kernels.fits(x, *arguments)
    found = results(block, x, lambda x: kernels.gated_block(x, *arguments))
    assert_same(found, results(eager(block), x))


def test_the_kernels_of_the_block_hide_no_missing_number(kernels):
    block, x = make("none", SHAPES["compact"], torch.float32)
    with torch.no_grad():
        x[0, 0, 5] = float("nan")
    found = results(block, x, lambda x: kernels.gated_block(x, *block._arguments()))
    expected = results(eager(block), x)
    for ours, theirs in zip(found, expected, strict=True):  # outputs, then gradients
        assert any(b.isnan().any() for b in theirs)
        assert all(torch.equal(a.isnan(), b.isnan()) for a, b in zip(ours, theirs, strict=True))


def test_the_kernels_of_the_block_refuse_what_they_cannot_do(kernels):
    for shape, dtype in ((SHAPES["wide"], torch.float32), (SHAPES["compact"], torch.float64)):
        block, x = make("none", shape, dtype)
        assert not kernels.fits(x, *block._arguments())


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_the_kernels_of_the_gate_give_the_same(kernels, dtype):
    both = torch.randn(3, 14, 50, dtype=dtype).requires_grad_()
    seed = torch.randn(3, 7, 50, dtype=dtype)
    found, expected = (
        ([f(both).detach()], torch.autograd.grad(f(both), both, seed)) for f in (kernels.gate, gate)
    )
    assert_same(found, expected)
