"""The quadrature stem: phase and logarithmic amplitude of Re h22, whitened over the manifold.

Re h22 = A cos(phi) hides its parameters: over the manifold phi varies by hundreds of radians, and
the direction in (q, s1, s2) that is hardest to see moves it by hundredths of one. The stem brings
both to the same size by three fixed steps.

1. *Quadrature.* At every ``stride``-th sample n0 the input is projected on the local carrier,
   c = 2 sum_n w(n - n0) x(n) exp(-i nu (n - n0)), with a Gaussian window w of unit sum and a
   standard deviation of ``cycles`` carrier cycles. arg c is the window's phase, |c| its amplitude
   (for a tone of the carrier's frequency; a smooth function of the truth otherwise). A real
   input's other half, at -nu, is suppressed by exp(-(4 pi cycles)^2 / 2): 3e-9 at half a cycle.
2. *Unwrapping.* From one position to the next the phase turns by the carrier's turn, give or take
   less than pi. The sum is taken relative to its mean over the positions, weighted by power: a
   constant phase of the input drops out. Positions whose windows reach the merger have no weight:
   there the frequency changes within a window, a reference phase shows in the fifth digit, and the
   mean would carry that to all others.
3. *Whitening.* Principal components of both series over the training set, each divided by its
   standard deviation.

Carrier, mean and components are measured once on waveforms (``calibrate``) and are part of the
weights. They need a grid on which every cycle has about as many samples (``TimeGrid`` of kind
``chirp``), at least three.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from hpc_gw.errors import ConfigError
from hpc_gw.models.config import QuadratureConfig

SMOOTHING = 17
"""Samples over which the carrier's frequency is averaged."""

REACH = 5.0
"""Half-width of the windows in standard deviations: exp(-12.5) = 4e-6 is cut off."""

TILE = 8
"""Windows that are multiplied at once."""

TINY = 1e-14
"""Added to the power, relative to the peak's of about 0.1: the logarithm of nothing is finite."""


class QuadratureStem(nn.Module):
    """Re h22 (B, T) -> series (B, 2, S) and coordinates (B, K), both whitened.

    The series (phase, log amplitude) are those of the K coordinates carried back to time
    (zero-phase whitening), of unit variance on average over their 2 S numbers.
    """

    def __init__(self, config: QuadratureConfig, samples: int) -> None:
        super().__init__()
        self.config = config
        places = config.positions(samples)
        kept = range(len(places) - 1, -1, -config.every)[::-1]
        self.places, self.kept = list(places), slice(kept[0], None, config.every)
        features, wanted = 2 * len(kept), config.coordinates
        self.register_buffer("kernel", torch.zeros(samples, 2 * len(places)))
        self.register_buffer("turn", torch.zeros(len(places) - 1))
        self.register_buffer("power", torch.full((len(places),), 1 / len(places)))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("components", torch.zeros(wanted, features))
        self.register_buffer("spread", torch.ones(wanted))
        self.kernel: Tensor
        self.turn: Tensor
        self.power: Tensor
        self.mean: Tensor
        self.components: Tensor
        self.spread: Tensor

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) real -> (B, 2, S), (B, K); no gradient reaches the input or the stem."""
        with torch.autocast(x.device.type, enabled=False):
            offset = self.features(x) - self.mean  # (B, 2 S)
            z = offset @ self.components.T.double() / self.spread  # (B, K)
            z = self._limited(z).to(self.mean.dtype)
            series = (z @ self.components) * math.sqrt(self.mean.numel() / len(self.components))
            return series.view(len(x), 2, series.shape[1] // 2), z

    def features(self, x: Tensor) -> Tensor:
        """Phase [rad] and log amplitude at the kept positions; (B, T) -> (B, 2 S), float64.

        Components are divided by as little as 4e-6: in float32 the order of a sum would show.
        """
        real, imaginary = self._projected(x.double())  # (B, P) each
        amplitude = 0.5 * torch.log(real.square() + imaginary.square() + TINY)
        turns = torch.atan2(imaginary, real).diff(dim=1) - self.turn
        turns = turns - 2 * math.pi * torch.round(turns / (2 * math.pi))
        phase = F.pad(turns.cumsum(dim=1), (1, 0))
        phase = phase - (phase * self.power).sum(1, keepdim=True)
        return torch.cat((phase[:, self.kept], amplitude[:, self.kept]), dim=1)

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the projections on the windows; (B, T) -> (B, P) twice.

        A window covers a fifteenth of the samples. So on a CPU ``TILE`` windows at a time meet
        only the samples that any of them covers: a sixth of the whole product's time.
        """
        kernel = self.kernel.double().view(len(self.kernel), 2, -1)  # (T, 2, P)
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            real, imaginary = (x @ kernel.flatten(1)).chunk(2, dim=1)
            return real, imaginary
        covered = F.pad(kernel.ne(0).any(1), (0, -kernel.shape[2] % TILE))
        covered = covered.view(len(covered), -1, TILE).any(2).byte()  # (T, tiles)
        firsts = covered.argmax(0).tolist()
        ends = (len(covered) - covered.flip(0).argmax(0)).tolist()
        found = x.new_empty(len(x), *kernel.shape[1:])  # (B, 2, P)
        for tile, (first, end) in enumerate(zip(firsts, ends, strict=True)):
            windows = kernel[first:end, :, tile * TILE : (tile + 1) * TILE]
            product = x[:, first:end] @ windows.flatten(1)
            found[:, :, tile * TILE : (tile + 1) * TILE] = product.view(len(x), 2, windows.shape[2])
        return found[:, 0], found[:, 1]

    def _limited(self, z: Tensor) -> Tensor:
        """z up to a few, bounded by ``limit``: what the training never saw stays finite."""
        limit = self.config.limit
        return z / torch.sqrt(1 + (z / limit).square())

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Measure carrier, mean and components on waveforms (N, T), N well above K; in place.

        Raises:
            ConfigError: N is at most K.
        """
        if len(x) <= len(self.spread):
            raise ConfigError(
                f"{len(x)} training waveforms: a quadrature stem measures {len(self.spread)} "
                f"components on them; give it more, thousands if it can be, or lower "
                f"model.quadrature.coordinates"
            )
        x = x.double()
        nu = carrier(x)  # (T,)
        kernel = windows(nu, self.places, self.config.cycles)  # (T, P) complex
        self.kernel.copy_(torch.cat((kernel.real, kernel.imag), dim=1))
        ends = zip(self.places[:-1], self.places[1:], strict=True)
        self.turn.copy_(torch.stack([nu[first:last].sum() for first, last in ends]))
        real, imaginary = self._projected(x)
        power = (real.square() + imaginary.square()).mean(0)
        merger = self.places[int(power.argmax())]
        late = torch.tensor([place + self.config.lead > merger for place in self.places])
        power[late.to(power.device)] = 0.0
        self.power.copy_(power / power.sum())
        found = self.features(x)
        self.mean.copy_(found.mean(0))
        _, sizes, directions = torch.linalg.svd(found - found.mean(0), full_matrices=False)
        directions = directions[: len(self.spread)]
        largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
        self.components.copy_(directions * largest.sign())  # else their signs are arbitrary
        spread = sizes[: len(self.spread)] / math.sqrt(len(x))
        self.spread.copy_(torch.hypot(spread, torch.full_like(spread, self.config.floor)))


def carrier(x: Tensor) -> Tensor:
    """Mean angular frequency at each sample [rad per sample], of waveforms (N, T) -> (T,).

    A tone has x(n - 1) + x(n + 1) = 2 cos(nu) x(n); cos(nu) is the least-squares answer over all
    waveforms and ``SMOOTHING`` samples.
    """
    middle = x[:, 1:-1]
    sums = torch.stack((((x[:, 2:] + x[:, :-2]) * middle).sum(0), 2 * middle.square().sum(0)))
    box = torch.ones(1, 1, SMOOTHING, dtype=x.dtype, device=x.device)
    half = SMOOTHING // 2 + 1  # one more for the sample that is lost at each end
    upper, lower = F.conv1d(F.pad(sums[:, None], (half, half), mode="replicate"), box)[:, 0]
    # Where all are silent, a quarter of a turn stands in.
    return torch.arccos((upper / lower.clamp(min=torch.finfo(x.dtype).tiny)).clamp(-1.0, 1.0))


def windows(nu: Tensor, places: list[int], cycles: float) -> Tensor:
    """Gaussian-windowed exponentials, 2 w(n - n0) exp(-i nu (n - n0)); complex (T, P).

    Args:
        nu: (T,) carrier [rad per sample].
        places: n0, P of them.
        cycles: standard deviation of the windows, in cycles of the carrier at n0.
    """
    at = torch.tensor(places, device=nu.device)
    offset = torch.arange(len(nu), device=nu.device)[:, None] - at  # (T, P)
    width = 2 * math.pi * cycles / nu[at].clamp(min=1e-3)
    window = torch.exp(-0.5 * (offset / width).square()) * (offset.abs() <= REACH * width)
    return 2 * torch.polar(window / window.sum(0), -nu[at] * offset)
