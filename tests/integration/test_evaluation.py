"""Evaluations on several ranks, interrupted, refined, and of one waveform."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hpc_gw.cli import main
from hpc_gw.evaluation.records import Predictions
from hpc_gw.evaluation.results import read_results, write_predictions
from hpc_gw.manifold import physics
from hpc_gw.pipeline import rank_variables

ROWS = 2200
COARSE = {"config": {"evaluation": {"time_grid": {"dt": 1.0}}}, "inputs": {}}


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers that miss 2,200 random waveforms by a little; one of them is not finite."""
    rng = np.random.default_rng(8)
    low, high = np.array([1.0, -0.8, -0.8]), np.array([8.0, 0.8, 0.8])
    truth = rng.uniform(low, high, (ROWS, 3))
    answer = truth + 0.01 * rng.standard_normal(truth.shape)
    answer[77] = np.nan

    def columns(points: np.ndarray) -> np.ndarray:
        q, s1, s2 = points.T
        return np.stack([q, s1, s2, physics.sigma_eff(q, s1, s2), physics.s_eff(q, s1, s2)], 1)

    path = tmp_path_factory.mktemp("predictions") / "predictions.h5"
    write_predictions(path, Predictions(np.arange(ROWS), columns(truth), columns(answer)), COARSE)
    return path


@pytest.fixture(scope="module")
def alone(predictions: Path) -> Path:
    path = predictions.with_name("alone.h5")
    assert main(["overlap", str(predictions), "-o", str(path)]) == 0
    return path


def words(predictions: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "hpc_gw", "overlap", str(predictions), "-o", str(output), *more]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "UCX_NET_DEVICES": "lo", **variables}


def same_overlaps(one: Path, other: Path) -> None:
    ours, theirs = read_results(one).overlaps, read_results(other).overlaps
    for name in ("row", "overlap", "bound", "t_c", "phi_c", "clipped"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_overlaps_do_not_depend_on_the_ranks_of_mpiexec(predictions, alone, tmp_path):
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    assert launcher
    command = [launcher, "-n", "3", *words(predictions, tmp_path / "r.h5")]
    subprocess.run(command, check=True, env=environment(), timeout=200)
    same_overlaps(tmp_path / "r.h5", alone)


def test_overlaps_do_not_depend_on_the_ranks_of_torchrun(predictions, alone, tmp_path):
    children = [
        subprocess.Popen(words(predictions, tmp_path / "r.h5"), env=environment(**variables))
        for variables in rank_variables(2)
    ]
    assert [child.wait(200) for child in children] == [0, 0]
    same_overlaps(tmp_path / "r.h5", alone)


def test_an_evaluation_that_was_killed_goes_on_and_ends_as_one_that_was_not(
    predictions, alone, tmp_path
):
    output = tmp_path / "r.h5"
    blocks = tmp_path / "r.h5.parts"
    with subprocess.Popen(words(predictions, output), env=environment()) as first:
        deadline = time.monotonic() + 600
        while not list(blocks.glob("block-*.h5")) and time.monotonic() < deadline:
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in blocks.glob("block-*.h5")}
    assert kept and not output.exists()
    again = subprocess.Popen(words(predictions, output), env=environment())
    while again.poll() is None and output.exists() is False:
        for path, written in kept.items():
            with contextlib.suppress(FileNotFoundError):  # the result is there
                assert path.stat().st_mtime_ns == written
        time.sleep(0.05)
    assert again.wait(200) == 0
    same_overlaps(output, alone)
    assert not blocks.exists()


def test_refined_answers_stand_beside_the_networks_own(predictions, alone, tmp_path, capsys):
    output = tmp_path / "r.h5"
    assert main(["overlap", str(predictions), "-o", str(output), "--refine"]) == 0
    found = read_results(output)
    same_overlaps(output, alone)
    assert found.refined is not None and found.valleys is None
    good = np.arange(ROWS) != 77
    assert found.refined.converged[good].mean() >= 0.999 and not found.refined.converged[77]
    assert (found.refined.overlap[good] >= 0.99999).mean() >= 0.999
    errors = np.abs(found.refined.parameters - found.predictions.truth[:, :3])[good]
    assert np.quantile(errors, 0.99) < 1e-4
    report = tmp_path / "report"
    assert main(["report", str(output), "-o", str(report), "--quick"]) == 0
    table = json.loads((report / "table1.json").read_text())
    refined = json.loads((report / "table1_refined.json").read_text())
    assert table["failures"] == refined["failures"] == 1
    assert refined["table"]["overlap"]["median"] > table["table"]["overlap"]["median"]


def test_fits_with_an_engine_without_derivatives_are_refused(predictions, tmp_path, capsys):
    command = ["overlap", str(predictions), "-o", str(tmp_path / "r.h5"), "--valleys"]
    assert main([*command, "--engine", "gwsurrogate"]) == 2
    assert "need the derivatives of a surrogate" in capsys.readouterr().err
    assert not (tmp_path / "r.h5.parts").exists()


def test_a_waveform_from_a_file_is_refined_and_its_degeneracy_told(root, capsys):
    """The genuine NRHybSur3dq8 waveform of q = 1 without spins, continued to -10000 M."""
    file = str(root / "tests" / "data" / "nrhybsur3dq8_q1_nonspinning.npz")
    assert main(["predict", file, "--extend", "--refine", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    refined = answer["refined"]
    assert refined["values"]["q"] == pytest.approx(1, abs=0.05)
    assert abs(refined["values"]["sigma_eff"]) < 0.003
    assert refined["overlap"] > max(answer["overlap"] - 1e-5, 0.9999)
    reach = answer["reach_at_0.999"]
    assert reach[1] > 0.2 and reach[2] > 0.2  # the spins trade places at q = 1
    assert main(["predict", file, "--extend"]) == 0
    shown = capsys.readouterr().out
    assert "degenerate: (q, s1, s2) may move by" in shown and "refined" not in shown
