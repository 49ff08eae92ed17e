"""What a network measures on its training set before it is trained."""

from __future__ import annotations

import numpy as np

from hpc_gw.data.sources import Source
from hpc_gw.distributed import Parallel
from hpc_gw.models.quadrature import QuadratureStem
from hpc_gw.models.wavenet import WaveNet

WAVEFORMS = 8192
"""The set's first ones, on which a quadrature stem's constants are measured."""


def calibrate(model: WaveNet, source: Source, parallel: Parallel) -> None:
    """Measure the constants of a quadrature stem, if there is one; the same on every rank.

    A resumed run takes its checkpoint's afterwards.
    """
    if isinstance(model.stem, QuadratureStem):
        every = np.arange(min(WAVEFORMS, source.spec.population.size))
        waveforms = source.load(np.setdiff1d(every, source.excluded)).to(parallel.device)
        model.stem.calibrate(waveforms.real if waveforms.is_complex() else waveforms)
        parallel.broadcast(model)
