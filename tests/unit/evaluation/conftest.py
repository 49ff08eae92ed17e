"""An analytic chirp behind the engine protocol, and runs whose numbers are known."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from hpc_gw.evaluation.evaluate import Judge, compute_overlaps
from hpc_gw.evaluation.records import Predictions, Results
from hpc_gw.manifold import physics


@dataclass
class ChirpEngine:
    """Newtonian chirp A exp(-i phi) whose rate depends on eta and the spins; peak at t = 0."""

    times: np.ndarray = field(default_factory=lambda: np.arange(-1000.0, 130.0, 0.5))
    name: str = "chirp <analytic>"
    checksum: str = "1"
    bounds: np.ndarray = field(
        default_factory=lambda: np.array([[1.0, 8.0], [-0.8, 0.8], [-0.8, 0.8]])
    )
    calls: int = 0

    def h22(self, parameters: np.ndarray | torch.Tensor) -> torch.Tensor:
        p = np.asarray(parameters, dtype=np.float64)
        assert ((p >= self.bounds[:, 0]) & (p <= self.bounds[:, 1])).all(), "outside the domain"
        self.calls += 1
        q, s1, s2 = p.T[:, :, None]
        eta, chi = physics.eta(q), physics.sigma_eff(q, s1, s2)
        tau = np.sqrt(self.times**2 + 100.0) / 2 - self.times / 2 + 6 - 2 * chi
        phase = -(eta ** (-3 / 8)) * (1 + 0.1 * chi) * 4 * tau ** (5 / 8)
        phase -= phase[:, :1]
        amplitude = eta * tau**-0.25 / (1 + np.exp(np.clip(self.times / 8, -50, 50)))
        return torch.from_numpy(amplitude * np.exp(-1j * phase)).to(torch.complex64)


@pytest.fixture
def engine() -> ChirpEngine:
    return ChirpEngine()


def judge_of(engine: ChirpEngine) -> Judge:
    """A judge on the engine's times; the engine given is the one on all of them."""

    def make(times: np.ndarray) -> ChirpEngine:
        if len(times) == len(engine.times):
            return engine
        coarser = copy.copy(engine)
        coarser.times = times
        return coarser

    return Judge(make, engine.times)


def results_of(predictions: Predictions, engine: ChirpEngine) -> Results:
    """Predictions with their overlaps."""
    overlaps = compute_overlaps(predictions, judge_of(engine))
    return Results(predictions, overlaps, engine=engine.name)


def truths(parameters: np.ndarray) -> np.ndarray:
    """Rows (q, s1, s2) with their effective spins, (N, 5)."""
    q, s1, s2 = parameters.T
    columns = (q, s1, s2, physics.sigma_eff(q, s1, s2), physics.s_eff(q, s1, s2))
    return np.stack(columns, axis=1)


def noisy_predictions(parameters: np.ndarray, scale: float = 0.01, seed: int = 0) -> Predictions:
    """Predictions that miss the truth by normal errors, larger at large q."""
    rng = np.random.default_rng(seed)
    size = scale * (0.3 + parameters[:, :1] / 4) * np.array([1.0, 0.6, 1.5])
    answer = parameters + size * rng.standard_normal(parameters.shape)
    return Predictions(np.arange(len(parameters)), truths(parameters), truths(answer))


def random_parameters(count: int, seed: int = 1) -> np.ndarray:
    """Uniform draws of (q, s1, s2), (N, 3)."""
    low, high = np.array([1.0, -0.8, -0.8]), np.array([8.0, 0.8, 0.8])
    return np.random.default_rng(seed).uniform(low, high, (count, 3))


def grid_parameters(q: tuple[float, ...] = (1.04, 4.08, 7.92), side: int = 7) -> np.ndarray:
    """A few slices of q with side x side spins each, (N, 3)."""
    spins = np.linspace(-0.794, 0.79, side)
    return np.stack(np.meshgrid(q, spins, spins, indexing="ij"), -1).reshape(-1, 3)
