"""The published network, against a forward pass written from its description in plain NumPy."""

import numpy as np
import pytest
import torch

from hpc_gw.models.config import cone, receptive_field
from hpc_gw.models.presets import model_config
from hpc_gw.models.wavenet import WaveNet

SAMPLES = 101_300
KEPT = 10_000


@pytest.fixture(scope="module")
def network():
    """khan2020 in float64 and evaluation mode, no parameter or statistic at its start value."""
    torch.manual_seed(0)
    model = WaveNet(model_config("khan2020")).double().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.3, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
        elif isinstance(module, torch.nn.Conv1d | torch.nn.Linear):
            torch.nn.init.normal_(module.bias, 0.0, 0.1)
    return model


@pytest.fixture(scope="module")
def waveform():
    rng = np.random.default_rng(1)
    t = np.arange(SAMPLES) * 0.1
    return 0.3 * np.cos(0.1 * t + 1e-6 * t**2) + 0.1 * rng.standard_normal(SAMPLES)


def relu(x):
    return np.maximum(x, 0.0)


def batchnorm(x, p, name, rows=slice(None)):
    """x (channels, time), with TensorFlow's epsilon."""
    scale = p[f"{name}.weight"][rows] / np.sqrt(p[f"{name}.running_var"][rows] + 1e-3)
    return (x - p[f"{name}.running_mean"][rows][:, None]) * scale[:, None] + p[f"{name}.bias"][
        rows
    ][:, None]


def pointwise(x, p, name):
    return p[f"{name}.weight"][:, :, 0] @ x + p[f"{name}.bias"][:, None]


def dilated(x, weight, bias, d):
    """Kernel 2: y[t] = w0 x[t - d//2] + w1 x[t - d//2 + d], x zero outside."""
    n = x.shape[1]
    left = d // 2
    padded = np.concatenate([np.zeros((len(x), left)), x, np.zeros((len(x), d - left))], axis=1)
    return weight[:, :, 0] @ padded[:, :n] + weight[:, :, 1] @ padded[:, d : d + n] + bias[:, None]


def published_forward(wave, p):
    """(T,) -> (q, s1, s2, sigma_eff, S_eff), one block after the other."""
    x, skips = wave[None, :], 0.0
    block = 0
    for _stack in range(2):
        for d in (1, 2, 4, 8, 16, 32, 64, 128):
            b = f"blocks.{block}"
            x = relu(batchnorm(pointwise(x, p, f"{b}.mix"), p, f"{b}.mix_norm"))
            w, c = p[f"{b}.gated.weight"], p[f"{b}.gated.bias"]
            first, last = slice(0, 32), slice(32, 64)
            f = batchnorm(dilated(x, w[first], c[first], d), p, f"{b}.gated_norm", first)
            g = batchnorm(dilated(x, w[last], c[last], d), p, f"{b}.gated_norm", last)
            z = np.tanh(f) / (1.0 + np.exp(-g))
            z = relu(batchnorm(pointwise(z, p, f"{b}.out"), p, f"{b}.out_norm"))
            x, skips = x + z, skips + z
            block += 1
    y = relu(batchnorm(pointwise(relu(skips), p, "root.1"), p, "root.2"))
    y = batchnorm(pointwise(y, p, "root.5"), p, "root.6")
    features = y[0, -KEPT:]
    answers = []
    for leaf in ("leaf_q", "leaf_spins"):
        hidden = relu(p[f"{leaf}.0.weight"] @ features + p[f"{leaf}.0.bias"])
        answers.append(p[f"{leaf}.2.weight"] @ hidden + p[f"{leaf}.2.bias"])
    return np.concatenate(answers)


def test_it_has_the_published_number_of_trainable_parameters(network):
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 10_295_576


def test_forward_equals_the_plain_numpy_forward(network, waveform):
    p = {name: value.numpy() for name, value in network.state_dict().items()}
    expected = published_forward(waveform, p)
    with torch.no_grad():
        got = network(torch.from_numpy(waveform)[None])[0].numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11)  # 4e-15 measured


def test_cone_crop_equals_the_full_length_forward(network, waveform):
    model = WaveNet(network.config).eval()  # float32, as deployed
    model.load_state_dict(network.state_dict())
    whole = torch.from_numpy(np.stack([waveform, waveform[::-1]])).float()
    with torch.no_grad():
        model.cone = SAMPLES  # it drops nothing by itself
        full = model(whole)
        model.cone = 10_254
        for samples in (10_254, 10_255, 20_001):
            torch.testing.assert_close(model(whole[:, -samples:]), full, rtol=0, atol=1e-5)


def test_one_sample_less_than_the_cone_would_change_the_outputs(network, waveform):
    x = torch.from_numpy(waveform[-10_254:])[None].clone()
    x.requires_grad_()
    network(x).sum().backward()
    assert x.grad[0, 0] != 0 and x.grad[0, -1] != 0


def test_receptive_field_and_cone_are_the_published_ones():
    config = model_config("khan2020")
    left, right = receptive_field(config)
    assert (left, right, left + right + 1) == (254, 256, 511)
    assert cone(config) == 10_254


def test_normalisation_has_tensorflows_epsilon_and_momentum(network):
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert len(norms) == 16 * 3 + 2
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def test_initial_weights_are_glorot_uniform_of_the_unfused_layers():
    torch.manual_seed(3)
    model = WaveNet(model_config("khan2020"))
    for weight, fan_in, fan_out in (
        (model.blocks[3].gated.weight, 2 * 16, 2 * 32),  # filter or gate alone: 32 outputs
        (model.blocks[3].out.weight, 32, 16),
        (model.leaf_q[0].weight, 10_000, 512),
    ):
        bound = np.sqrt(6 / (fan_in + fan_out))
        assert weight.abs().max() <= bound
        assert weight.abs().max() > 0.97 * bound
    biases = [m.bias for m in model.modules() if isinstance(m, torch.nn.Conv1d | torch.nn.Linear)]
    assert all(not bias.any() for bias in biases)
