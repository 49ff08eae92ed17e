"""Time of one h22 of 101,300 samples: ours, gwsurrogate and (if installed) jaxnrsur, in one run.

    python benchmarks/waveforms.py [--surrogate FILE] [--threads N] [--repeats N] [--json FILE]

Each engine evaluates the same 64 random points on the paper's grid, 16 at a time where it can.
The engines take turns, so that other load on the machine falls on all of them; the median over
the turns is reported, and how far each is from gwsurrogate (largest |difference of h22|).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

POINTS, BATCH = 64, 16


def main() -> None:
    """Measure, print a table, and write it as JSON where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surrogate", help="NRHybSur3dq8.h5; default: the embedded one")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={str(arguments.threads > 1).lower()}"

    points, engines, reference = _engines(arguments.surrogate, arguments.threads)
    turns: dict[str, list[float]] = {name: [] for name in engines}
    errors = {}
    for name, evaluate in engines.items():  # warm up, and compare
        few = points[:BATCH]
        errors[name] = float(np.abs(evaluate(few) - reference(few)).max())
    for _ in range(arguments.repeats):
        for name, evaluate in engines.items():
            start = time.perf_counter()
            for first in range(0, POINTS, BATCH):
                evaluate(points[first : first + BATCH])
            turns[name].append((time.perf_counter() - start) / len(points))
    _report(arguments, turns, errors)


def _engines(
    file: str | None, threads: int
) -> tuple[np.ndarray, dict[str, Callable[[np.ndarray], np.ndarray]], Callable[..., np.ndarray]]:
    import torch  # noqa: PLC0415

    from hpc_gw.allocator import keep_freed_memory  # noqa: PLC0415
    from hpc_gw.manifold.populations import DrawsConfig  # noqa: PLC0415
    from hpc_gw.waveforms.engines import surrogate_path  # noqa: PLC0415
    from hpc_gw.waveforms.gwsurrogate_engine import GwsurrogateEngine  # noqa: PLC0415
    from hpc_gw.waveforms.surrogate import SurrogateEngine  # noqa: PLC0415
    from hpc_gw.waveforms.surrogate_file import read_surrogate  # noqa: PLC0415
    from hpc_gw.waveforms.timegrid import TimeGrid  # noqa: PLC0415

    torch.set_num_threads(threads)
    keep_freed_memory()  # as the command hpc-gw does; for every engine here
    path, times = surrogate_path(file), TimeGrid().times()
    points = DrawsConfig(count=POINTS, seed=7).parameters(np.arange(POINTS))
    ours = SurrogateEngine(read_surrogate(path), times)
    peer = GwsurrogateEngine(path, times)
    out = torch.empty(BATCH, times.size, dtype=torch.complex64)
    engines: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "gwsurrogate": lambda p: peer.h22_double(p).numpy(),
        "hpc_gw, float64 path": lambda p: ours.h22_double(p).numpy(),
        "hpc_gw, fast path": lambda p: ours.h22(p).numpy(),
        "hpc_gw, fast path, memory reused": lambda p: ours.h22(p, out=out).numpy(),
    }
    jax_engine = _jaxnrsur(path, times)
    if jax_engine is not None:
        engines["jaxnrsur, vmapped"] = jax_engine
    return points, engines, engines["gwsurrogate"]


def _jaxnrsur(path: Path, times: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """jaxnrsur's h22, vmapped, or None where it is not installed.

    Its 1.0.0 hands (q, s1, s2) to the fits as they are. They want (ln q, chi_hat, chi_a):
    its ``get_22_mode`` is repeated here with these, from its own parts.
    """
    try:
        warnings.simplefilter("ignore")
        import h5py  # noqa: PLC0415
        import jax  # noqa: PLC0415
        import jax.numpy as jnp  # noqa: PLC0415
        import jaxnrsur.NRHybSur3dq8 as peer  # noqa: PLC0415, N813
        from jaxnrsur.Spline import CubicSpline  # noqa: PLC0415
    except ImportError:
        return None
    settings: Any = jax.config  # untyped, where it is installed
    settings.update("jax_enable_x64", True)
    peer.load_data = lambda _url, _name: h5py.File(path)  # the file at hand, not a download
    model = peer.NRHybSur3dq8Model(modelist=[(2, 2)])
    knots, grid, mode = model.data.sur_time, jnp.asarray(times), model.data.modes[0]

    def h22(point: jax.Array) -> jax.Array:
        q, s1, s2 = point
        nu = q / (1 + q) ** 2
        weighted = (q * s1 + s2) / (1 + q)
        chi_hat = (weighted - 38 * nu / 113 * (s1 + s2)) / (1 - 76 * nu / 113)
        mapped = jnp.array([[jnp.log(q), chi_hat, (s1 - s2) / 2]])
        amplitude = model.get_eim(mode["amp"], mapped)
        phase = peer.get_T3_phase(q, knots) - model.get_eim(mode["phase"], mapped)
        angle = CubicSpline(knots, phase)(grid)
        found: jax.Array = CubicSpline(knots, amplitude)(grid) * jnp.exp(1j * (angle - angle[0]))
        return found

    evaluate = jax.jit(jax.vmap(h22))
    return lambda points: np.asarray(evaluate(jnp.asarray(points)))


def _report(
    arguments: argparse.Namespace, turns: dict[str, list[float]], errors: dict[str, float]
) -> None:
    from hpc_gw.provenance import recipe  # noqa: PLC0415

    medians = {name: statistics.median(values) for name, values in turns.items()}
    base = medians["gwsurrogate"]
    print(f"{POINTS} waveforms of 101,300 samples, {arguments.threads} threads, "
          f"median of {arguments.repeats} turns")  # fmt: skip
    print(f"{'engine':34s} {'ms a waveform':>14s} {'x gwsurrogate':>14s} {'|difference|':>13s}")
    for name, median in medians.items():
        print(f"{name:34s} {1e3 * median:14.3f} {base / median:14.1f} {errors[name]:13.1e}")
    if arguments.json:
        from hpc_gw.files import write_json  # noqa: PLC0415

        result = {"seconds": turns, "errors": errors, "points": POINTS}
        config = {"threads": arguments.threads, "surrogate": arguments.surrogate}
        write_json(arguments.json, {**result, "recipe": recipe(config=config)})


if __name__ == "__main__":
    main()
