"""Waveforms from the formats that catalogues use: what is read, and what is refused."""

import h5py
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

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


@pytest.fixture(scope="module")
def lvcnr(h22, tmp_path_factory):
    return nr_files.write_lvcnr(tmp_path_factory.mktemp("lvcnr") / "l.h5", TIMES, h22, POINT)


# LVCNR


def test_an_lvcnr_file_is_read_to_its_tolerance(lvcnr, h22, plain):
    series = read_hdf5(lvcnr, None, ReadOptions())
    assert np.abs(CubicSpline(TIMES, h22)(series.times) - series.values).max() < 1e-5
    found = read_waveform(lvcnr)
    assert found.claims == {"q": 3.0, "s1": 0.4, "s2": -0.2} and found.doubts == ()
    with h5py.File(lvcnr) as file:
        assert file["phase_l2_m2/X"].size < 300  # few knots, or it would prove nothing


def test_the_splines_are_those_of_romspline(lvcnr):
    romspline = pytest.importorskip("romspline")
    amplitude, phase = (romspline.readSpline(str(lvcnr), f"{k}_l2_m2") for k in ("amp", "phase"))
    series = read_hdf5(lvcnr, None, ReadOptions())
    theirs = amplitude(series.times) * np.exp(1j * phase(series.times))
    assert np.abs(series.values - theirs).max() < 1e-12


def test_lalsimulation_reads_the_same_waveform_and_its_strain_comes_back(tmp_path, h22, capfd):
    """In seconds and strain at 100 Mpc, face on, where h+ - i hx = sqrt(5 / 4 pi) h22.

    LALSimulation's splines are cubic, so the file has more knots; 1.7e-6 was measured.
    """
    lal, lalsimulation = pytest.importorskip("lal"), pytest.importorskip("lalsimulation")
    path = nr_files.write_lvcnr(
        tmp_path / "l.h5", TIMES, h22, POINT, tolerance=1e-8, Format=2, Lmax=2
    )
    with h5py.File(path, "a") as file:  # format 1 would need the data of a reduced-order model
        group = file.create_group("Omega-vs-time")
        group["X"] = TIMES[10:20000:20]
        group["Y"] = np.gradient(-np.unwrap(np.angle(h22)), TIMES)[10:20000:20] / 2
        lowest = float(file.attrs["f_lower_at_1MSUN"])
    mass, distance = 60.0, 100.0
    step = 0.25 * mass * lal.MTSUN_SI
    plus, cross = lalsimulation.SimInspiralNRWaveformGetHplusHcross(
        0.0, 0.0, step, 45 * lal.MSUN_SI, 15 * lal.MSUN_SI, distance * 1e6 * lal.PC_SI,
        lowest / mass * 1.00001, -1.0, 0.0, 0.0, 0.4, 0.0, 0.0, -0.2, str(path), None,
    )  # fmt: skip
    capfd.readouterr()  # it is loud about the modes that the file has not
    strain = (plus.data.data - 1j * cross.data.data) / np.sqrt(5 / (4 * np.pi))
    ours = read_hdf5(path, None, ReadOptions())
    table = np.column_stack([step * np.arange(strain.size), strain.real, strain.imag])
    np.save(tmp_path / "strain.npy", table)
    found = read_waveform(tmp_path / "strain.npy", ReadOptions(total_mass=mass, distance=distance))
    seen = found.times - found.times[0] + ours.times[0]
    inside = (seen > ours.times[0]) & (seen < ours.times[-1])
    wanted = CubicSpline(ours.times, ours.values)(seen[inside])
    product = np.vdot(found.h22[inside], wanted)
    assert abs(product + abs(product)) < 1e-6 * abs(product)  # their frame is turned by pi
    assert np.abs(found.h22[inside] + wanted).max() < 1e-5
    assert any("60 solar masses" in note for note in found.notes)


def test_in_plane_spins_and_eccentricity_are_doubted(tmp_path, h22):
    path = nr_files.write_lvcnr(tmp_path / "l.h5", TIMES, h22, POINT, spin2y=0.3, eccentricity=0.04)
    doubts = " ".join(read_waveform(path).doubts)
    assert "0.300 in the orbital plane" in doubts and "eccentricity of 0.04" in doubts


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.pop("phase_l2_m2"), "phase_l2_m2 has no such group"),
        (lambda f: f["amp_l2_m2"].pop("Y"), "amp_l2_m2 has X"),
        (lambda f: f["amp_l2_m2/X"].__setitem__(7, 1e6), "finite and increasing"),
        (lambda f: f["phase_l2_m2/Y"].__setitem__(7, np.nan), "finite and increasing"),
        (lambda f: f["phase_l2_m2/deg"].__setitem__((), 9), "degree 9"),
        (lambda f: f["amp_l2_m2/Y"].__setitem__(slice(None), f["amp_l2_m2/Y"][:] * 1e-20), "r h"),
        (lambda f: f["phase_l2_m2/X"].__setitem__(slice(None), f["phase_l2_m2/X"][:] + 1e6),
         "no times in common"),
    ],
)  # fmt: skip
def test_damaged_lvcnr_files_are_refused(tmp_path, lvcnr, change, words):
    path = tmp_path / "l.h5"
    path.write_bytes(lvcnr.read_bytes())
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DataError, match=words):
        read_waveform(path)


def test_an_lvcnr_file_without_attributes_makes_no_claims(tmp_path, lvcnr):
    path = tmp_path / "l.h5"
    path.write_bytes(lvcnr.read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["mass1"] = "unknown"
    found = read_waveform(path)
    assert found.claims == {} and found.doubts == ()


# HDF5 datasets, NumPy's files


def test_a_named_dataset_is_read(tmp_path, h22, plain):
    path = tmp_path / "d.h5"
    with h5py.File(path, "w") as file:
        file["run/columns"] = np.column_stack([TIMES, h22.real, h22.imag])
        file["h22_one"], file["t_one"] = h22, TIMES
        file["other/h22"], file["other/times"] = h22, TIMES
        file["uniform"] = h22
        file["uniform"].attrs.update({"t0": TIMES[0], "dt": 0.5})
        file["alone"] = h22[:-7]
    for name in ("run/columns", "h22_one", "other/h22", "uniform"):
        found = read_waveform(f"{path}:{name}")
        assert np.array_equal(found.h22, plain.h22), name
        assert np.array_equal(found.times, plain.times), name
    for name, words in (
        ("nothing", "no such dataset; the file has the datasets alone, h22_one"),
        ("run", "a group, not a dataset"),
        ("alone", "no times beside it"),
    ):
        with pytest.raises(DataError, match=words):
            read_waveform(f"{path}:{name}")
    with pytest.raises(DataError, match=r"name one, as .*d.h5:DATASET"):
        read_waveform(path)


def test_the_only_waveform_of_a_file_needs_no_name(tmp_path, h22, plain):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["h22"], file["t"] = h22, TIMES
    assert np.array_equal(read_waveform(tmp_path / "d.h5").h22, plain.h22)


def test_formats_are_told_by_their_content(tmp_path, h22, plain, lvcnr):
    table = np.column_stack([TIMES, h22.real, h22.imag])
    np.save(tmp_path / "a.npy", table)
    (tmp_path / "npy.txt").write_bytes((tmp_path / "a.npy").read_bytes())
    np.savez(tmp_path / "a.npz", t=TIMES, h22=h22)
    (tmp_path / "npz.dat").write_bytes((tmp_path / "a.npz").read_bytes())
    np.savetxt(tmp_path / "a.txt", table)
    (tmp_path / "text.h5").write_bytes((tmp_path / "a.txt").read_bytes())
    (tmp_path / "h5.txt").write_bytes(lvcnr.read_bytes())
    with h5py.File(tmp_path / "block.mat", "w", userblock_size=512) as file:
        file["h22"], file["t"] = h22, TIMES
    for name in ("npy.txt", "npz.dat", "text.h5", "block.mat"):
        assert difference(read_waveform(tmp_path / name), plain) < 1e-9, name
    assert read_waveform(tmp_path / "h5.txt").claims["q"] == 3.0


def test_h_plus_alone_in_a_npy_file_is_completed(tmp_path, h22):
    np.save(tmp_path / "a.npy", np.column_stack([TIMES, h22.real]))
    assert read_waveform(tmp_path / "a.npy").analytic


def test_other_arrays_and_names_are_refused(tmp_path, h22):
    np.save(tmp_path / "wide.npy", np.zeros((100, 5)))
    np.save(tmp_path / "complex.npy", h22)
    np.save(tmp_path / "cut.npy", np.zeros((100, 3)))
    content = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-50])
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object))
    for name, words in (
        ("wide.npy", "5 columns"),
        ("complex.npy", "need real columns"),
        ("cut.npy", "not readable as a waveform"),
        ("object.npy", "not readable as a waveform"),
        ("wide.npy:data", "no HDF5 file"),
        ("nowhere.h5:data", "no such file"),
        ("", "is a folder"),
    ):
        with pytest.raises(DataError, match=words):
            read_waveform(f"{tmp_path / name}" if name else tmp_path)
    with pytest.raises(ConfigError, match=r"--order N3.*as SXS files have"):
        read_waveform(tmp_path / "wide.npy", ReadOptions("N3"))


def test_damaged_bytes_are_one_error_and_no_other(tmp_path, h22, lvcnr):
    """Whatever is changed, a file is read or refused: 3,000 such files were tried once."""
    np.save(tmp_path / "a.npy", np.column_stack([TIMES, h22.real, h22.imag]))
    np.savez_compressed(tmp_path / "a.npz", t=TIMES, h22=h22)
    random, refused = np.random.default_rng(0), 0
    for source in (lvcnr, tmp_path / "a.npy", tmp_path / "a.npz"):
        whole = np.frombuffer(source.read_bytes(), dtype=np.uint8)
        for attempt in range(30):
            broken = whole.copy()
            places = random.integers(0, min(whole.size, 4000 if attempt % 2 else whole.size), 8)
            broken[places] = random.integers(0, 256, 8)
            end = whole.size if attempt % 3 else random.integers(0, whole.size)
            (tmp_path / "broken").write_bytes(broken[:end].tobytes())
            try:
                read_waveform(tmp_path / "broken")
            except DataError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 30
