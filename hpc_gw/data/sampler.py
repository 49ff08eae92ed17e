"""The order of samples: a function of (seed, epoch) alone, whatever the number of ranks."""

from __future__ import annotations

import dataclasses

import numpy as np

from hpc_gw.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Global batches of row ids, and each rank's part of them.

    Attributes:
        rows: number of rows in the set.
        batch: rows of a global batch, over all ranks.
        seed: of the order.
        limit: batches in an epoch, where that is fewer than the set holds; 0 means all.
    """

    rows: int
    batch: int
    seed: int
    limit: int = 0

    def __post_init__(self) -> None:
        if self.batch > self.rows:
            raise ConfigError(
                f"batch = {self.batch}: the set has only {self.rows} rows; ask for a smaller batch"
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch; rows that do not fill a batch wait for another epoch's order."""
        whole = self.rows // self.batch
        return min(whole, self.limit) if self.limit else whole

    def order(self, epoch: int) -> np.ndarray:
        """Row ids of an epoch in the order they are used, int64 (steps * batch,).

        A random permutation of the whole set, drawn anew for each epoch; where ``limit`` ends
        an epoch early, the next one goes on in the same permutation, so no row is repeated
        before every row was used.
        """
        whole = self.rows // self.batch
        first = epoch * self.steps  # counted in batches, over all epochs
        pieces: list[np.ndarray] = []
        needed = self.steps
        while needed:
            shuffle, start = divmod(first, whole)
            count = min(needed, whole - start)
            permutation = np.random.default_rng([self.seed, shuffle]).permutation(self.rows)
            pieces.append(permutation[start * self.batch : (start + count) * self.batch])
            first, needed = first + count, needed - count
        return np.concatenate(pieces)

    def part(self, order: np.ndarray, step: int, rank: int, size: int) -> np.ndarray:
        """The rows that a rank of ``size`` takes of batch ``step``, int64 (batch / size,).

        Raises:
            ConfigError: the batch does not divide evenly.
        """
        if self.batch % size:
            raise ConfigError(
                f"batch = {self.batch}: does not divide evenly over {size} ranks; choose a "
                f"multiple of {size}"
            )
        own = self.batch // size
        first = step * self.batch + rank * own
        return order[first : first + own]
