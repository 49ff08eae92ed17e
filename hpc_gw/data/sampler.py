"""The order of samples: a function of (seed, epoch) alone, whatever the number of ranks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT
from hpc_gw.errors import ConfigError


@dataclass(frozen=True, config=STRICT)
class ShuffleConfig:
    """How rows are mixed: ``global`` reads single rows, ``runs`` reads neighbours in one go.

    For each pass, ``runs`` closes the set to a circle, cuts it from a place drawn anew into runs
    of k = ``run`` consecutive rows, and deals these in random order to blocks of L = ``lanes``
    lanes with w = ``window`` runs each. A lane's w k rows are shuffled, and every global batch
    takes b = batch / L of them from each lane in turn. What it guarantees:

    - A pass uses each row once, but for the rows (fewer than a batch) that fill no batch.
    - A block is L w runs drawn without replacement from the whole set. A rank of N, where N
      divides L, takes whole lanes, so it reads whole runs.
    - Two rows of one run meet in a batch only by the chance of their lane: a row's b - 1
      companions are drawn from the w k - 1 others, k - 1 of them of its own run. A batch holds
      L b (b - 1) / 2 * (k - 1) / (w k - 1) such pairs on average.

    For a quantity with correlation rho between the rows of a run, a batch mean therefore has
    the variance of a global shuffle times 1 + rho (b - 1) (k - 1) / (w k - 1), less terms of
    batch * run / rows. The worst case, rho = 1, is a quantity constant within runs; it comes
    to 1 + (k - 1) / (batches in a block), so let a block hold several times k batches.

    The last block of a pass is what is left, dealt evenly to the L lanes: a run may be cut
    where two lanes meet, and in the formula w k becomes the batches left, times b.

    Attributes:
        kind: ``global`` or ``runs``.
        run: consecutive rows that are read in one go.
        lanes: parts of a global batch with runs of their own; a multiple of the ranks.
        window: runs of a lane whose rows are mixed.
    """

    kind: Literal["global", "runs"] = "global"
    run: int = Field(default=16, ge=1)
    lanes: int = Field(default=16, ge=1)
    window: int = Field(default=16, ge=1)

    @property
    def block(self) -> int:
        """Rows of a block of ``runs``."""
        return self.lanes * self.window * self.run

    def misfit(self, batch: int) -> str | None:
        """Why a global batch of so many rows cannot be shuffled like this; None if it can."""
        if self.kind == "global":
            return None
        if batch % self.lanes:
            return (
                f"batch = {batch}: shuffle takes as many rows from each of {self.lanes} lanes; "
                f"choose a multiple of {self.lanes}, or other shuffle.lanes"
            )
        if self.block % batch:
            return (
                f"batch = {batch}: a shuffled block has lanes x window x run = {self.lanes} x "
                f"{self.window} x {self.run} = {self.block} rows, which must be whole batches; "
                f"choose a divisor of {self.block}, or another shuffle.window"
            )
        return None


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Global batches of row ids, and each rank's part of them.

    Attributes:
        rows: number of rows in the set.
        batch: rows of a global batch, over all ranks.
        seed: of the order.
        limit: batches in an epoch, where that is fewer than the set holds; 0 means all.
        excluded: ids of rows that are never handed out, for instance as they have no waveform.
        shuffle: how the others are mixed.

    Raises:
        ConfigError: a batch is more than there are rows or does not suit the shuffle, or an
            excluded row is none of the set.
    """

    rows: int
    batch: int
    seed: int
    limit: int = 0
    excluded: np.ndarray | tuple[int, ...] = ()
    shuffle: ShuffleConfig = dataclasses.field(default_factory=ShuffleConfig)

    def __post_init__(self) -> None:
        excluded = np.asarray(self.excluded, dtype=np.int64)
        outside = excluded[(excluded < 0) | (excluded >= self.rows)]
        if outside.size:
            raise ConfigError(
                f"excluded row {outside[0]}: the set has rows 0 ... {self.rows - 1}; exclude "
                f"rows of this very set"
            )
        if self.batch > self._kept.size:
            left = f" left ({self.rows - self._kept.size} are excluded)" if excluded.size else ""
            raise ConfigError(
                f"batch = {self.batch}: the set has only {self._kept.size} rows{left}; ask for a "
                f"smaller batch"
            )
        if line := self.shuffle.misfit(self.batch):
            raise ConfigError(line)

    @property
    def steps(self) -> int:
        """Batches in an epoch; rows that do not fill a batch wait for another epoch's order."""
        return min(self._whole, self.limit) if self.limit else self._whole

    @property
    def block_steps(self) -> int:
        """Batches of a whole block, which are best read together; 1 for ``global``."""
        return 1 if self.shuffle.kind == "global" else self.shuffle.block // self.batch

    def order(self, epoch: int) -> np.ndarray:
        """Row ids of an epoch in the order they are used, int64 (steps * batch,).

        A random pass over the whole set, drawn anew for each epoch; where ``limit`` ends an
        epoch early, the next one goes on in the same pass, so no row is repeated before every
        row was used.
        """
        first = epoch * self.steps  # counted in batches, over all epochs
        pieces: list[np.ndarray] = []
        needed = self.steps
        while needed:
            number, start = divmod(first, self._whole)
            count = min(needed, self._whole - start)
            pieces.append(self._pass(number)[start * self.batch : (start + count) * self.batch])
            first, needed = first + count, needed - count
        return np.concatenate(pieces)

    def blocks(self, epoch: int, first: int = 0) -> Iterator[range]:
        """Steps ``first`` ... steps - 1 of an epoch, cut where a block or a pass ends.

        The rows of the steps of one range are neighbours in the set, and are best read
        together. A range is shorter than ``block_steps`` where ``first`` lies within a block,
        an epoch ends within one, or the pass has no whole block left.
        """
        while first < self.steps:
            place = (epoch * self.steps + first) % self._whole  # of this step in its pass
            end = min(place + self.block_steps - place % self.block_steps, self._whole)
            last = min(first + end - place, self.steps)
            yield range(first, last)
            first = last

    def part(
        self, order: np.ndarray, step: int, rank: int, size: int, accumulate: int = 1
    ) -> np.ndarray:
        """The rows that a rank of ``size`` takes of batch ``step``, int64 (batch / size,).

        With ``accumulate`` micro-batches, its part of the first comes first: a micro-batch holds
        the same rows on any number of ranks.

        Raises:
            ConfigError: the batch does not divide evenly.
        """
        if self.batch % (size * accumulate):
            micro = f" and {accumulate} micro-batches" if accumulate > 1 else ""
            raise ConfigError(
                f"batch = {self.batch}: does not divide evenly over {size} ranks{micro}; choose a "
                f"multiple of {size * accumulate}"
            )
        rows = order[step * self.batch : (step + 1) * self.batch]
        return rows.reshape(accumulate, size, -1)[:, rank].ravel()

    @cached_property
    def _kept(self) -> np.ndarray:
        """Ids of the rows that are handed out, ascending, int64."""
        kept = np.ones(self.rows, dtype=bool)
        kept[np.asarray(self.excluded, dtype=np.int64)] = False
        return np.flatnonzero(kept).astype(np.int64)

    @property
    def _whole(self) -> int:
        """Batches in a pass."""
        return self._kept.size // self.batch

    def _pass(self, number: int) -> np.ndarray:
        """Row ids of a pass over the set, batch after batch, int64 (at least whole * batch,)."""
        rng = np.random.default_rng([self.seed, number])
        if self.shuffle.kind == "global":
            return self._kept[rng.permutation(self._kept.size)]
        run, lanes, block = self.shuffle.run, self.shuffle.lanes, self.shuffle.block
        rows = np.roll(self._kept, -rng.integers(self._kept.size))
        short = rows.size % run  # rows of a last, short run: it comes after all others
        runs = rows[: rows.size - short].reshape(-1, run)
        dealt = np.concatenate([rng.permutation(runs).ravel(), rows[rows.size - short :]])
        dealt = dealt[: self._whole * self.batch]
        full = dealt.size // block * block
        return np.concatenate(
            [
                self._batches(dealt[:full].reshape(-1, lanes, block // lanes), rng),
                self._batches(dealt[full:].reshape(1, lanes, -1), rng),
            ]
        )

    def _batches(self, blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows of blocks (n, lanes, m), shuffled in each lane, batch after batch (n lanes m,)."""
        n, lanes, m = blocks.shape
        each = self.batch // lanes
        mixed = rng.permuted(blocks, axis=2).reshape(n, lanes, m // each, each)
        return np.asarray(mixed.transpose(0, 2, 1, 3).ravel())
