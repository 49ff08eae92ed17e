"""What several tests share: the embedded surrogate, and small jobs that run in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.waveforms.engines import surrogate_path
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import SurrogateData, read_surrogate
from hpc_gw.waveforms.timegrid import TimeGrid

# The same examples every time, however slow the machine.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Jobs that tests submit are not noted among the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPC_GW_JOBS", str(tmp_path_factory.mktemp("registry")))
        yield


@pytest.fixture(scope="session")
def surrogate() -> SurrogateData:
    """The embedded surrogate."""
    return read_surrogate(surrogate_path("embedded"))


@pytest.fixture(scope="session")
def paper_engine(surrogate: SurrogateData) -> SurrogateEngine:
    """The embedded surrogate on the paper's 101,300 samples."""
    return SurrogateEngine(surrogate, TimeGrid().times())


@pytest.fixture(scope="session")
def chirp_engine(surrogate: SurrogateData) -> SurrogateEngine:
    """The embedded surrogate on 64 samples uniform in the chirp's phase."""
    return SurrogateEngine(surrogate, TimeGrid(kind="chirp", samples=64).times())


@pytest.fixture(scope="session")
def chirps(surrogate: SurrogateData) -> torch.Tensor:
    """Re h22 of 256 random waveforms as the small networks read them, float32 (256, 768)."""
    engine = SurrogateEngine(surrogate, TimeGrid(kind="chirp", samples=768).times())
    return engine.h22_real(DrawsConfig(count=256, seed=9).parameters(np.arange(256)))


@pytest.fixture
def root() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]
