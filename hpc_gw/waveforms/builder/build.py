"""Build a surrogate file: waveforms, fits, held-out mismatches, file and recipe.

A build that was killed goes on: finished waveforms stay in ``OUTPUT/waveforms``.
Two builds are not equal bit by bit: the attachment time of SEOBNRv5HM jitters between
machines, by 1e-3 to 1e-2 rad at the merger. The file is shipped with its recipe and checksum.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

import hpc_gw
from hpc_gw.constants import DT, N_TIMES, Q_MAX, Q_MIN, SPIN_MAX, T_MIN
from hpc_gw.errors import ParameterError
from hpc_gw.files import make_folder, write_json
from hpc_gw.provenance import recipe
from hpc_gw.waveforms.builder import fit, seobnr
from hpc_gw.waveforms.builder.design import TRAINING_BOX, held_out_points, training_points
from hpc_gw.waveforms.builder.heldout import mismatches
from hpc_gw.waveforms.pyseobnr_h22 import SETTINGS
from hpc_gw.waveforms.surrogate_file import SurrogateData, write_surrogate

NAME = "NRHybSur3dq8_embedded"
"""Stem of the two files that a build writes."""

MODEL = "SEOBNRv5HM (effective one body), not numerical relativity"
"""What the file is trained on, as its metadata say."""

_PACKAGES = ("pyseobnr", "lalsuite", "scikit-learn")


def build_surrogate(
    output: Path,
    *,
    points: int,
    held_out: int,
    phase_nodes: int,
    amplitude_nodes: int,
    seed: int,
    workers: int,
) -> dict[str, Any]:
    """Train a surrogate of NRHybSur3dq8's form on SEOBNRv5HM, and judge it.

    Args:
        output: folder of the file, its recipe, and ``waveforms/`` (about 2 MB a held-out point).
        points: training points.
        held_out: random points that the mismatches are taken at.
        phase_nodes, amplitude_nodes: empirical interpolation nodes of each data piece.
        seed: of the training points, the held-out points and the fits.
        workers: processes that compute waveforms.

    Returns:
        The recipe, as published in ``NRHybSur3dq8_embedded.json`` beside the ``.h5``.

    Raises:
        ParameterError: a number that no surrogate can be built from.
        MissingDependencyError: pyseobnr or scikit-learn is not installed.
        StorageError: the output cannot be written.
    """
    settings = {
        "points": points,
        "held_out": held_out,
        "phase_nodes": phase_nodes,
        "amplitude_nodes": amplitude_nodes,
        "seed": seed,
    }
    _check(settings, workers)
    for module, package in (("pyseobnr", "pyseobnr"), ("sklearn", "scikit-learn")):
        seobnr.require(module, package)
    cache = make_folder(output) / "waveforms"

    data = fit_surrogate(
        cache,
        points=points,
        phase_nodes=phase_nodes,
        amplitude_nodes=amplitude_nodes,
        seed=seed,
        workers=workers,
    )
    checked = held_out_points(held_out, seed)
    times = T_MIN + DT * np.arange(N_TIMES)
    files = seobnr.cached_waveforms(checked, times, cache, workers=workers, label="held out")
    found = mismatches(data, checked, times, map(seobnr.read_waveform, files))

    file = output / f"{NAME}.h5"
    checksum = write_surrogate(
        file,
        data,
        attributes={
            "trained_on": MODEL,
            "form": "NRHybSur3dq8 (arXiv:1812.07865)",
            "training_points": points,
            "seed": seed,
            "hpc_gw": hpc_gw.__version__,
        },
    )
    record = _record(
        settings,
        data,
        checksum=checksum,
        size=file.stat().st_size,
        checked=checked,
        found=found,
    )
    write_json(output / f"{NAME}.json", record)
    return record


def fit_surrogate(
    cache: Path,
    *,
    points: int,
    phase_nodes: int,
    amplitude_nodes: int,
    seed: int,
    workers: int,
) -> SurrogateData:
    """Compute the training waveforms that ``cache`` lacks, and fit both data pieces."""
    parameters = training_points(points, seed)
    times, align_index = fit.sparse_times()
    files = seobnr.cached_waveforms(parameters, times, cache, workers=workers, label="training")
    amplitude, phase = (
        np.array(kind) for kind in zip(*map(seobnr.read_waveform, files), strict=True)
    )
    residual = fit.phase_residual(phase, parameters, times, align_index)
    inputs = fit.fit_variables(parameters)
    # the mismatch integrates squares over time, while the sparse times crowd at the merger
    weights = np.sqrt(np.gradient(times))
    return SurrogateData(
        name="NRHybSur3dq8",
        domain=times,
        align_index=align_index,
        t_ref=fit.T_REF,
        phase=fit.fit_data_piece(inputs, residual, phase_nodes, seed, weights),
        amplitude=fit.fit_data_piece(inputs, amplitude, amplitude_nodes, seed, weights),
        bounds=((Q_MIN, Q_MAX), (-SPIN_MAX, SPIN_MAX), (-SPIN_MAX, SPIN_MAX)),
    )


def _check(settings: dict[str, int], workers: int) -> None:
    nodes = max(settings["phase_nodes"], settings["amplitude_nodes"])
    rules = (
        (settings["points"] < max(nodes, 8), f"points must be >= {max(nodes, 8)}"),
        (settings["held_out"] < 1, "held_out must be >= 1"),
        (min(settings["phase_nodes"], settings["amplitude_nodes"]) < 1, "nodes must be >= 1"),
        (settings["seed"] < 0, "seed must be >= 0"),
        (workers < 1, "workers must be >= 1"),
    )
    for broken, rule in rules:
        if broken:
            raise ParameterError(f"surrogate build with {settings}, workers {workers}: {rule}")


def _record(
    settings: dict[str, int],
    data: SurrogateData,
    *,
    checksum: str,
    size: int,
    checked: np.ndarray,
    found: np.ndarray,
) -> dict[str, Any]:
    """The recipe: how the file was made, what it is, and how well it does."""
    record = recipe(config=settings)
    for package in _PACKAGES:
        record["versions"][package] = importlib.metadata.version(package)
    order = np.argsort(found)[::-1]
    return {
        "file": f"{NAME}.h5",
        "sha256": checksum,
        "bytes": size,
        "trained_on": MODEL,
        "form": "NRHybSur3dq8, Varma et al., arXiv:1812.07865",
        "seobnr_settings": SETTINGS,
        "training": {
            "points": settings["points"],
            "box": TRAINING_BOX,
            "sparse_times": len(data.domain),
            "span": [float(data.domain[0]), float(data.domain[-1])],
        },
        "held_out": {
            "points": len(found),
            "drawn": "uniform in q, s1, s2",
            "times": {"t_min": T_MIN, "dt": DT, "samples": N_TIMES},
            "measure": "1 - overlap, flat noise, maximised over time and phase",
            "median": float(np.median(found)),
            "p95": float(np.quantile(found, 0.95)),
            "max": float(found.max()),
            # from the worst to the best
            "q": checked[order, 0].tolist(),
            "s1": checked[order, 1].tolist(),
            "s2": checked[order, 2].tolist(),
            "mismatch": found[order].tolist(),
        },
        **record,
    }
