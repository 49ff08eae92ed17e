"""Overlaps weighted by a detector's noise, against PyCBC and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_gw.constants import MTSUN_SI
from hpc_gw.errors import DataError, ParameterError
from hpc_gw.evaluation.noise import NoiseConfig, aligo, density, overlap_in_noise
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.waveforms.engines import EngineConfig, load_engine

ONE = np.array([[1.0, 0.0, 0.0], [3.0, 0.4, -0.2], [7.5, -0.6, 0.5]])
OTHER = ONE + np.array([[0.02, 0.01, 0.0], [-0.01, 0.02, 0.03], [0.05, 0.02, -0.1]])
ALIGO = NoiseConfig(curve="aligo", total_mass=60.0)
SIZE = 65_536
STEP = 10_129.9 / SIZE


@pytest.fixture(scope="module")
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    engine = load_engine(EngineConfig(file="embedded"), -10_000 + STEP * np.arange(SIZE))
    return engine.h22_double(ONE), engine.h22_double(OTHER)


def test_aligo_has_the_values_of_the_published_fit() -> None:
    """At f0 = 215 Hz the bracket is 111 * (1/2) / (3/2) = 37: S = 1e-49 * (1 - 5 + 37)."""
    assert aligo(np.array([215.0]))[0] == pytest.approx(33e-49)
    assert density(ALIGO, np.array([19.9]))[0] == np.inf


def test_noise_overlaps_equal_pycbcs_match_with_the_same_curve(pairs) -> None:
    pytest.importorskip("pycbc")
    from pycbc.filter import match  # noqa: PLC0415
    from pycbc.types import FrequencySeries  # noqa: PLC0415

    found = overlap_in_noise(*pairs, STEP, ALIGO).overlap
    n = 2 * SIZE  # the same frequencies as ours
    dt = STEP * ALIGO.total_mass * MTSUN_SI
    curve = density(ALIGO, np.arange(n // 2 + 1) / (n * dt))
    psd = FrequencySeries(np.where(np.isfinite(curve), curve, 1.0), delta_f=1 / (n * dt))
    t = np.arange(SIZE) * STEP
    fade = np.where(t < 1000, 0.5 - 0.5 * np.cos(np.pi * t / 1000), 1.0)
    for i in range(len(ONE)):
        spectra = [np.fft.fft(np.conj(h[i].numpy()) * fade, n)[: n // 2 + 1] * dt for h in pairs]
        value, _ = match(
            *(FrequencySeries(x, delta_f=1 / (n * dt)) for x in spectra),
            psd=psd,
            low_frequency_cutoff=ALIGO.f_low,
            subsample_interpolation=True,
        )
        assert found[i].item() == pytest.approx(value, abs=1e-6)  # 5e-8 seen


def test_coarse_times_hear_the_same(pairs) -> None:
    fine = overlap_in_noise(*pairs, STEP, ALIGO).overlap
    coarse = overlap_in_noise(*(h[:, ::8] for h in pairs), 8 * STEP, ALIGO).overlap
    assert (fine - coarse).abs().max() < 1e-6


def test_the_bound_grows_where_little_of_the_waveforms_is_heard(pairs) -> None:
    """At 2,000 solar masses 20 Hz lies above the ringdown: what is left is rounding."""
    heavy = NoiseConfig(curve="aligo", total_mass=2000.0)
    single = [h.to(torch.complex64) for h in pairs]
    fine = overlap_in_noise(*pairs, STEP, heavy).overlap
    coarse = overlap_in_noise(*(h[:, ::8] for h in single), 8 * STEP, heavy)
    assert ((coarse.overlap - fine).abs() <= coarse.bound).all()
    assert coarse.bound.max() > 1e-5
    assert overlap_in_noise(*single, STEP, ALIGO).bound.max() < 1e-5


def test_flat_noise_from_zero_is_the_plain_overlap(pairs) -> None:
    """Up to what the fade takes away at the start."""
    flat = NoiseConfig(curve="flat", f_low=1e-3)
    difference = overlap_in_noise(*pairs, STEP, flat).overlap - overlap(*pairs).overlap
    assert difference.abs().max() < 0.02


def test_a_table_of_the_curve_gives_its_overlaps(pairs, tmp_path: Path) -> None:
    f = np.geomspace(10, 5000, 2000)
    np.savetxt(tmp_path / "asd.txt", np.column_stack([f, np.sqrt(aligo(f))]))
    table = NoiseConfig(curve=str(tmp_path / "asd.txt"))
    one, other = (overlap_in_noise(*pairs, STEP, noise).overlap for noise in (ALIGO, table))
    assert (one - other).abs().max() < 1e-5


def test_heavier_binaries_lose_their_inspiral_below_f_low(pairs) -> None:
    light = overlap_in_noise(*pairs, STEP, NoiseConfig(curve="aligo", total_mass=30.0)).overlap
    heavy = overlap_in_noise(*pairs, STEP, NoiseConfig(curve="aligo", total_mass=200.0)).overlap
    assert (heavy[1:] > light[1:]).all()  # fewer cycles to lose phase over


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no table", "not readable"),
        ("30 1e-23\n40 1e-23\n", "begins at 30 Hz"),
        ("1 -2\n2 3\n", "positive"),
    ],
)
def test_a_bad_curve_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curve.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        density(NoiseConfig(curve=str(path)), np.array([50.0]))


def test_waveforms_that_end_below_f_low_are_refused(pairs) -> None:
    with pytest.raises(ParameterError, match="lower f_low"):
        overlap_in_noise(*pairs, STEP, NoiseConfig(f_low=1e6))


def test_a_value_that_is_not_finite_gives_nan_in_its_row_only(pairs) -> None:
    broken = pairs[0].clone()
    broken[1, 100] = np.nan
    found = overlap_in_noise(broken, pairs[1], STEP, ALIGO).overlap
    assert torch.isnan(found).tolist() == [False, True, False]
