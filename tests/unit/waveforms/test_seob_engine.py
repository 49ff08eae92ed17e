"""SEOBNRv5HM as an engine: our conventions, and the surrogate that was trained on it."""

import sys
import typing

import numpy as np
import pytest

from hpc_gw.cli_data import ENGINES
from hpc_gw.errors import MissingDependencyError
from hpc_gw.evaluation.overlap import overlap
from hpc_gw.waveforms.columns import peak_time
from hpc_gw.waveforms.engines import EngineConfig, Kind, load_engine
from hpc_gw.waveforms.protocol import Engine
from hpc_gw.waveforms.timegrid import TimeGrid


def test_the_embedded_surrogate_repeats_it(paper_engine):
    pytest.importorskip("pyseobnr")
    times = TimeGrid().times()
    engine = load_engine(EngineConfig(kind="seobnrv5hm"), times)
    assert isinstance(engine, Engine)
    points = np.array([[1.0, 0, 0], [3.0, 0.4, -0.3], [8.0, -0.8, 0.8]])
    h22 = engine.h22_double(points)
    assert h22[:, 0].angle().abs().max() < 1e-12
    assert max(abs(peak_time(times, row)) for row in h22.numpy()) < 0.04
    # the file's own record: at most 5.9e-5 on 400 held-out points
    found = overlap(h22, paper_engine.h22_double(points))
    assert 1 - found.overlap.min() < 1e-4
    assert found.shift.abs().max() < 5  # samples of 0.1 M


def test_a_missing_pyseobnr_names_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyseobnr", None)
    monkeypatch.setitem(sys.modules, "pyseobnr.generate_waveform", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "hpc_gw\[nr\]"'):
        load_engine(EngineConfig(kind="seobnrv5hm"), np.arange(-2000.0, 130.0, 0.1))


def test_the_command_knows_every_engine():
    assert typing.get_args(Kind) == ENGINES
