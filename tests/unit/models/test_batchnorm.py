"""Batch normalisation over ranks, which are threads here, against torch on the whole batch."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from hpc_gw.models.batchnorm import SyncedBatchNorm, synchronise

EPS = 1e-3


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


class Ranks:
    """Sums over threads; ``calls`` counts the all-reduces of one of them."""

    def __init__(self, size):
        self.size, self.calls, self.largest = size, 0, 0
        self._barrier, self._lock, self._total = threading.Barrier(size), threading.Lock(), None

    def sum(self, tensor):
        with self._lock:
            self._total = tensor.clone() if self._total is None else self._total + tensor
        self._barrier.wait(300)
        tensor.copy_(self._total)
        if self._barrier.wait(300) == 0:
            self._total = None
            self.calls += 1
            self.largest = max(self.largest, tensor.numel())
        self._barrier.wait(300)
        return tensor

    def run(self, work):
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(work, range(self.size)))


def whole_and_parts(sizes, x, coefficients, reduce=None, **options):
    """What nn.BatchNorm1d makes of x, and what ranks with ``sizes`` rows of it make of theirs."""
    ranks = Ranks(len(sizes))
    torch.manual_seed(0)
    plain = nn.BatchNorm1d(x.shape[1], eps=EPS, **options).to(x.dtype)
    if plain.affine:
        nn.init.normal_(plain.weight)
        nn.init.normal_(plain.bias)
    start = copy.deepcopy(plain.state_dict())
    leaf = x.clone().requires_grad_()
    output = plain(leaf)
    (output.square() * coefficients).sum().backward()
    ends = torch.tensor([0, *sizes]).cumsum(0)

    def work(rank):
        own = slice(int(ends[rank]), int(ends[rank + 1]))
        norm = SyncedBatchNorm(x.shape[1], reduce or ranks.sum, eps=EPS, **options).to(x.dtype)
        norm.load_state_dict(start)
        part = x[own].clone().requires_grad_()
        y = norm(part)
        (y.square() * coefficients[own]).sum().backward()
        return norm, y.detach(), part.grad

    return ranks, (plain, output.detach(), leaf.grad), ranks.run(work)


def errors(whole, parts):
    """Largest differences, relative to the largest number of each kind."""
    (plain, output, gradient), norms = whole, [part[0] for part in parts]
    pairs = {
        "output": (torch.cat([part[1] for part in parts]), output),
        "input": (torch.cat([part[2] for part in parts]), gradient),
    }
    if plain.affine:
        pairs["weight"] = (sum(norm.weight.grad for norm in norms), plain.weight.grad)
        pairs["bias"] = (sum(norm.bias.grad for norm in norms), plain.bias.grad)
    if plain.track_running_stats:
        pairs["mean"] = (norms[-1].running_mean, plain.running_mean)
        pairs["variance"] = (norms[-1].running_var, plain.running_var)
    return {k: float((a - b).abs().max() / b.abs().max()) for k, (a, b) in pairs.items()}


@pytest.mark.parametrize("sizes", [(8,), (4, 4), (1, 7), (2, 2, 2, 2), (1, 5, 2, 3)])
@pytest.mark.parametrize("options", [
    {}, {"momentum": 0.01}, {"momentum": None}, {"affine": False}, {"track_running_stats": False},
])  # fmt: skip
def test_any_number_of_ranks_normalises_as_one_does(sizes, options):
    x = torch.randn(sum(sizes), 5, 11) * 3 + 0.5
    ranks, whole, parts = whole_and_parts(sizes, x, torch.randn_like(x), **options)
    assert max(errors(whole, parts).values()) < 3e-6  # measured: 4e-7 to 1e-6
    for norm, *_ in parts[1:]:
        first = dict(parts[0][0].named_buffers())
        assert all(torch.equal(buffer, first[name]) for name, buffer in norm.named_buffers())
    assert (ranks.calls, ranks.largest) == (2, 2 * 5 + 1)


def test_ranks_that_do_not_sum_are_found_out():
    x = torch.randn(8, 5, 11)
    _, whole, parts = whole_and_parts((4, 4), x, torch.randn_like(x), reduce=lambda t: t)
    assert errors(whole, parts)["output"] > 1e-2


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 11)])
def test_vectors_and_sequences_alike(shape):
    x = torch.randn(shape, dtype=torch.float64)
    _, whole, parts = whole_and_parts((3, 5), x, torch.randn_like(x))
    assert max(errors(whole, parts).values()) < 1e-14


@pytest.mark.parametrize(("dtype", "offset", "bound"), [
    # The inputs themselves are rounded, relative to their spread, to 6e-8 * offset in float32;
    # 1e-16 offset^2 is lost in the variance in float64.
    (torch.float32, 1e3, 2e-4), (torch.float64, 1e3, 1e-9), (torch.float64, 1e5, 1e-5),
])  # fmt: skip
def test_a_large_mean_does_not_swallow_the_variance(dtype, offset, bound):
    x = torch.randn(8, 5, 64, dtype=torch.float64)
    x = (x + offset * (1 + torch.arange(8)[:, None, None] * 1e-3 / offset)).to(dtype)
    _, whole, parts = whole_and_parts((2, 6), x, torch.randn_like(x))
    assert max(errors(whole, parts).values()) < bound


def test_the_backward_pass_is_the_derivative_of_the_forward_pass():
    norm = SyncedBatchNorm(3, lambda t: t, eps=EPS).double()
    nn.init.normal_(norm.weight)
    x = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)

    def function(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    assert torch.autograd.gradcheck(function, (x, norm.weight, norm.bias))


def test_half_precision_is_normalised_in_single():
    x = (torch.randn(8, 5, 64) + 4).bfloat16()
    norm = SyncedBatchNorm(5, lambda t: t, eps=EPS)
    part = x.clone().requires_grad_()
    y = norm(part)
    y.float().square().sum().backward()
    plain = nn.BatchNorm1d(5, eps=EPS)
    expected = plain(x.float())
    assert y.dtype == part.grad.dtype == torch.bfloat16
    assert torch.allclose(y.float(), expected, atol=2e-2)  # bfloat16 has 8 bits
    assert torch.allclose(norm.running_var, plain.running_var, rtol=1e-6)


def network():
    return nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3, momentum=0.2), nn.ReLU(),
                         nn.Sequential(nn.BatchNorm1d(3, eps=EPS)))  # fmt: skip


def test_a_network_is_synchronised_in_place_and_keeps_its_tensors():
    model = network()
    before = dict(model.named_parameters()) | dict(model.named_buffers())
    synchronise(model, lambda t: t)
    after = dict(model.named_parameters()) | dict(model.named_buffers())
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    assert [type(m) for m in norms] == [SyncedBatchNorm] * 2
    assert (norms[0].momentum, norms[1].eps) == (0.2, EPS)
    plain = network()
    plain.load_state_dict(model.state_dict())
    x = torch.randn(4, 2, 6)
    assert torch.equal(plain.eval()(x), model.eval()(x))


def test_a_copy_of_a_network_does_not_copy_the_ranks():
    class Uncopied:
        def __deepcopy__(self, memo):
            raise AssertionError

        def sum(self, tensor):
            return tensor

    model = network()
    synchronise(model, Uncopied().sum)
    twin = copy.deepcopy(model)
    x = torch.randn(4, 2, 6)
    assert torch.equal(model(x), twin(x))
