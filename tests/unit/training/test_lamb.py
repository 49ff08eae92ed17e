"""LAMB, step by step against the formulas written out in NumPy."""

import copy

import numpy as np
import pytest
import torch

from hpc_gw.errors import ConfigError
from hpc_gw.training.lamb import Lamb

SHAPES = ((4, 3), (5,), (2, 3, 2))
STEPS = 10


def reference(start, gradients, decays, *, lr=0.01, max_norm=1.0, nvlamb=False, averaging=True,
              correction=True, betas=(0.9, 0.999), eps=1e-6):  # fmt: skip
    """Parameters and trust ratios after each step; one tensor at a time, no shortcuts."""
    p = [x.copy() for x in start]
    m, v = [np.zeros_like(x) for x in p], [np.zeros_like(x) for x in p]
    history = []
    for k, grads in enumerate(gradients, start=1):
        norm = np.sqrt(sum((g**2).sum() for g in grads))
        clip = norm / max_norm if max_norm > 0 and norm > max_norm else 1.0
        ratios = []
        for i, raw in enumerate(grads):
            g = raw / clip
            m[i] = betas[0] * m[i] + ((1 - betas[0]) if averaging else 1.0) * g
            v[i] = betas[1] * v[i] + (1 - betas[1]) * g**2
            m_hat = m[i] / (1 - betas[0] ** k) if correction else m[i]
            v_hat = v[i] / (1 - betas[1] ** k) if correction else v[i]
            update = m_hat / (np.sqrt(v_hat) + eps) + decays[i] * p[i]
            ratio = 1.0
            if decays[i] != 0 or nvlamb:
                size, move = np.sqrt((p[i] ** 2).sum()), np.sqrt((update**2).sum())
                if size > 0 and move > 0:
                    ratio = size / move
            p[i] = p[i] - lr * ratio * update
            ratios.append(ratio)
        history.append(([x.copy() for x in p], ratios, norm))
    return history


def problem(scale=1.0):
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    gradients = [[scale * rng.standard_normal(s) for s in SHAPES] for _ in range(STEPS)]
    return start, gradients


def tensors(start):
    return [torch.tensor(x, requires_grad=True) for x in start]


def apply(optimizer, parameters, gradients):
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = torch.tensor(g)
    optimizer.step()


def groups(parameters, decays):
    return [{"params": [p], "weight_decay": d} for p, d in zip(parameters, decays, strict=True)]


@pytest.mark.parametrize("scale", [1.0, 1e-2], ids=["clipped", "unclipped"])
@pytest.mark.parametrize(
    ("decays", "options", "variant"),
    [
        ((0.01, 0.01, 0.01), {}, {}),
        ((0.01, 0.0, 0.05), {}, {}),
        ((0.01, 0.0, 0.05), {"use_nvlamb": True}, {"nvlamb": True}),
        ((0.01,) * 3, {"grad_averaging": False}, {"averaging": False}),
        ((0.01,) * 3, {"bias_correction": False}, {"correction": False}),
        ((0.01,) * 3, {"max_grad_norm": 0.0}, {"max_norm": 0.0}),
        ((0.01,) * 3, {"betas": (0.8, 0.95), "eps": 1e-3}, {"betas": (0.8, 0.95), "eps": 1e-3}),
    ],
)
def test_every_step_is_that_of_the_formulas(scale, decays, options, variant):
    start, gradients = problem(scale)
    expected = reference(start, gradients, decays, **variant)
    assert (expected[0][2] > 1.0) == (scale == 1.0)  # the clip is, or is not, at work
    parameters = tensors(start)
    optimizer = Lamb(groups(parameters, decays), lr=0.01, **options)
    for grads, (values, ratios, norm) in zip(gradients, expected, strict=True):
        apply(optimizer, parameters, grads)
        for p, value in zip(parameters, values, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), value, rtol=0, atol=1e-12)
        np.testing.assert_allclose(optimizer.trust_ratios.numpy(), ratios, rtol=1e-12)
        assert float(optimizer.grad_norm) == pytest.approx(norm)


def test_one_group_of_many_tensors_is_many_groups_of_one():
    start, gradients = problem()
    one, many = tensors(start), tensors(start)
    together = Lamb(one, lr=0.01, weight_decay=0.02)
    apart = Lamb(groups(many, (0.02,) * 3), lr=0.01)
    for grads in gradients:
        apply(together, one, grads)
        apply(apart, many, grads)
    for a, b in zip(one, many, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


def test_zero_parameters_move_with_trust_ratio_one():
    start, gradients = problem()
    start[0] = np.zeros_like(start[0])
    expected, _, _ = reference(start, gradients, (0.01,) * 3)[0]
    parameters = tensors(start)
    optimizer = Lamb(parameters, lr=0.01)
    apply(optimizer, parameters, gradients[0])
    assert optimizer.trust_ratios[0] == 1
    np.testing.assert_allclose(parameters[0].detach().numpy(), expected[0], atol=1e-12)


def test_zero_updates_leave_everything_in_place_and_finite():
    parameters = tensors([np.zeros(3), np.ones(2)])
    optimizer = Lamb(groups(parameters, (0.01, 0.0)), lr=0.01, use_nvlamb=True)
    apply(optimizer, parameters, [np.zeros(3), np.zeros(2)])
    assert parameters[0].tolist() == [0, 0, 0]
    assert parameters[1].tolist() == [1, 1]
    assert optimizer.trust_ratios.tolist() == [1, 1]


def test_tensors_without_gradient_stay_and_count_for_nothing():
    start, gradients = problem()
    parameters = tensors(start)
    optimizer = Lamb(parameters, lr=0.01)
    parameters[0].grad = torch.tensor(gradients[0][0])
    optimizer.step()
    assert parameters[1].detach().numpy() == pytest.approx(start[1])
    assert optimizer.trust_ratios.shape == (1,)
    assert float(optimizer.grad_norm) == pytest.approx(np.linalg.norm(gradients[0][0]))


def test_gradients_are_left_as_they_were():
    start, gradients = problem()
    parameters = tensors(start)
    apply(Lamb(parameters, lr=0.01), parameters, gradients[0])
    np.testing.assert_array_equal(parameters[0].grad.numpy(), gradients[0][0])


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    start, gradients = problem()
    whole, first = tensors(start), tensors(start)
    decays = (0.01, 0.0, 0.01)
    uninterrupted = Lamb(groups(whole, decays), lr=0.01)
    for grads in gradients:
        apply(uninterrupted, whole, grads)
    before = Lamb(groups(first, decays), lr=0.01)
    for grads in gradients[:4]:
        apply(before, first, grads)
    torch.save((before.state_dict(), first), tmp_path / "state.pt")
    state, second = torch.load(tmp_path / "state.pt", weights_only=False)
    after = Lamb(groups(second, decays), lr=0.5)  # the state brings its own lr
    after.load_state_dict(state)
    for grads in gradients[4:]:
        apply(after, second, grads)
    for a, b in zip(whole, second, strict=True):
        assert torch.equal(a, b)


def test_a_closure_is_evaluated_with_gradients():
    p = torch.tensor([2.0], requires_grad=True)
    optimizer = Lamb([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        value = (p**2).sum()
        value.backward()
        return value

    assert optimizer.step(closure).item() == 4.0
    assert p.item() < 2.0


def test_a_copy_steps_like_the_original():
    start, gradients = problem()
    parameters = tensors(start)
    optimizer = Lamb(parameters, lr=0.01)
    apply(optimizer, parameters, gradients[0])
    other, twin = copy.deepcopy((optimizer, parameters))
    apply(optimizer, parameters, gradients[1])
    apply(other, twin, gradients[1])
    assert torch.equal(parameters[0], twin[0])


@pytest.mark.parametrize(
    "options", [{"lr": -1.0}, {"eps": -1.0}, {"weight_decay": float("nan")}, {"betas": (1.0, 0.9)}]
)
def test_impossible_numbers_are_refused(options):
    with pytest.raises(ConfigError, match="must"):
        Lamb([torch.zeros(1, requires_grad=True)], **options)
