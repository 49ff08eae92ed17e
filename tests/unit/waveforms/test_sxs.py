"""SXS files: what is cut, chosen, claimed and refused."""

import json

import h5py
import numpy as np
import pytest

from hpc_gw.errors import ConfigError, DataError
from hpc_gw.waveforms.readers import ReadOptions, read_waveform
from hpc_gw.waveforms.readers.hdf5 import read_hdf5
from hpc_gw.waveforms.surrogate import SurrogateEngine
from tests.unit.waveforms import nr_files
from tests.unit.waveforms.nr_files import POINT, TIMES, difference


@pytest.fixture(scope="module")
def h22(surrogate):
    return SurrogateEngine(surrogate, TIMES).h22_double(np.array([POINT]))[0].numpy()


@pytest.fixture(scope="module")
def plain(h22, tmp_path_factory):
    """What the waveform is when it is read without any of these formats."""
    path = tmp_path_factory.mktemp("plain") / "h.npz"
    np.savez(path, t=TIMES, h22=h22)
    return read_waveform(path)


def test_an_sxs_file_is_read_without_its_junk_radiation(tmp_path, h22, plain):
    path = nr_files.write_sxs(tmp_path / "rhOverM.h5", TIMES, h22)
    nr_files.write_metadata(tmp_path, relaxation_time=640.0)
    found = read_waveform(path)
    assert abs(found.times[0] - (plain.times[0] + 640.0)) < 1e-6
    assert difference(found, plain) < 1e-9
    assert any("t < 640 M, as metadata.txt says" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["txt", "json"])
def test_what_the_metadata_say_stands_beside(tmp_path, h22, kind):
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)
    nr_files.write_metadata(
        tmp_path,
        kind,
        reference_time=500.0,
        reference_mass1=0.75,
        reference_mass2=0.25,
        reference_dimensionless_spin1=[0.0, 1e-7, 0.4],
        reference_dimensionless_spin2=[0.0, 0.0, -0.2],
        reference_orbital_frequency=[0.0, 0.0, 0.0123],
        reference_eccentricity="<9.7e-05",
    )
    found = read_waveform(path)
    assert found.claims == pytest.approx({"q": 3.0, "s1": 0.4, "s2": -0.2})
    assert found.doubts == ()
    assert any("t < 500 M" in note for note in found.notes)


def test_the_heavier_body_comes_first_and_spins_are_along_the_orbits_axis(tmp_path, h22):
    """A run with its lighter body first, and its orbit seen from below."""
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)
    nr_files.write_metadata(
        tmp_path,
        reference_mass1=0.35,
        reference_mass2=1.05,
        reference_dimensionless_spin1=[0.0, 0.0, 0.2],
        reference_dimensionless_spin2=[0.0, 0.0, -0.4],
        reference_orbital_frequency=[0.0, 0.0, -0.0123],
    )
    found = read_waveform(path)
    assert found.claims == pytest.approx({"q": 3.0, "s1": 0.4, "s2": -0.2})
    assert any("masses that sum to 1.4000" in note for note in found.notes)


def test_precession_eccentricity_and_matter_are_doubted(tmp_path, h22):
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)
    nr_files.write_metadata(
        tmp_path,
        "json",
        object1="bh",
        object2="ns",
        reference_mass1=0.75,
        reference_mass2=0.25,
        reference_dimensionless_spin1=[0.3, 0.0, 0.4],
        reference_dimensionless_spin2=[0.0, 0.0, 0.0],
        reference_eccentricity=0.05,
    )
    doubts = " ".join(read_waveform(path).doubts)
    assert "0.300 in the orbital plane" in doubts and "0.05" in doubts and "'ns'" in doubts


def test_without_metadata_the_first_200_are_cut(tmp_path, h22, plain):
    found = read_waveform(nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22, start=-3.0))
    assert abs(found.times[0] - (plain.times[0] + 200.0)) < 1e-6
    assert any("first 200 M" in note for note in found.notes) and found.claims == {}


def test_the_order_is_chosen_and_the_next_best_is_taken_with_a_note(tmp_path, h22):
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)

    def phase(order):
        """The fixture turns each order by another angle."""
        series = read_hdf5(path, None, ReadOptions(order))
        return float(np.angle(np.vdot(h22[TIMES - TIMES[0] >= 200], series.values)))

    assert [phase(order) for order in ("N2", "N3", "N4", "outermost", None)] == pytest.approx(
        [0.0, 0.1, 0.2, 0.3, 0.2]
    )
    some = nr_files.write_sxs(
        tmp_path / "b.h5", TIMES, h22, orders=("Extrapolated_N2.dir", "Extrapolated_N3.dir")
    )
    assert any("no order N4: took N3" in note for note in read_waveform(some).notes)
    with pytest.raises(DataError, match=r"has no order N4; it has N3, N2"):
        read_waveform(some, ReadOptions("N4"))


def test_the_mode_at_the_top_of_a_file_is_read(tmp_path, h22, plain):
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22, orders=())
    assert difference(read_waveform(path), plain) < 1e-9
    with pytest.raises(ConfigError, match=r"--order N2.*without orders"):
        read_waveform(path, ReadOptions("N2"))


def test_damaged_sxs_files_are_refused(tmp_path, h22):
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)
    nr_files.write_metadata(tmp_path, relaxation_time=1e6)
    with pytest.raises(DataError, match=r"none are after the junk radiation, 1e\+06 M"):
        read_waveform(path)
    (tmp_path / "metadata.txt").unlink()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="get it anew"):
        read_waveform(cut)
    with h5py.File(path, "a") as file:
        for group in file.values():
            del group["Y_l2_m2.dat"]
    with pytest.raises(DataError, match=r"Y_l2_m2.dat in none of them"):
        read_waveform(path)
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file["Y_l2_m2.dat"] = np.zeros((100, 4))
    with pytest.raises(DataError, match=r"shape \(100, 4\)"):
        read_waveform(tmp_path / "wide.h5")


def test_metadata_that_cannot_be_read_count_as_none(tmp_path, h22):
    path = nr_files.write_sxs(tmp_path / "a.h5", TIMES, h22)
    (tmp_path / "metadata.json").write_text('{"reference_time": ')
    assert any("first 200 M" in note for note in read_waveform(path).notes)
    (tmp_path / "metadata.json").write_text(json.dumps({"relaxation_time": "[unknown]"}))
    assert any("first 200 M" in note for note in read_waveform(path).notes)


def test_the_compressed_sxs_format_is_named(tmp_path):
    with h5py.File(tmp_path / "Strain_N4.h5", "w") as file:
        file.attrs["sxs_format"] = "rotating_paired_diff_multishuffle_bzip2"
        file["data"] = np.zeros(100, dtype=np.uint8)
    with pytest.raises(DataError, match=r"package sxs reads.*as columns"):
        read_waveform(tmp_path / "Strain_N4.h5")
