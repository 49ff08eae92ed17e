"""Streams of batches: what a training loop or PyTorch's DataLoader reads from a source.

Memory: the block in use and the one that is read meanwhile, ``2 * block_steps`` batches.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hpc_gw.data.sources import Source, truths


@dataclasses.dataclass(frozen=True)
class Batch:
    """A rank's part of a global batch: row ids (b,), inputs (b, samples), truth (b, 5)."""

    step: int
    rows: np.ndarray
    inputs: Tensor
    truth: Tensor


def batches(
    source: Source,
    parts: Callable[[int], np.ndarray],
    blocks: Iterable[range],
    *,
    ahead: int = 1,
    pin: bool = False,
) -> Iterator[Batch]:
    """Batches of steps whose rows ``parts(step)`` gives, read block by block.

    Args:
        source: of the waveforms.
        parts: row ids of a step, int64 (b,).
        blocks: ranges of steps whose rows are read together (``Sampler.blocks``).
        ahead: blocks that a thread reads before they are used; 0 reads each when it is needed.
        pin: put them into page-locked memory, from which a GPU fetches without waiting.
    """

    def load(block: range) -> list[Batch]:
        rows = [parts(step) for step in block]
        every = np.concatenate(rows)
        ends = np.cumsum([part.size for part in rows])[:-1].tolist()
        inputs, truth = source.load(every), torch.from_numpy(truths(source.spec, every)).float()
        if pin:
            inputs, truth = inputs.pin_memory(), truth.pin_memory()
        pieces = zip(block, rows, inputs.tensor_split(ends), truth.tensor_split(ends), strict=True)
        return [Batch(*piece) for piece in pieces]

    loaded = map(load, blocks)
    for block in prefetch(loaded, ahead) if ahead else loaded:
        yield from block


T = TypeVar("T")


def prefetch(items: Iterable[T], ahead: int) -> Iterator[T]:
    """Yield ``items``, made by a thread; at most ``ahead`` exist besides the one in use.

    Its errors are raised here.
    """
    made: queue.Queue[tuple[str, Any]] = queue.Queue()
    slots, stopped = threading.Semaphore(ahead), threading.Event()

    def produce() -> None:
        source = iter(items)
        try:
            while True:
                slots.acquire()
                if stopped.is_set():
                    return
                made.put(("item", next(source)))
        except StopIteration:
            made.put(("end", None))
        except BaseException as error:
            made.put(("error", error))

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            slots.release()  # taken over: the next one may be made while it is used
            yield value
    finally:
        stopped.set()
        slots.release()
        thread.join()


class WaveformDataset(Dataset[tuple[Tensor, Tensor]]):
    """A source as PyTorch's map-style dataset: item i is (inputs (samples,), truth (5,)).

    Rows without a waveform are left out. Give it to a ``DataLoader`` with any number of workers,
    forked or spawned: each opens the shards for itself, and reads a batch at a time.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.rows = np.setdiff1d(np.arange(source.spec.population.size), source.excluded)

    def __len__(self) -> int:
        return int(self.rows.size)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Several items at once: how PyTorch's loader asks for a batch."""
        rows = self.rows[np.asarray(indices)]
        inputs, truth = self.source.load(rows), torch.from_numpy(truths(self.source.spec, rows))
        return list(zip(inputs, truth.float(), strict=True))
