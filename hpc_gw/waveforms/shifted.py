"""One surrogate on several time grids at once: each waveform of a batch on a grid of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hpc_gw.waveforms.surrogate import SurrogateEngine


class ShiftedSurrogate:
    """The same surrogate on n grids that are alike but for a shift in time.

    The fits are the same at all times, and are evaluated for all waveforms together; so are the
    sine and cosine. One call of each engine for the few waveforms that are its own takes three
    times as long. The waveforms are those of the engines bit for bit.

    Args:
        engines: of one surrogate, each on as many times.
    """

    def __init__(self, engines: Sequence[SurrogateEngine]) -> None:
        self._engines = tuple(engines)

    @classmethod
    def of(cls, engines: Sequence[object]) -> ShiftedSurrogate | None:
        """None where these are no such engines, or interpolate between coarser times."""
        surrogates = [engine for engine in engines if isinstance(engine, SurrogateEngine)]
        alike = {(engine.checksum, engine.times.size) for engine in surrogates}
        if len(surrogates) < len(engines) or len(alike) != 1:
            return None
        return None if any(engine.grid.pieces for engine in surrogates) else cls(surrogates)

    @torch.no_grad()
    def h22(self, parameters: np.ndarray, which: np.ndarray) -> Tensor:
        """Complex64 h22 (B, T) of rows (q, s1, s2) (B, 3), row i by engine ``which[i]``.

        Raises:
            ParameterError: a row outside the physical domain or the surrogate's bounds.
        """
        first = self._engines[0]
        order = np.argsort(which, kind="stable")
        phase, amplitude = first.nodes(parameters[order])
        ends = np.flatnonzero(np.diff(which[order])) + 1
        lines = [
            line
            for begin, end in zip([0, *ends], [*ends, len(order)], strict=True)
            for line in self._lines(which[order[begin]], phase[begin:end], amplitude[begin:end])
        ]
        size, angle = (torch.cat(part) for part in zip(*lines, strict=True))
        values = torch.complex(size * torch.cos(angle), size * torch.sin(angle))
        return values[torch.from_numpy(np.argsort(order)).to(values.device)]

    def _lines(
        self, index: int, phase: Tensor, amplitude: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """A and -phi at the times of one engine, float32, some rows at a time."""
        engine = self._engines[index]
        times, rows = engine.times.size, len(phase)
        for place, size, angle in engine.coarse((phase, amplitude)):
            count = min(place.stop, rows) - place.start
            yield size[:count, -times:], angle[:count, -times:]
