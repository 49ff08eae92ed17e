"""The HDF5 layout of NRHybSur3dq8's (2,2) mode, both ways: the only file that knows it.

The genuine file (Zenodo record 3348115) and the embedded one are read by the same code, and
gwsurrogate reads what is written here.

Phase convention of the layout: h22 = A exp(-i phi),
phi(t) = sum_j node_j basis_j(t) + eta^(-3/8) (F(t) - F(t_align)),
F(t) = -2 ((t_ref - t)/5)^(5/8), so phi(t_align) = 0.

Reference: Varma et al., Phys. Rev. D 99, 064045 (2019), arXiv:1812.07865.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_gw.errors import SurrogateError
from hpc_gw.files import published, sha256

_MODES = ((3, 2), (4, 4), (3, 3), (3, 0), (3, 1), (2, 1), (2, 0), (4, 3), (2, 2), (4, 2), (5, 5))
_OBJECT = {"_h5_data_keys": "NONE_TYPE"}
_PACKED_SIZE = 512
_LIBVER = ("v110", "v110")  # small groups, and any HDF5 from 1.10 on reads it
_NO_L = np.zeros((1, 1))  # the Cholesky factor: large, and only variances need it
_REMEDY = (
    "give a whole NRHybSur3dq8.h5 (gwsurrogate.catalog.pull('NRHybSur3dq8')), or no path at all "
    "for the embedded surrogate"
)


@dataclass(frozen=True, eq=False)
class GPFit:
    """One node: a Gaussian process on normalised residuals, plus a linear fit.

    For x = [ln q, chi_hat, (s1 - s2)/2]:
    value = (y_mean + y_std sum_i k(x, x_i) alpha_i) data_std + data_mean + coef.x + intercept,
    k(x, x') = constant exp(-|(x - x') / length_scale|^2 / 2).
    """

    x_train: np.ndarray  # float64 (n, 3); the same object in every fit that shares it
    alpha: np.ndarray  # float64 (n,)
    constant: float
    length_scale: np.ndarray  # float64 (3,)
    y_mean: float
    y_std: float
    data_mean: float
    data_std: float
    coef: np.ndarray  # float64 (3,)
    intercept: float
    noise: float = 0.0  # variance of the white kernel; it does not enter the mean


@dataclass(frozen=True, eq=False)
class DataPiece:
    """An amplitude or a phase: its values at the nodes times an interpolation basis."""

    ei_basis: np.ndarray  # float64 (n_nodes, nt)
    fits: tuple[GPFit, ...]  # n_nodes


@dataclass(frozen=True, eq=False)
class SurrogateData:
    """The (2,2) mode of a surrogate file."""

    name: str
    domain: np.ndarray  # sparse times, float64 (nt,), increasing, in M
    align_index: int  # of t_align in ``domain``
    t_ref: float  # reference time of the TaylorT3 term, in M
    phase: DataPiece
    amplitude: DataPiece
    bounds: tuple[tuple[float, float], ...]  # (min, max) of q, s1, s2
    checksum: str = ""  # SHA-256 of the file
    path: str = ""
    trained_on: str = ""  # root attribute; the genuine file has none: numerical relativity

    @property
    def label(self) -> str:
        """What a reader of a report calls it: the form, and what it was trained on."""
        return f"{self.name} form, trained on {self.trained_on}" if self.trained_on else self.name


def read_surrogate(path: str | os.PathLike[str]) -> SurrogateData:
    """Read the (2,2) mode of a file in NRHybSur3dq8's layout.

    Raises:
        SurrogateError: the file is missing, truncated, not HDF5 or of another layout.
    """
    file = Path(path)
    if not file.is_file():
        raise SurrogateError(f"{file}: no such surrogate file; {_REMEDY}")
    try:
        if not h5py.is_hdf5(file):
            raise SurrogateError(f"{file}: not an HDF5 file; {_REMEDY}")
        with h5py.File(file, "r") as root:
            return _surrogate(root, file)
    except (OSError, RuntimeError) as error:
        raise SurrogateError(f"{file}: damaged or truncated ({error}); {_REMEDY}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise SurrogateError(
            f"{file}: not of NRHybSur3dq8's layout ({error}); {_REMEDY}"
        ) from error


def write_surrogate(
    path: str | os.PathLike[str],
    data: SurrogateData,
    *,
    attributes: Mapping[str, str | int | float] | None = None,
) -> str:
    """Publish ``data`` in the genuine layout; arrays that fits share become hard links.

    Args:
        path: the file; replaced only when the new one is whole.
        data: its ``path`` and ``checksum`` are ignored.
        attributes: attributes of the root group, for the recipe; readers ignore them.

    Returns:
        SHA-256 of the file.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with published(path) as temporary, h5py.File(temporary, "w", libver=_LIBVER) as root:
        _write(root, _layout(data), {})
        root.attrs.update(attributes or {})
    return sha256(path)


def _surrogate(root: h5py.File, file: Path) -> SurrogateData:
    domain = _array(root, "domain")
    if domain.ndim != 1 or len(domain) < 2 or not (np.diff(domain) > 0).all():
        raise ValueError("domain is not an increasing time series")
    align_index = int(_number(root, "phaseAlignIdx"))
    if not 0 <= align_index < len(domain):
        raise ValueError(f"phaseAlignIdx {align_index} is outside the domain's {len(domain)} times")
    pieces = _mode22(_group(root, "sur_subs"))
    shared: dict[int, np.ndarray] = {}
    limits = [_group(root, f"param_space/_params/ITEM_{axis}") for axis in range(3)]
    return SurrogateData(
        name=_text(root, "name"),
        domain=domain,
        align_index=align_index,
        t_ref=_number(root, "TaylorT3_t_ref"),
        phase=_piece(_item(pieces, "phase"), len(domain), shared),
        amplitude=_piece(_item(pieces, "amp"), len(domain), shared),
        bounds=tuple((_number(axis, "min_val"), _number(axis, "max_val")) for axis in limits),
        checksum=sha256(file),
        path=str(file),
        trained_on=str(root.attrs.get("trained_on", "")),
    )


def _mode22(modes: h5py.Group) -> h5py.Group:
    """The (2,2) mode's pieces, wherever LIST_KEYS puts it."""
    keys = _group(modes, "LIST_KEYS")
    for key in keys:
        if [_number(keys[key], f"ITEM_{i}") for i in (0, 1)] == [2, 2]:
            return _group(modes, f"{key.removeprefix('TUPLE_')}/func_subs")
    raise KeyError("no (2,2) mode in sur_subs/LIST_KEYS")


def _item(pieces: h5py.Group, name: str) -> h5py.Group:
    keys = _group(pieces, "LIST_KEYS")
    for key in keys:
        if _text(keys, key) == name:
            return _group(pieces, key)
    raise KeyError(f"no '{name}' in {keys.name}")


def _piece(group: h5py.Group, times: int, shared: dict[int, np.ndarray]) -> DataPiece:
    basis = _array(group, "ei_basis")
    nodes = int(_number(group, "n_nodes"))
    if nodes < 1 or basis.shape != (nodes, times):
        raise ValueError(f"{group.name}/ei_basis is {basis.shape}, not {(nodes, times)}")
    prefix, suffix = "node_functions/ITEM_", "/node_function/DICT_fit_data"
    fits = tuple(_fit(_group(group, f"{prefix}{j}{suffix}"), shared) for j in range(nodes))
    return DataPiece(ei_basis=basis, fits=fits)


def _fit(group: h5py.Group, shared: dict[int, np.ndarray]) -> GPFit:
    """One node's fit. Older files lack ``_y_train_std`` (then 1), and keep scalars as (1,)."""
    linear, process = _group(group, "DICT_lin_reg_params"), _group(group, "DICT_GPR_params")
    kernel = _group(process, "DICT_kernel_")
    product = _group(kernel, "DICT_k1")
    names = [_text(kernel, "name"), _text(product, "name")]
    parts = [product["DICT_k1"], product["DICT_k2"], kernel["DICT_k2"]]
    names += [_text(part, "name") for part in parts]
    if names != ["Sum", "Product", "ConstantKernel", "RBF", "WhiteKernel"]:
        raise ValueError(f"{kernel.name} is not Sum(Product(ConstantKernel, RBF), WhiteKernel)")
    address = h5py.h5o.get_info(process["X_train_"].id).addr
    x_train = shared.setdefault(address, _array(process, "X_train_"))
    alpha = _array(process, "alpha_").ravel()
    if x_train.shape != (len(alpha), 3):
        raise ValueError(f"{process.name}/X_train_ is {x_train.shape}, not {(len(alpha), 3)}")
    return GPFit(
        x_train=x_train,
        alpha=alpha,
        constant=_number(parts[0], "constant_value"),
        length_scale=np.broadcast_to(_array(parts[1], "length_scale").ravel(), 3).copy(),
        y_mean=_number(process, "_y_train_mean"),
        y_std=_number(process, "_y_train_std") if "_y_train_std" in process else 1.0,
        data_mean=_number(group, "data_mean"),
        data_std=_number(group, "data_std"),
        coef=np.broadcast_to(_array(linear, "coef_").ravel(), 3).copy(),
        intercept=_number(linear, "intercept_"),
        noise=_number(parts[2], "noise_level"),
    )


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    found = parent.get(name)
    if not isinstance(found, h5py.Group):
        raise KeyError(f"no group {name} in {parent.name}")
    return found


def _value(parent: h5py.Group, name: str) -> Any:
    found = parent.get(name)
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"no dataset {name} in {parent.name}")
    return found[()]


def _array(parent: h5py.Group, name: str) -> np.ndarray:
    values = np.asarray(_value(parent, name), dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{parent.name}/{name} holds values that are not finite")
    return values


def _number(parent: h5py.Group, name: str) -> float:
    values = _array(parent, name)
    if values.size != 1:
        raise ValueError(f"{parent.name}/{name} holds {values.size} values, not one")
    return float(values.item())


def _text(parent: h5py.Group, name: str) -> str:
    value = _value(parent, name)
    return value.decode() if isinstance(value, bytes) else str(value)


def _write(group: h5py.Group, tree: Mapping[str, Any], written: dict[int, h5py.Dataset]) -> None:
    """Nested dicts to groups, everything else to datasets; an array met again is a hard link."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            _write(group.create_group(name), value, written)
        elif isinstance(value, np.ndarray) and id(value) in written:
            group[name] = written[id(value)]
        elif isinstance(value, np.ndarray):
            packed = {"chunks": value.shape, "compression": "gzip", "shuffle": True}
            options = packed if value.size > _PACKED_SIZE else {}
            written[id(value)] = group.create_dataset(name, data=value, **options)
        else:  # a str becomes a variable-length string, the only kind that gwsurrogate takes
            group[name] = value


def _layout(data: SurrogateData) -> dict[str, Any]:
    mode22 = _mode(2, 2)
    axes = zip(("q", "chi1z", "chi2z"), data.bounds, strict=True)
    pieces = {
        "LIST_KEYS": {"ITEM_0": "phase", "ITEM_1": "amp"},
        "ITEM_0": _piece_layout("phase", data.phase),
        "ITEM_1": _piece_layout("amp", data.amplitude),
    }
    parts = {
        "TUPLE_name": mode22,
        "combine_func": "identity",
        "LIST_sur_keys": {},
        "sur_subs": {"LIST_KEYS": {}},
        "LIST_func_keys": pieces["LIST_KEYS"],
        "func_subs": pieces,
    }
    return {
        "name": data.name,
        "domain": data.domain,
        "phaseAlignIdx": data.align_index,
        "TaylorT3_t_ref": data.t_ref,
        "combine_func": "identity",
        "mode_type": "identity",
        "LIST_mode_list": {"TUPLE_ITEM_0": mode22},
        "LIST_sur_keys": {"TUPLE_ITEM_0": mode22},
        "LIST_func_keys": {},
        "func_subs": {"LIST_KEYS": {}},
        "param_space": {
            "name": f"{data.name} parameters",
            "dim": 3,
            "_params": {f"ITEM_{i}": _axis(name, *ends) for i, (name, ends) in enumerate(axes)},
        },
        "sur_subs": {
            "LIST_KEYS": {f"TUPLE_ITEM_{k}": _mode(*mode) for k, mode in enumerate(_MODES)},
            f"ITEM_{_MODES.index((2, 2))}": parts,
        },
    }


def _mode(ell: int, m: int) -> dict[str, int]:
    return {"ITEM_0": ell, "ITEM_1": m}


def _axis(name: str, low: float, high: float) -> dict[str, Any]:
    tol = 1e-12 * (high - low)
    ends = {"min_val": low, "max_val": high, "tol_min": low + tol, "tol_max": high - tol}
    return {**_OBJECT, "LIST__h5_subordinate_keys": {}, "name": name, "tol": tol, **ends}


def _piece_layout(name: str, piece: DataPiece) -> dict[str, Any]:
    nodes = {
        f"ITEM_{j}": {
            **_OBJECT,
            "LIST__h5_subordinate_keys": {"ITEM_0": "node_function"},
            "name": f"{name} node {j}",
            "node_class": "NRHybSur3dq8Fit",
            "node_function": {"name": f"{name} node {j}", "DICT_fit_data": _fit_layout(fit)},
        }
        for j, fit in enumerate(piece.fits)
    }
    size = {"name": name, "n_nodes": len(piece.fits)}
    return {**size, "ei_basis": piece.ei_basis, "node_functions": nodes}


def _fit_layout(fit: GPFit) -> dict[str, Any]:
    constant = {"name": "ConstantKernel", "constant_value": fit.constant}
    rbf = {"name": "RBF", "length_scale": fit.length_scale}
    white = {"name": "WhiteKernel", "noise_level": fit.noise}
    product = {"name": "Product", "DICT_k1": constant, "DICT_k2": rbf}
    return {
        "fitType": "GPR",
        "data_mean": fit.data_mean,
        "data_std": fit.data_std,
        "DICT_lin_reg_params": {"coef_": fit.coef, "intercept_": fit.intercept},
        "DICT_GPR_params": {
            "X_train_": fit.x_train,
            "alpha_": fit.alpha,
            "L_": _NO_L,
            "_y_train_mean": fit.y_mean,
            "_y_train_std": fit.y_std,
            "DICT_kernel_": {"name": "Sum", "DICT_k1": product, "DICT_k2": white},
        },
    }
