"""From seconds and strain to t / M and r h / M."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpc_gw.constants import MTSUN_SI
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.waveforms.readers.series import ReadOptions, Series

MPC_SECONDS = 3.0856775814913673e22 / 299_792_458.0
"""A megaparsec over the speed of light [s] (IAU 2015 resolution B2)."""

SECONDS_SPAN, SECONDS_STEP = 1000.0, 0.01
"""A series shorter than this, sampled more finely than this, is in seconds: in units of M it would
be shorter than any that the networks can read, with 1000 samples a cycle."""

STRAIN = 1e-6
"""Below, values are strain as a detector has it, not r h / M."""


def geometric(series: Series, options: ReadOptions, where: str) -> Series:
    """The series with times in M and values as r h / M.

    Raises:
        ConfigError: a mass or distance is given for a file that needs none.
        DataError: one is missing.
    """
    if series.geometric:
        if options.total_mass is not None:
            raise ConfigError(
                f"--total-mass {options.total_mass:g}: {where} is in units of its total mass "
                f"already, by its format; leave out --total-mass and --distance"
            )
        return series
    if series.times.size < 2 or series.times.size != series.values.size:  # refused elsewhere
        return series
    span, peak = float(np.ptp(series.times)), float(np.abs(series.values).max())
    step = float(np.median(np.diff(series.times)))
    if options.total_mass is None:
        if span < SECONDS_SPAN and 0 < step < SECONDS_STEP:
            raise DataError(
                f"{where}: its times span {span:.4g} in steps of {step:.3g}, which looks like "
                f"seconds; give --total-mass in solar masses (redshifted), or times in units of M"
            )
        return series
    mass = options.total_mass * MTSUN_SI  # in seconds
    notes: tuple[str, ...] = (
        f"times in seconds, over {options.total_mass:g} solar masses ({mass:.4g} s)",
    )
    factor = 1.0
    if options.distance is not None:
        factor = options.distance * MPC_SECONDS / mass
        notes += (f"strain times {factor:.4g}, {options.distance:g} Mpc over the total mass",)
    elif peak < STRAIN:
        raise DataError(
            f"{where}: its largest value, {peak:.3g}, looks like strain; give --distance in Mpc, "
            f"or values as r h / M"
        )
    return replace(
        series,
        times=series.times / mass,
        values=series.values * factor,
        notes=series.notes + notes,
    )
