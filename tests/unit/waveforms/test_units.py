"""Seconds and strain: what is scaled, what is asked for, and what is refused."""

import numpy as np
import pytest

from hpc_gw.errors import ConfigError, DataError
from hpc_gw.waveforms.readers import ReadOptions, read_waveform
from hpc_gw.waveforms.surrogate import SurrogateEngine

TIMES = np.arange(-10400.0, 135.0, 0.5)

# G = 6.6743e-11 m^3 / kg / s^2, c = 299792458 m / s and 1.98841e30 kg (CODATA 2018, IAU 2015).
SECOND = 6.6743e-11 * 1.98841e30 / 299792458.0**3
METRE = 6.6743e-11 * 1.98841e30 / 299792458.0**2
MEGAPARSEC = 3.0857e22


@pytest.fixture(scope="module")
def h22(surrogate):
    return SurrogateEngine(surrogate, TIMES).h22_double(np.array([[2.0, 0.1, 0.3]]))[0].numpy()


@pytest.fixture
def strain(h22, tmp_path):
    """60 solar masses at 400 Mpc."""
    path = tmp_path / "strain.npz"
    np.savez(path, t=1e9 + TIMES * 60 * SECOND, h22=h22 * 60 * METRE / (400 * MEGAPARSEC))
    return path


def test_seconds_and_strain_are_scaled(strain, h22):
    """To 1e-4: so well G and the Sun's mass are known apart, as above."""
    found = read_waveform(strain, ReadOptions(total_mass=60, distance=400))
    assert abs(np.ptp(found.times) / np.ptp(TIMES) - 1) < 1e-4
    assert np.abs(found.h22 - h22).max() < 1e-4 * np.abs(h22).max()
    assert "60 solar masses" in found.notes[0] and "400 Mpc" in found.notes[1]


def test_what_is_missing_is_asked_for(strain):
    with pytest.raises(DataError, match=r"looks like seconds; give --total-mass"):
        read_waveform(strain)
    with pytest.raises(DataError, match=r"looks like strain; give --distance"):
        read_waveform(strain, ReadOptions(total_mass=60))
    with pytest.raises(ConfigError, match="needs --total-mass"):
        ReadOptions(distance=400)
    for value in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="positive number of solar masses"):
            ReadOptions(total_mass=value)
    with pytest.raises(ConfigError, match=r"--order N5: choose from N4, N3, N2, outermost"):
        ReadOptions("N5")


@pytest.mark.parametrize(("mass", "distance"), [(60, 1000), (30, 200), (30, 800)])
def test_a_mass_or_distance_that_is_wrong_is_seen(strain, mass, distance):
    with pytest.raises(DataError, match=r"another mass or distance|scale it to r h"):
        read_waveform(strain, ReadOptions(total_mass=mass, distance=distance))


def test_times_in_seconds_with_geometric_values_need_no_distance(h22, tmp_path):
    np.savez(tmp_path / "h.npz", t=TIMES * 60 * SECOND, h22=h22)
    found = read_waveform(tmp_path / "h.npz", ReadOptions(total_mass=60))
    assert abs(np.ptp(found.times) / np.ptp(TIMES) - 1) < 1e-4


def test_a_short_geometric_waveform_is_not_taken_for_seconds(h22, tmp_path):
    late = TIMES > -400
    np.savez(tmp_path / "h.npz", t=TIMES[late], h22=h22[late])
    assert abs(read_waveform(tmp_path / "h.npz").times[0] + 399.5) < 1
