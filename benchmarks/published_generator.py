"""The published way to make the training set, for comparison: gwsurrogate, one reduce, one writer.

    mpiexec -n 4 python benchmarks/published_generator.py waveforms.h5 [--rows N]

As the code of Khan, Huerta & Das (arXiv:2004.09524) does it: every rank evaluates its rows one by
one and puts them into an array of zeros for *all* rows; a reduce sums these arrays on rank 0,
which alone writes one contiguous file. Nothing is on disk before everything is computed.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mpi4py import MPI

from hpc_gw.manifold.populations import DrawsConfig, Population
from hpc_gw.waveforms.engines import surrogate_path
from hpc_gw.waveforms.gwsurrogate_engine import import_gwsurrogate
from hpc_gw.waveforms.timegrid import TimeGrid


def load_gwsurrogate() -> Any:
    """gwsurrogate's model, from the file that ``hpc_gw`` would use."""
    return import_gwsurrogate().surrogate.NRHybSur3dq8(os.fspath(surrogate_path()))


def publish(path: Path, population: Population, surrogate: Any, communicator: Any) -> None:
    """Write Re h22, float64 (N, T), and (q, s1, s2), float64 (N, 3); safely on disk at the end."""
    times, rank, size = TimeGrid().times(), communicator.Get_rank(), communicator.Get_size()
    own = np.zeros((population.size, times.size))
    for row in range(rank, population.size, size):
        own[row] = h22(surrogate, population.parameters(np.array([row]))[0], times).real
    whole = np.empty_like(own) if rank == 0 else None
    communicator.Reduce(own, whole, op=MPI.SUM, root=0)
    if rank == 0:
        with h5py.File(path, "w") as file:
            file["data"] = whole
            file["labels"] = population.parameters(np.arange(population.size))
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    communicator.Barrier()


def h22(surrogate: Any, point: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Complex h22 (T,) of one point (q, s1, s2)."""
    q, s1, s2 = point
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # soft limits of the spins
        _, modes, _ = surrogate(q, [0, 0, s1], [0, 0, s2], times=times, f_low=0, mode_list=[(2, 2)])
    return np.asarray(modes[(2, 2)])


def main() -> None:
    """Write random rows, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=256)
    arguments = parser.parse_args()
    surrogate = load_gwsurrogate()
    MPI.COMM_WORLD.Barrier()
    start = time.perf_counter()
    publish(arguments.file, DrawsConfig(count=arguments.rows, seed=1), surrogate, MPI.COMM_WORLD)
    if MPI.COMM_WORLD.Get_rank() == 0:
        seconds = time.perf_counter() - start
        print(f"{arguments.rows} waveforms, {arguments.rows / seconds:.1f} a second")


if __name__ == "__main__":
    main()
