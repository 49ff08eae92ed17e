"""The embedded surrogate against a genuine, stored evaluation of NRHybSur3dq8."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_gw.evaluation.overlap import overlap
from hpc_gw.waveforms.surrogate import SurrogateEngine

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "nrhybsur3dq8_q1_nonspinning.npz"


@pytest.fixture(scope="module")
def sample():
    """Times [M] and h22 of the stored waveform; the file says where it comes from."""
    with np.load(SAMPLE) as file:
        h22 = torch.from_numpy(file["h22"]).to(torch.complex128)
        times = file["t0"] + file["dt"] * np.arange(len(h22))
    return times, h22


def overlap_with(sample, surrogate, point):
    times, h22 = sample
    ours = SurrogateEngine(surrogate, times).h22_double(np.array([point]))
    return float(overlap(h22[None], ours).overlap)


def test_it_overlaps_with_the_embedded_surrogate(sample, surrogate):
    # 0.99999 was measured: SEOBNRv5HM against the hybrid of NR and post-Newtonian theory
    assert overlap_with(sample, surrogate, (1, 0, 0)) >= 0.9999


def test_another_spin_is_told_from_it(sample, surrogate):
    assert overlap_with(sample, surrogate, (1, 0.01, 0)) < 0.9995
