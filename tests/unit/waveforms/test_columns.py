"""Waveforms from files: what is mended, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from hpc_gw.errors import DataError
from hpc_gw.waveforms.columns import columns_of, onto_grid, peak_time
from hpc_gw.waveforms.readers import read_waveform
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.timegrid import TimeGrid
from tests.unit.waveforms.nr_files import eccentric

TIMES = np.arange(-10400.0, 135.0, 0.5)
GRID = TimeGrid(kind="chirp").times()


@pytest.fixture(scope="module")
def engine(surrogate):
    return SurrogateEngine(surrogate, TIMES)


@pytest.fixture(scope="module")
def h22(engine):
    return engine.h22_double(np.array([[3.0, 0.3, -0.2]]))[0].numpy()


@pytest.fixture
def file(tmp_path):
    def write(times, values, name="h.npz"):
        path = tmp_path / name
        if path.suffix == ".npz":
            np.savez(path, t=times, h22=values)
        else:
            parts = [values.real, values.imag] if np.iscomplexobj(values) else [values]
            np.savetxt(path, np.column_stack([times, *parts]), header="t Re Im")
        return path

    return write


def test_a_waveform_of_the_engine_comes_out_as_the_engine_makes_it(file, h22, surrogate):
    """Against the engine on the grid itself: the phase is 0 there, and its own t = 0 is kept."""
    columns = read_waveform(file(TIMES, h22))
    found, notes = onto_grid(columns, GRID, peak=peak_time(TIMES, h22))
    wanted = SurrogateEngine(surrogate, GRID).h22_double(np.array([[3.0, 0.3, -0.2]]))[0].numpy()
    assert np.abs(found - wanted).max() < 1e-5  # the spline; 2e-6 measured
    assert notes == ()


def test_time_phase_and_sign_do_not_matter(file, h22):
    plain, _ = onto_grid(read_waveform(file(TIMES, h22)), GRID)
    moved = h22.conj() * np.exp(1.3j)
    found, notes = onto_grid(read_waveform(file(TIMES + 777.7, moved, "m.txt")), GRID)
    assert np.abs(found - plain).max() < 1e-6
    assert any("conjugate" in note for note in notes)
    assert abs(found[0].imag) < 1e-12 < found[0].real


def test_a_missing_start_is_continued_on_request(file, h22):
    """1e-4 rad at -10000 M was measured over seven corners, for waveforms cut at -6100 M."""
    late = TIMES >= -6100
    columns = read_waveform(file(TIMES[late], h22[late]))
    with pytest.raises(DataError, match=r"\[-10000, -6100.* is missing .*--extend"):
        onto_grid(columns, GRID)
    whole, _ = onto_grid(read_waveform(file(TIMES, h22)), GRID)
    found, notes = onto_grid(columns, GRID, extend=True)
    assert np.abs(found - whole).max() < 1e-3 * np.abs(whole).max()
    assert any("continued" in note for note in notes)
    short = TIMES >= -2000
    with pytest.raises(DataError, match=r"give a longer waveform \(--extend needs 2500 M\)$"):
        onto_grid(read_waveform(file(TIMES[short], h22[short])), GRID, extend=True)


@pytest.mark.parametrize(("eccentricity", "rad"), [(0.0, 0.01), (1e-4, 0.03), (1e-3, 0.1)], ids=str)
def test_a_short_waveform_is_continued_in_spite_of_its_eccentricity(file, h22, eccentricity, rad):
    """From -3000 M. Over eight corners at most 0.009, 0.09 and 0.09 rad at -10000 M were measured,
    here 0.003, 0.02 and 0.07; a fit without the wobble is 0.3 rad off at 1e-3, and one with all its
    powers 20 rad."""
    wobbling = eccentric(TIMES, h22, eccentricity, at=-3000)
    late = TIMES >= -3000
    found, _ = onto_grid(read_waveform(file(TIMES[late], wobbling[late])), GRID, extend=True)
    whole, _ = onto_grid(read_waveform(file(TIMES, h22)), GRID)
    place = np.searchsorted(GRID, -2990.0)  # both phases are 0 at the grid's start
    assert abs(np.angle(found[place] * whole[place].conj())) < rad + 4 * eccentricity


def test_psi4_and_a_wrong_mass_are_seen(file, h22):
    """Amplitude and frequency of the inspiral are of one another."""
    steps = np.gradient(-np.unwrap(np.angle(h22)), TIMES)
    with pytest.raises(DataError, match=r"says eta = 0.00.*Psi4"):
        read_waveform(file(TIMES, steps**2 * h22 * 3))
    with pytest.raises(DataError, match="another mass or distance"):
        read_waveform(file(TIMES, 2 * h22))


def test_a_ringdown_that_is_over_ends_in_zeros(file, h22):
    early = TIMES <= 100
    found, notes = onto_grid(read_waveform(file(TIMES[early], h22[early])), GRID)
    assert (found[GRID > 101] == 0).all() and any("zeros" in note for note in notes)
    cut = TIMES <= 40
    with pytest.raises(DataError, match=r"\[39.9, 130\] M after its peak is missing"):
        onto_grid(read_waveform(file(TIMES[cut], h22[cut])), GRID)


def test_a_noisy_file_of_just_the_span_is_read_though_its_peak_is_found_beside(file, h22):
    """At SNR 1000 that is 0.4 M in the median: noise at the end is no ringdown cut short."""
    rng = np.random.default_rng(1)
    span = (GRID[0] - 3 <= TIMES) & (GRID[-1] >= TIMES)
    sigma = np.sqrt(np.sum(h22[span].real ** 2) / 2) / 300
    noise = sigma * (rng.standard_normal((2, span.sum())) * np.array([[1], [1j]])).sum(0)
    late = peak_time(TIMES, h22) + np.array([0.7, -0.7])  # found that much too late, or early
    for at in late:
        columns = columns_of(TIMES[span], h22[span] + noise, "noisy")
        moved = replace(columns, times=TIMES[span] - at)
        found, _ = onto_grid(moved, GRID)
        assert np.isfinite(found).all()


def test_a_real_waveform_is_completed_and_said_to_be(file, h22):
    columns = read_waveform(file(TIMES, h22.real, "r.txt"))
    found, notes = onto_grid(columns, GRID)
    whole, _ = onto_grid(read_waveform(file(TIMES, h22)), GRID)
    assert any("approximate" in note for note in notes)
    product = abs(np.vdot(found, whole)) / np.linalg.norm(found) / np.linalg.norm(whole)
    assert product > 0.98  # its peak is known to 0.8 M


def test_the_peak_is_found_between_samples():
    times = np.arange(-100.0, 100.0, 0.5)
    at = 0.123
    amplitude = 0.4 / np.cosh((times - at) / 20)
    assert abs(peak_time(times, amplitude * np.exp(-0.4j * times)) - at) < 1e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, h: (t, np.where(t == 0, np.nan, h)), "1 of 21070 samples are not finite"),
        (lambda t, h: (t[::-1], h), "do not increase"),
        (lambda t, h: (t, h * 1e-21), "scale it to r h / M"),
        (lambda t, h: (t[:7], h[:7]), "at least 16"),
        (lambda t, h: (t[::20], h[::20]), "sample it more finely"),
        (lambda t, h: (t[:-1], h), "one length"),
    ],
)
def test_what_cannot_be_mended_is_refused(file, h22, change, words):
    with pytest.raises(DataError, match=words):
        read_waveform(file(*change(TIMES, h22)))


def test_other_files_are_refused(tmp_path):
    for name, content, words in [
        ("a.txt", b"1 2 3 4\n", "4 columns"),
        ("b.txt", b"", "columns"),
        ("c.txt", b"\x89PNG\xff\x00", "not readable as a waveform"),
        ("d.txt", b"1 2 x\n", "not readable as a waveform"),
        ("e.npz", b"PK nothing", "not readable as a waveform"),
        ("f.npz", b"", "columns"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            read_waveform(tmp_path / name)
    np.savez(tmp_path / "g.npz", x=np.arange(3))
    with pytest.raises(DataError, match="holds x; need h22"):
        read_waveform(tmp_path / "g.npz")
    with pytest.raises(DataError, match="no such file"):
        read_waveform(tmp_path / "nowhere.txt")
