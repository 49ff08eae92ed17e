"""Every step waits for its slowest rank: the expected largest of many step times."""

from __future__ import annotations

import numpy as np

TAIL = 0.1
"""Share of the measured times that the tail is fitted to."""

_FEWEST = 20


def expected_slowest(times: np.ndarray, ranks: int) -> float:
    """Expected largest of ``ranks`` independent draws from the distribution of ``times``.

    The measured distribution below its upper tenth; there an exponential tail of the same mean
    excess, so that more ranks than measurements can wait for what was not seen yet (extremes of
    such a tail follow Gumbel's law: they grow as the logarithm of ranks). One rank gets the mean.

    With F(x) = i / n between sorted times x_i and x_{i+1}, threshold u, share p above it and mean
    excess b: E max = x_1 + sum (x_{i+1} - x_i) (1 - (i / n)^N) + b sum_k (1 - (1 - p)^k) / k,
    k = 1 ... N. Fewer than 20 times have no tail to fit: none is added.

    Args:
        times: (n,) seconds, or shares of their median.
        ranks: N.
    """
    x = np.sort(np.asarray(times, dtype=float))
    n = x.size
    above = int(TAIL * n) if n >= _FEWEST else 0
    body = x[: n - above]
    below = np.arange(1, body.size) / n
    largest = float(body[0] + np.sum(np.diff(body) * (1 - below**ranks)))
    if above:
        threshold, share = body[-1], above / n
        k = np.arange(1, ranks + 1)
        growth = np.sum(-np.expm1(k * np.log1p(-share)) / k)
        largest += float((x[n - above :] - threshold).mean() * growth)
    return largest
