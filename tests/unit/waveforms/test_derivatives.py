"""The surrogate's closed-form derivatives against autograd, finite differences and the engine."""

import numpy as np
import pytest
import torch

from hpc_gw.errors import ParameterError
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.derivatives import SurrogateTangents, fit_jacobian
from hpc_gw.waveforms.surrogate import SurrogateEngine, _fit_variables
from hpc_gw.waveforms.timegrid import TimeGrid

TIMES = TimeGrid(kind="chirp", t_max=110.0, samples=60).times()
POINTS = np.vstack(
    [
        [[1.0, 0.3, 0.3], [1.0, -0.8, 0.8], [8.0, 0.8, -0.8], [1.001, 0.8, 0.8]],
        DrawsConfig(count=6, seed=2).parameters(np.arange(6)),
    ]
)


@pytest.fixture(scope="module")
def tangents(surrogate):
    return SurrogateTangents(surrogate, TIMES)


@pytest.fixture(scope="module")
def engine(surrogate):
    return SurrogateEngine(surrogate, TIMES)


def test_values_equal_the_engines(tangents, engine):
    found = tangents(POINTS)
    amplitude, phase = engine.amplitude_phase(POINTS)
    assert (found.amplitude - amplitude).abs().max() < 1e-13
    assert (found.phase - phase).abs().max() < 1e-10


@pytest.mark.parametrize("which", ["amplitude", "phase"])
def test_derivatives_by_parameters_equal_autograd(tangents, engine, which):
    rows = torch.from_numpy(POINTS).requires_grad_()
    values = engine.amplitude_phase(rows)[which == "phase"]
    found = getattr(tangents(POINTS), f"d_{which}")
    for j in (0, 17, 40, 59):
        (expected,) = torch.autograd.grad(values[:, j].sum(), rows, retain_graph=True)
        scale = found[:, :3, :].abs().amax((0, 2))
        assert ((found[:, :3, j] - expected).abs() < 1e-10 * scale).all()


def test_the_derivative_by_time_equals_differences_of_the_engine(surrogate, tangents):
    step = 0.01
    found = tangents(POINTS)
    later, earlier = (
        SurrogateEngine(surrogate, TIMES + shift, phase_zero=TIMES[0] - step).amplitude_phase(
            POINTS
        )
        for shift in (step, -step)
    )
    for exact, a, b in zip((found.d_amplitude, found.d_phase), later, earlier, strict=True):
        slope = (a - b) / (2 * step)
        # the spline's third derivative times step^2 / 6; measured 3e-7
        assert (exact[:, 3] - slope).abs().max() < 2e-6


@pytest.mark.parametrize("shift", [0.3, -0.49, 0.51, 7.5, -23.2])
def test_a_shifted_waveform_is_the_engine_at_shifted_times(surrogate, tangents, shift):
    tau = torch.full((len(POINTS),), shift, dtype=torch.float64)
    found = tangents(POINTS, tau)
    engine = SurrogateEngine(surrogate, TIMES + shift, phase_zero=TIMES[0] - 30)
    amplitude, phase = engine.amplitude_phase(POINTS)
    assert (found.amplitude - amplitude).abs().max() < 1e-6
    # phi_c aside; across the spline's knots the Taylor series errs: measured 5e-7 rad
    difference = found.phase - phase
    assert (difference - difference[:, 30:31]).abs().max() < 2e-6


def test_rows_with_different_shifts_do_not_mix(tangents):
    tau = torch.linspace(-3, 3, len(POINTS), dtype=torch.float64)
    together = tangents(POINTS, tau)
    for k in range(len(POINTS)):
        alone = tangents(POINTS[k : k + 1], tau[k : k + 1])
        for one, all_of_them in zip(alone, together, strict=True):
            assert torch.allclose(one[0], all_of_them[k], rtol=1e-12, atol=1e-9)


def test_the_fit_variables_jacobian_equals_autograd():
    rows = torch.from_numpy(POINTS)
    expected = torch.autograd.functional.jacobian(lambda x: _fit_variables(x).sum(0), rows)
    assert torch.allclose(fit_jacobian(rows), expected.transpose(0, 1), rtol=1e-12, atol=1e-14)


def test_points_and_times_outside_the_domain_are_refused(surrogate, tangents):
    with pytest.raises(ParameterError, match="covers q"):
        tangents(np.array([[9.0, 0.0, 0.0]]))
    with pytest.raises(ParameterError, match="covers"):
        SurrogateTangents(surrogate, np.array([-20_000.0, 0.0]))
