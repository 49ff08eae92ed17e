"""SEOBNRv5HM (2,2) waveforms for training and for held-out checks, kept in files."""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline
from tqdm import tqdm

from hpc_gw.errors import HpcGwError, MissingDependencyError
from hpc_gw.files import make_folder, published
from hpc_gw.waveforms.inspiral import DURATION, starting_frequency
from hpc_gw.waveforms.pyseobnr_h22 import SETTINGS, seob_h22


def require(module: str, package: str) -> Any:
    """Import a module that only the builder needs.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            package, "building a surrogate", 'pip install "hpc_gw[nr]"'
        ) from error


def waveform(parameters: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and unwrapped phase of h22 = A exp(-i phi) at ``times`` (M), float64 (T,).

    Raises:
        HpcGwError: the waveform is shorter than ``times``.
    """
    q, s1, s2 = (float(value) for value in parameters)
    t, h = seob_h22(q, s1, s2, starting_frequency(q, s1, s2))
    if t[0] > times[0] or t[-1] < times[-1]:
        raise HpcGwError(
            f"SEOBNRv5HM at (q, s1, s2) = ({q:g}, {s1:g}, {s2:g}) spans [{t[0]:.0f}, {t[-1]:.0f}] "
            f"M, not [{times[0]:.0f}, {times[-1]:.0f}] M: ask for fewer M or a longer DURATION"
        )
    pieces = CubicSpline(t, np.stack([np.abs(h), -np.unwrap(np.angle(h))], axis=1))(times)
    return pieces[:, 0], pieces[:, 1]


def cached_waveforms(
    parameters: np.ndarray, times: np.ndarray, folder: Path, *, workers: int, label: str
) -> list[Path]:
    """Compute the waveforms that ``folder`` does not hold yet, one file each.

    Each file is published when it is whole, so that a killed build goes on where it was.

    Args:
        parameters: float64 (B, 3), rows (q, s1, s2).
        times: float64 (T,), in M.
        workers: processes; 1 computes in this one.
        label: what the progress bar is called.

    Returns:
        The files, in the order of the rows; read them with ``read_waveform``.
    """
    make_folder(folder)
    files = [folder / f"{_key(row, times)}.npz" for row in parameters]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    tasks = [(parameters[i], times, files[i]) for i in missing]
    if tasks:
        require("pyseobnr", "pyseobnr")
    for _ in tqdm(_run(tasks, workers), total=len(tasks), desc=label, disable=not tasks):
        pass
    return files


def read_waveform(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and phase, float64 (T,) each, of a file of ``cached_waveforms``."""
    with np.load(file) as stored:
        return stored["amplitude"], stored["phase"]


def _run(tasks: list[tuple[np.ndarray, np.ndarray, Path]], workers: int) -> Iterator[None]:
    if workers <= 1 or len(tasks) <= 1:
        yield from map(_compute, tasks)
        return
    # fresh interpreters: forking one that holds threads (torch, OpenMP) can hang
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_compute, tasks, chunksize=4)


def _compute(task: tuple[np.ndarray, np.ndarray, Path]) -> None:
    parameters, times, file = task
    amplitude, phase = waveform(parameters, times)
    with published(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, amplitude=amplitude, phase=phase)


def _key(parameters: np.ndarray, times: np.ndarray) -> str:
    """Name of a waveform's file: parameters, times and settings, hashed."""
    digest = hashlib.sha256(json.dumps([SETTINGS, DURATION], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(parameters, dtype=np.float64).tobytes())
    digest.update(np.ascontiguousarray(times, dtype=np.float64).tobytes())
    return digest.hexdigest()[:24]
