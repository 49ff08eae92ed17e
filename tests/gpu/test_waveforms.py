"""The evaluator and the network on a GPU agree with the CPU; skipped where there is none."""

import numpy as np
import pytest
import torch

from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.models.presets import PRESETS
from hpc_gw.models.quadrature import QuadratureStem
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.training.mismatch import PhaseMismatch
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

POINTS = DrawsConfig(count=40).parameters(np.arange(40))


@pytest.mark.parametrize("grid", [TimeGrid(), TimeGrid(kind="chirp")], ids=["paper", "chirp"])
def test_waveforms_agree_with_the_cpu(surrogate, grid):
    there = SurrogateEngine(surrogate, grid.times(), "cuda")
    here = SurrogateEngine(surrogate, grid.times())
    assert there.h22(POINTS).device.type == "cuda"
    assert (there.h22(POINTS).cpu() - here.h22(POINTS)).abs().max() < 1e-6
    assert (there.h22_double(POINTS).cpu() - here.h22_double(POINTS)).abs().max() < 1e-9


def test_the_mismatch_agrees_with_the_cpu(surrogate):
    near = torch.tensor(np.clip(POINTS * 1.01, [1, -0.8, -0.8], [8, 0.8, 0.8]))
    truth = torch.tensor(POINTS)
    here = PhaseMismatch(surrogate, -10_000, 130)(near, truth)
    there = PhaseMismatch(surrogate, -10_000, 130, "cuda")(near.cuda(), truth.cuda())
    assert torch.allclose(there.cpu(), here, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", PRESETS)
def test_the_networks_agree_with_the_cpu(name, chirps):
    torch.manual_seed(0)
    network = WaveNet(PRESETS[name]).eval()
    inputs = torch.randn(2, network.cone)
    if isinstance(network.stem, QuadratureStem):
        network.stem.calibrate(chirps)
        inputs = chirps[:2]
    with torch.no_grad():
        here = network(inputs)
        there = network.cuda()(inputs.cuda()).cpu()
    assert torch.allclose(there, here, rtol=1e-3, atol=1e-3)
