"""What ``metadata.json`` or ``metadata.txt`` beside an SXS waveform says of its run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_gw.waveforms.readers.series import Binary

NAMES = ("metadata.json", "metadata.txt")

MASS_TOLERANCE = 1e-3
"""The masses of most runs sum to 1 better than this."""


@dataclass(frozen=True, eq=False)
class Metadata:
    """Values by name, with underscores; and the name of the file, empty where there is none."""

    values: dict[str, Any]
    source: str = ""

    def number(self, *names: str) -> float | None:
        """The first of these that is a finite number; a bound such as ``<1e-4`` counts as one."""
        for name in names:
            try:
                found = float(str(self.values[name]).strip("\"' <>"))
            except (KeyError, ValueError):
                continue
            if np.isfinite(found):
                return found
        return None

    def vector(self, *names: str) -> np.ndarray | None:
        """The first of these that is three finite numbers."""
        for name in names:
            value = self.values.get(name)
            items = value.split(",") if isinstance(value, str) else value
            try:
                found = np.array([float(item) for item in items or ()])
            except (TypeError, ValueError):
                continue
            if found.shape == (3,) and np.isfinite(found).all():
                return found
        return None

    def relaxation_time(self) -> float | None:
        """Time [M] when the junk radiation is over."""
        return self.number("relaxation_time", "reference_time", "relaxed_measurement_time")

    def binary(self) -> Binary:
        """The bodies at the reference time, when the junk radiation is over."""
        kinds = ("reference", "relaxed")
        m1, m2 = (self.number(*(f"{kind}_mass{body}" for kind in kinds)) for body in "12")
        spins = [
            self.vector(*(f"{kind}_dimensionless_spin{body}" for kind in kinds)) for body in "12"
        ]
        return Binary(
            masses=None if m1 is None or m2 is None else (m1, m2),
            spins=None if spins[0] is None or spins[1] is None else np.stack(spins),  # type: ignore[arg-type]
            axis=self.vector(*(f"{kind}_orbital_frequency" for kind in kinds)),
            eccentricity=self.number(*(f"{kind}_eccentricity" for kind in kinds)),
        )

    def notes(self) -> tuple[str, ...]:
        """A word where the masses do not sum to 1."""
        masses = self.binary().masses
        if masses is None or abs(sum(masses) - 1) <= MASS_TOLERANCE:
            return ()
        return (
            f"{self.source} says masses that sum to {sum(masses):.4f}: the waveform is taken to be "
            f"in units of that sum",
        )

    def doubts(self) -> tuple[str, ...]:
        """A word where a body is no black hole."""
        kinds = (str(self.values.get(f"object{body}", "bh")).strip("\"' ") for body in "12")
        others = [kind for kind in kinds if kind.lower() not in ("bh", "")]
        return tuple(
            f"{self.source} says that a body is '{kind}', no black hole" for kind in others
        )


def read_metadata(folder: Path) -> Metadata:
    """The metadata in a folder; empty if there are none, or they cannot be read."""
    for name in NAMES:
        try:
            text = (folder / name).read_text(errors="replace")
        except OSError:
            continue
        try:
            content = json.loads(text) if name.endswith(".json") else _from_text(text)
        except ValueError:
            continue
        if isinstance(content, dict) and content:
            return Metadata({key.replace("-", "_"): value for key, value in content.items()}, name)
    return Metadata({})


def _from_text(text: str) -> dict[str, str]:
    """Lines ``name = value``; ``#`` begins a comment."""
    pairs = (line.partition("#")[0].partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}
