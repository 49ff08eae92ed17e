"""Which engine makes the waveforms, and where its file is found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.errors import SurrogateError
from hpc_gw.files import published
from hpc_gw.waveforms.direct_engine import DirectEngine
from hpc_gw.waveforms.gwsurrogate_engine import GwsurrogateEngine, import_gwsurrogate
from hpc_gw.waveforms.lal_engine import APPROXIMANTS, LalEngine
from hpc_gw.waveforms.seob_engine import SeobEngine
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import SurrogateData, read_surrogate

ENVIRONMENT = "HPC_GW_SURROGATE"
"""Environment variable with the path of NRHybSur3dq8.h5."""

EMBEDDED = "NRHybSur3dq8_embedded.h5"

Kind = Literal["surrogate", "gwsurrogate", "phenomt", "seobnrv4", "seobnrv5hm"]

LoadedEngine = SurrogateEngine | GwsurrogateEngine | DirectEngine
EngineMaker = Callable[[np.ndarray, float | None], LoadedEngine]

SURROGATES = ("surrogate", "gwsurrogate")
"""Kinds that evaluate a surrogate's file."""


@dataclass(frozen=True, config=STRICT)
class EngineConfig:
    """Where waveforms come from.

    Attributes:
        kind: ``surrogate``, our batched evaluator, or ``gwsurrogate``, one at a time; or
            another model than the surrogate's: ``phenomt`` and ``seobnrv4`` by lalsimulation,
            ``seobnrv5hm`` by pyseobnr.
        file: a surrogate in NRHybSur3dq8's layout; without it the file that the environment
            variable HPC_GW_SURROGATE names, else the embedded one; ``embedded`` insists on that.
    """

    kind: Kind = "surrogate"
    file: str | None = None

    def __post_init__(self) -> None:
        if self.file and self.kind not in SURROGATES:
            raise ValueError(
                f"file = {self.file}: '{self.kind}' reads none; choose {' or '.join(SURROGATES)}"
            )


def surrogate_path(file: str | None = None) -> Path:
    """Path of the surrogate: ``file``, else $HPC_GW_SURROGATE, else the embedded one."""
    chosen = file or os.environ.get(ENVIRONMENT) or "embedded"
    if chosen == "embedded":
        return Path(str(resources.files("hpc_gw.waveforms") / "files" / EMBEDDED))
    return Path(chosen).expanduser()


def load_engine(
    config: EngineConfig,
    times: np.ndarray,
    device: str | torch.device = "cpu",
    *,
    phase_zero: float | None = None,
) -> LoadedEngine:
    """The engine that ``config`` asks for, on ``times`` [M], with phi = 0 at ``phase_zero``.

    Raises:
        SurrogateError: the file is missing, truncated or of another layout.
        MissingDependencyError: the package that this kind needs is not installed.
    """
    return engine_maker(config, device)(times, phase_zero)


def engine_maker(config: EngineConfig, device: str | torch.device = "cpu") -> EngineMaker:
    """What makes that engine on any (times, phase_zero); a surrogate's file is read once, now.

    Raises:
        SurrogateError: the file is missing, truncated or of another layout.
    """
    kind = config.kind
    if kind in APPROXIMANTS:
        return lambda times, zero: LalEngine(kind, times, phase_zero=zero)
    if kind == "seobnrv5hm":
        return lambda times, zero: SeobEngine(times, phase_zero=zero)
    path = surrogate_path(config.file)
    if kind == "gwsurrogate":
        return lambda times, zero: GwsurrogateEngine(path, times, phase_zero=zero)
    return surrogate_maker(read_surrogate(path), device)


def surrogate_maker(data: SurrogateData, device: str | torch.device = "cpu") -> EngineMaker:
    """What makes our evaluator of a surrogate that was read already, as ``engine_maker``."""
    return lambda times, zero: SurrogateEngine(data, times, device, phase_zero=zero)


def pull_surrogate(destination: str | os.PathLike[str]) -> Path:
    """Fetch the genuine NRHybSur3dq8.h5 (213 MB) through gwsurrogate's catalog.

    The file is fetched into a scratch folder, read as a surrogate, and only then published.

    Returns:
        ``destination``/NRHybSur3dq8.h5

    Raises:
        SurrogateError: there is no network, or what came is no whole surrogate.
    """
    import_gwsurrogate()
    from gwsurrogate import catalog  # noqa: PLC0415

    name = "NRHybSur3dq8"
    final = Path(destination) / f"{name}.h5"
    with published(final) as temporary:
        scratch = temporary.with_suffix(".pull")
        scratch.mkdir()
        try:
            try:
                catalog.pull(name, sdir=f"{scratch}/")
            except Exception as error:
                raise _no_network(name, type(error).__name__) from error
            fetched = scratch / f"{name}.h5"
            if not fetched.exists():
                raise _no_network(name, "nothing arrived")
            read_surrogate(fetched)
            fetched.replace(temporary)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return final


def _no_network(name: str, reason: str) -> SurrogateError:
    return SurrogateError(
        f"{name}.h5 could not be fetched ({reason}): check the network, or fetch Zenodo record "
        f"3348115 elsewhere and give its path with --surrogate or ${ENVIRONMENT}"
    )
