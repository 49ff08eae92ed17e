"""What the continuation of a late start costs an answer, and what an eccentricity does.

    python benchmarks/continuation.py [--model robust] [--count 97] [--json FILE]

Random waveforms of the embedded surrogate at 0.5 M, as files would have them, cut at their start,
with an eccentricity there that decays as a binary's does; read and continued as ``hpc-gw predict
--extend`` does it. Medians of |answer - truth|, and how many truths of q are in the brackets.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from hpc_gw.constants import QUANTITIES  # noqa: E402
from hpc_gw.files import write_json  # noqa: E402
from hpc_gw.manifold.physics import with_effective_spins  # noqa: E402
from hpc_gw.manifold.populations import DrawsConfig  # noqa: E402
from hpc_gw.pretrained import Reader, answers_of, checkpoint_path  # noqa: E402
from hpc_gw.provenance import recipe  # noqa: E402
from hpc_gw.waveforms.columns import columns_of, onto_grid  # noqa: E402
from hpc_gw.waveforms.engines import EngineConfig, load_engine  # noqa: E402
from tests.unit.waveforms.nr_files import TIMES, eccentric  # noqa: E402

SEED = 20_200_427
WHOLE = float(TIMES[0])
CASES = (
    (WHOLE, 0.0), (-5000.0, 0.0), (-3000.0, 0.0), (-5000.0, 1e-4), (-3000.0, 1e-4), (WHOLE, 1e-3),
    (-5000.0, 1e-3), (-3000.0, 1e-3), (-2520.0, 1e-3), (-3000.0, 3e-3), (WHOLE, 1e-2),
    (-3000.0, 1e-2),
)  # fmt: skip
"""Where the waveform begins [M], and its eccentricity there."""


def main() -> None:
    """Print the table; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("robust"))
    parser.add_argument("--count", type=int, default=97)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reader = Reader(checkpoint_path(arguments.model))
    points = DrawsConfig(count=arguments.count, seed=SEED).parameters(np.arange(arguments.count))
    h22 = load_engine(EngineConfig(file="embedded"), TIMES).h22(points).numpy()
    rows = []
    print("| begins at | eccentricity | q | sigma_eff | s1 | s2 | truths of q in the brackets |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for begin, eccentricity in CASES:
        row = judge(reader, points, h22, begin, eccentricity)
        rows.append({"begins": begin, "eccentricity": eccentricity, **row})
        begins = "whole" if begin == WHOLE else f"{begin:g} M"
        error = " | ".join(f"{row[name]:.2g}" for name in ("q", "sigma_eff", "s1", "s2"))
        print(f"| {begins} | {eccentricity:g} | {error} | {row['inside']:.0%} |", flush=True)
    if arguments.json:
        settings = {"model": str(reader.path), "count": arguments.count, "seed": SEED}
        write_json(arguments.json, {"rows": rows, "recipe": recipe(config=settings)})


def judge(
    reader: Reader, points: np.ndarray, h22: np.ndarray, begin: float, eccentricity: float
) -> dict[str, Any]:
    """Median errors of one case, and the share of truths of q in the brackets."""
    grid, late = reader.network.grid.times(), begin <= TIMES
    placed = []
    for waveform in h22:
        wobbling = eccentric(TIMES, waveform.astype(np.complex128), eccentricity, at=begin)
        columns = columns_of(TIMES[late], wobbling[late], "waveform")
        placed.append(onto_grid(columns, grid, peak=reader.peak, extend=True)[0])
    answers, truth = answers_of(reader.network, np.stack(placed)), with_effective_spins(points)
    brackets = [
        reader.files.intervals(dict(zip(QUANTITIES, answer, strict=True)))["q"]
        for answer in answers.tolist()
    ]
    inside = [low <= q <= high for (low, high), q in zip(brackets, points[:, 0], strict=True)]
    errors = np.median(np.abs(answers - truth), axis=0).tolist()
    return {"inside": float(np.mean(inside)), **dict(zip(QUANTITIES, errors, strict=True))}


if __name__ == "__main__":
    main()
