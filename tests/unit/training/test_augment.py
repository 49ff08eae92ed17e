"""Random phases and shifts: exact where they can be, and reproducible."""

import math

import numpy as np
import pytest
import torch

from hpc_gw.errors import ConfigError
from hpc_gw.training.augment import AugmentConfig, comb, draw, noise, shift, transform

BOTH = AugmentConfig(phase=True, max_shift=3.0)
UNIFORM = torch.arange(-900.0, 130.0, 0.5, dtype=torch.float64)
WARPED = torch.from_numpy(-np.linspace(math.sqrt(900), -math.sqrt(130), 900)).double()
WARPED = WARPED * WARPED.abs()  # dense at t = 0, as coarse as 0.13 M .. 2.7 M


def chirp(t):
    """A smooth h22-like signal at any times, (...,) complex."""
    amplitude = 0.3 / (1 + ((t - 5) / 150) ** 2) ** 0.25
    return torch.polar(amplitude, 0.25 * t + 60 * torch.atan(t / 400))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def augment(h, times, config, generator):
    return transform(h, times, *draw(len(h), config, generator))


def test_nothing_asked_for_gives_the_real_part():
    h = chirp(UNIFORM)[None]
    assert torch.equal(augment(h, UNIFORM, AugmentConfig(), generator()), h.real)
    assert augment(h.real, UNIFORM, AugmentConfig(), generator()) is not None


def test_phase_turns_the_whole_waveform():
    h = chirp(UNIFORM).expand(3, -1)
    phase = torch.tensor([0.0, math.pi / 2, 1.3], dtype=torch.float64)
    got = transform(h, UNIFORM, phase, None)
    torch.testing.assert_close(got[0], h[0].real)
    torch.testing.assert_close(got[1], -h[0].imag)
    torch.testing.assert_close(got[2], (h[0] * np.exp(1.3j)).real)


@pytest.mark.parametrize("times", [UNIFORM, WARPED], ids=["uniform", "warped"])
@pytest.mark.parametrize("delay", [-2.7, -0.11, 0.0, 1.9])
def test_shift_is_the_waveform_at_later_times(times, delay):
    h = chirp(times)[None]
    got = shift(h, times, torch.tensor([delay], dtype=torch.float64))
    # 4e-4 measured, at the ends, where the waveform is continued linearly
    torch.testing.assert_close(got, chirp(times + delay)[None], rtol=0, atol=1e-3)
    inside = (times + delay > times[0]) & (times + delay < times[-1])
    torch.testing.assert_close(
        got[:, inside], chirp(times + delay)[None, inside], rtol=0, atol=1e-5
    )


def test_shift_of_a_real_waveform_needs_a_finer_grid():
    times = torch.arange(-900.0, 130.0, 0.1, dtype=torch.float64)
    h = chirp(times).real[None]
    got = shift(h, times, torch.tensor([0.33], dtype=torch.float64))
    expected = chirp(times + 0.33).real
    torch.testing.assert_close(got[0, :-5], expected[:-5], rtol=0, atol=1e-6)


def test_shift_by_a_sample_is_a_roll():
    h = torch.randn(2, 50, dtype=torch.float64, generator=generator())
    times = torch.arange(50, dtype=torch.float64)
    got = shift(h, times, torch.tensor([1.0, -2.0], dtype=torch.float64))
    torch.testing.assert_close(got[0, :-1], h[0, 1:])
    torch.testing.assert_close(got[1, 2:], h[1, :-2])


def test_early_times_keep_their_resolution_in_single_precision():
    times = -10_000 + 0.1 * torch.arange(2000, dtype=torch.float64)
    h = chirp(times)[None]
    delay = torch.tensor([0.037], dtype=torch.float64)
    got = shift(h.to(torch.complex64), times, delay)
    assert got.dtype == torch.complex64
    expected = chirp(times + delay)[None].to(torch.complex64)
    torch.testing.assert_close(got[:, :-1], expected[:, :-1], rtol=0, atol=1e-5)


def test_draws_cover_their_ranges():
    phase, delay = draw(4000, BOTH, generator())
    assert 0 <= phase.min() < 0.01 and 6.27 < phase.max() < 2 * math.pi
    assert -3 <= delay.min() < -2.99 and 2.99 < delay.max() <= 3
    assert abs(float(delay.mean())) < 0.1


def test_equal_generators_repeat_and_others_differ():
    h = chirp(UNIFORM).expand(4, -1)
    first, again, other = (augment(h, UNIFORM, BOTH, generator(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first[0], first[1])


def test_ranks_that_share_a_batch_get_their_parts_of_the_whole():
    h = chirp(UNIFORM).expand(6, -1)
    whole = augment(h, UNIFORM, BOTH, generator(5))
    phase, delay = draw(6, BOTH, generator(5))
    part = transform(h[2:5], UNIFORM, phase[2:5], delay[2:5])
    torch.testing.assert_close(part, whole[2:5], rtol=0, atol=1e-14)


def test_a_phase_of_a_real_waveform_is_refused():
    with pytest.raises(ConfigError, match="needs complex h22"):
        augment(chirp(UNIFORM).real[None], UNIFORM, BOTH, generator())


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_impossible_shift_is_refused(value):
    with pytest.raises(ValueError, match="max_shift"):
        AugmentConfig(max_shift=value)


def test_exact_shifts_are_centred_in_equal_parts():
    assert comb(AugmentConfig()) == []
    assert comb(AugmentConfig(max_shift=1.0, shifts=4)) == [-0.75, -0.25, 0.25, 0.75]
    interpolated = draw(3, AugmentConfig(max_shift=1.0, shifts=4), generator())
    assert interpolated == (None, None)


@pytest.mark.parametrize("times", [UNIFORM, WARPED])
def test_noise_has_the_ratio_that_matched_filtering_finds(times):
    """<h, n> / sqrt(<h, h>) is of unit variance, and sqrt(<h, h>) the ratio, in noise units."""
    h = chirp(times).real[None].repeat(4000, 1).float()
    config = AugmentConfig(snr=(30.0, 30.0), noisy=1.0)
    n = noise(h, times, config, generator(), (4000, np.arange(4000)))
    interval = torch.gradient(times)[0].float()
    # The white level S of n, from all samples: n is N(0, S / interval).
    level = (n.square() * interval).mean()
    assert float(torch.sqrt((h[0].square() * interval).sum() / level)) == pytest.approx(
        30, rel=0.01
    )
    filtered = (n * h * interval).sum(1) / torch.sqrt((h[0].square() * interval).sum() * level)
    assert float(filtered.std()) == pytest.approx(1.0, abs=0.05)


def test_a_share_of_the_waveforms_gets_noise_and_ranks_draw_the_same():
    h = chirp(UNIFORM).real[None].repeat(400, 1).float()
    config = AugmentConfig(snr=(10.0, 1000.0), noisy=0.3)
    n = noise(h, UNIFORM, config, generator(), (400, np.arange(400)))
    assert float((n.abs().sum(1) > 0).float().mean()) == pytest.approx(0.3, abs=0.07)
    part = noise(h[100:200], UNIFORM, config, generator(), (400, np.arange(100, 200)))
    assert torch.equal(part, n[100:200])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"shifts": 4}, "shifts"), ({"snr": (0.0, 3.0)}, "snr"), ({"snr": (9.0, 3.0)}, "snr"),
        ({"noisy": 1.5}, "noisy"),
    ],
)  # fmt: skip
def test_noise_and_shifts_that_cannot_be_are_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        AugmentConfig(**changes)
