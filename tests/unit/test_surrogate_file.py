"""The surrogate file: written and read back, refused when damaged, and the embedded one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import hpc_gw.waveforms
from hpc_gw.errors import SurrogateError
from hpc_gw.files import sha256
from hpc_gw.waveforms.builder.heldout import evaluate, mismatch
from hpc_gw.waveforms.surrogate_file import (
    DataPiece,
    GPFit,
    SurrogateData,
    read_surrogate,
    write_surrogate,
)

FOLDER = Path(hpc_gw.waveforms.__file__).parent / "files"
EMBEDDED = FOLDER / "NRHybSur3dq8_embedded.h5"
RECIPE = FOLDER / "NRHybSur3dq8_embedded.json"
MODE22 = "sur_subs/ITEM_8"
FIT = f"{MODE22}/func_subs/ITEM_0/node_functions/ITEM_0/node_function/DICT_fit_data"

GENUINE = np.array(
    [  # t [M], |h22|, phase [rad] since t = -1000 M
        (-8000, 0.082707, -236.53487),
        (-6000, 0.088410, -182.17058),
        (-4000, 0.097055, -120.80659),
        (-2000, 0.113536, -46.94593),
        (-1000, 0.132557, 0.00000),
        (-500, 0.154898, 29.74620),
        (-200, 0.191181, 53.04112),
        (-100, 0.226282, 63.42090),
        (-50, 0.269153, 70.13853),
        (-20, 0.331110, 75.58598),
        (0, 0.393518, 81.13043),
        (10, 0.321783, 85.30234),
        (20, 0.169499, 90.39216),
    ]
)
"""The genuine NRHybSur3dq8 at q = 1 without spin, from a waveform stored in the public
repository vijayvarma392/gw_eccentricity (MIT): dataset h22_zeroecc of SXS_BBH_2305_22.h5."""


def tiny(seed: int = 0) -> SurrogateData:
    """A surrogate of random numbers: each array differs, the layout is whole."""
    random = np.random.default_rng(seed)
    x_train = random.normal(size=(5, 3))

    def piece(nodes: int) -> DataPiece:
        fits = tuple(
            GPFit(
                x_train,
                random.normal(size=5),
                *(2.0 + j, random.uniform(1, 2, 3)),
                *random.normal(size=4),
                random.normal(size=3),
                float(random.normal()),
                noise=1e-6,
            )
            for j in range(nodes)
        )
        return DataPiece(random.normal(size=(nodes, 9)), fits)

    bounds = ((1.0, 8.0), (-0.8, 0.8), (-0.7, 0.7))
    return SurrogateData("tiny", np.linspace(-40, 40, 9), 3, 1000.0, piece(2), piece(3), bounds)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_surrogate(tmp_path / "tiny.h5", tiny())
    return tmp_path / "tiny.h5"


def assert_equal(left: object, right: object) -> None:
    """Equal, field by field, down to the bits of every array."""
    if dataclasses.is_dataclass(left):
        for field in dataclasses.fields(left):
            if field.name not in {"path", "checksum"}:
                assert_equal(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_equal(*pair)
    else:
        np.testing.assert_array_equal(left, right)


def test_what_is_written_is_read_back_to_the_last_bit(written: Path) -> None:
    assert_equal(read_surrogate(written), tiny())


def test_the_comparison_of_round_trips_can_fail() -> None:
    with pytest.raises(AssertionError):
        assert_equal(tiny(0), tiny(1))


def test_a_file_knows_its_path_and_checksum(written: Path) -> None:
    data = read_surrogate(written)
    assert data.path == str(written)
    assert data.checksum == sha256(written)


def test_training_inputs_are_stored_and_loaded_once(written: Path) -> None:
    data = read_surrogate(written)
    assert len({id(fit.x_train) for fit in data.phase.fits + data.amplitude.fits}) == 1


def test_writing_twice_gives_the_same_file(tmp_path: Path) -> None:
    first = write_surrogate(tmp_path / "a.h5", tiny(), attributes={"seed": 1})
    assert first == write_surrogate(tmp_path / "b.h5", tiny(), attributes={"seed": 1})


def test_older_files_without_y_train_std_read_as_one(written: Path) -> None:
    with h5py.File(written, "r+") as root:
        del root[f"{FIT}/DICT_GPR_params/_y_train_std"]
    assert read_surrogate(written).phase.fits[0].y_std == 1.0


def test_scalars_kept_as_arrays_of_one_read_the_same(written: Path) -> None:
    with h5py.File(written, "r+") as root:
        for name in ("data_mean", "DICT_lin_reg_params/intercept_", "DICT_GPR_params/alpha_"):
            values = root[f"{FIT}/{name}"][()]
            del root[f"{FIT}/{name}"]
            root[f"{FIT}/{name}"] = np.reshape(values, (-1, 1) if np.ndim(values) else (1,))
    assert_equal(read_surrogate(written), tiny())


def test_the_mode_is_found_through_its_key_not_its_number(written: Path) -> None:
    with h5py.File(written, "r+") as root:
        root.move(MODE22, "sur_subs/ITEM_2")
        keys = root["sur_subs/LIST_KEYS"]
        keys.move("TUPLE_ITEM_8", "held")
        keys.move("TUPLE_ITEM_2", "TUPLE_ITEM_8")
        keys.move("held", "TUPLE_ITEM_2")
    assert_equal(read_surrogate(written), tiny())


def test_a_domain_may_begin_very_early(tmp_path: Path) -> None:
    early = dataclasses.replace(tiny(), domain=np.array([-5e8, *np.linspace(-40, 40, 8)]))
    write_surrogate(tmp_path / "early.h5", early)
    assert read_surrogate(tmp_path / "early.h5").domain[0] == -5e8


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "web page":
        path.write_text("<html>not found</html>")
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    elif how == "cut at the end":
        path.write_bytes(content[:-1])
    else:
        with h5py.File(path, "r+") as root:
            foreign_layout(root, how)


def foreign_layout(root: h5py.File, how: str) -> None:
    if how == "other layout":
        root.clear()
        root["h22"] = np.zeros(3)
    elif how == "no (2,2)":
        del root["sur_subs/LIST_KEYS/TUPLE_ITEM_8"]
    elif how == "no amplitude":
        del root[f"{MODE22}/func_subs/LIST_KEYS/ITEM_1"]
    elif how == "basis of another length":
        del root[f"{MODE22}/func_subs/ITEM_0/ei_basis"]
        root[f"{MODE22}/func_subs/ITEM_0/ei_basis"] = np.zeros((2, 4))
    elif how == "another kernel":
        del root[f"{FIT}/DICT_GPR_params/DICT_kernel_/name"]
        root[f"{FIT}/DICT_GPR_params/DICT_kernel_/name"] = "Matern"
    elif how == "not a number":
        root[f"{FIT}/data_mean"][()] = np.nan
    elif how == "text for a number":
        del root["TaylorT3_t_ref"]
        root["TaylorT3_t_ref"] = "soon"
    elif how == "times in disorder":
        root["domain"][:] = root["domain"][()][::-1]
    else:
        raise ValueError(how)


@pytest.mark.parametrize(
    "how",
    [
        "missing",
        "folder",
        "empty",
        "web page",
        "half",
        "cut at the end",
        "other layout",
        "no (2,2)",
        "no amplitude",
        "basis of another length",
        "another kernel",
        "not a number",
        "text for a number",
        "times in disorder",
    ],
)
def test_a_bad_file_is_one_line_with_path_and_remedy(written: Path, how: str) -> None:
    damage(written, how)
    with pytest.raises(SurrogateError) as caught:
        read_surrogate(written)
    message = str(caught.value)
    assert "\n" not in message
    assert str(written) in message
    assert "NRHybSur3dq8.h5" in message


def test_the_embedded_file_is_the_one_of_its_recipe() -> None:
    recipe = json.loads(RECIPE.read_text())
    assert recipe["sha256"] == sha256(EMBEDDED)
    assert recipe["bytes"] == EMBEDDED.stat().st_size


def test_the_embedded_file_is_at_most_a_megabyte() -> None:
    assert EMBEDDED.stat().st_size <= 1_000_000


def test_the_embedded_file_says_that_it_is_not_numerical_relativity() -> None:
    with h5py.File(EMBEDDED) as root:
        for text in (root.attrs["trained_on"], json.loads(RECIPE.read_text())["trained_on"]):
            assert "SEOBNRv5HM" in text
            assert "not numerical relativity" in text


def test_recorded_held_out_mismatches_meet_the_bars() -> None:
    recipe = json.loads(RECIPE.read_text())
    held_out = recipe["held_out"]
    found = np.array(held_out["mismatch"])
    assert recipe["training"]["points"] >= 400
    assert len(found) == held_out["points"] == len(held_out["q"]) >= 200
    assert np.isfinite(found).all()
    assert held_out["median"] == pytest.approx(np.median(found), rel=1e-12)
    assert held_out["max"] == found.max()
    assert held_out["median"] < 1e-6
    assert held_out["max"] < 2e-4


def test_the_embedded_surrogate_repeats_a_stored_nrhybsur3dq8_waveform() -> None:
    # differences were 0.2 % and 0.012 rad up to t = 0, where SEOBNRv5HM is not NRHybSur3dq8
    t, amplitude, phase = GENUINE.T
    h = evaluate(read_surrogate(EMBEDDED), np.array([1.0, 0.0, 0.0]), t)[0]
    np.testing.assert_allclose(np.abs(h), amplitude, rtol=0.01)
    since = np.angle(h / h[t == -1000] * np.exp(1j * phase))
    np.testing.assert_allclose(since, 0, atol=0.03)


@pytest.mark.parametrize("row", [(1, 0, 0), (4, 0, 0), (8, 0, 0), (3, 0.5, -0.5)])
def test_the_inspiral_has_the_post_newtonian_amplitude(row: tuple[float, ...]) -> None:
    # 1.5PN without spin terms, x^(5/2) and beyond left out: 1-2 % at x = 0.06
    t = -9000 + 0.1 * np.arange(-10, 11)
    h = evaluate(read_surrogate(EMBEDDED), np.array(row), t)[0]
    q = row[0]
    nu = q / (1 + q) ** 2
    omega = -np.gradient(np.unwrap(np.angle(h)), t)[10]
    x = (omega / 2) ** (2 / 3)
    series = 1 + x * (-107 / 42 + 55 * nu / 42) + 2 * np.pi * x**1.5
    assert np.abs(h[10]) == pytest.approx(8 * np.sqrt(np.pi / 5) * nu * x * series, rel=0.03)


def test_gwsurrogate_loads_the_embedded_file_and_agrees() -> None:
    surrogate = pytest.importorskip("gwsurrogate.surrogate").NRHybSur3dq8(str(EMBEDDED))
    t = -10_000 + 0.1 * np.arange(101_300)
    row = np.array([3.3, 0.4, -0.6])
    modes = surrogate(row[0], [0, 0, row[1]], [0, 0, row[2]], times=t, f_low=0)[1]
    ours = evaluate(read_surrogate(EMBEDDED), row, t)[0]
    # the splines start at different samples: 1e-7 in phase; both implementations are float64
    np.testing.assert_allclose(modes[(2, 2)], ours, atol=1e-6)
    assert np.abs(mismatch(modes[(2, 2)], ours)) < 1e-12
