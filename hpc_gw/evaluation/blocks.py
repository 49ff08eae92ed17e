"""Work on many rows, in blocks: shared by ranks, and resumed where it was stopped.

Which rows belong to a block, and the order inside of it, depend on nothing but the number of rows:
so the result is the same on any number of ranks, and whether or not it was interrupted. Each
block is published whole, in a folder beside the result; the folder goes when the result is there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpc_gw.distributed import World
from hpc_gw.errors import DataError
from hpc_gw.evaluation.results import read_block, write_block
from hpc_gw.locks import held

BLOCK = 512
"""Rows of a block: a second of work, and what an interruption can lose."""

Columns = dict[str, np.ndarray]


def in_blocks(
    result: Path,
    count: int,
    compute: Callable[[slice], Columns],
    world: World,
    *,
    belongs_to: Mapping[str, Any],
    what: str,
    publish: Callable[[Columns], None],
) -> None:
    """Compute columns of ``count`` rows on all ranks, and let rank 0 publish them.

    Args:
        result: the file that ``publish`` makes; blocks are kept in ``<result>.parts`` until then.
        count: rows in all.
        compute: the columns of some rows, each an array whose first axis is theirs.
        world: the ranks that share the work.
        belongs_to: what the columns follow from, for JSON: blocks of something else are not used.
        what: shown beside the progress.
        publish: takes the columns of all rows.

    Raises:
        DataError: no rows, no file name, or another process works at the same result.
        StorageError: the folder cannot be written.
    """
    if not result.name or result.is_dir():
        raise DataError(f"-o {result}: is a folder; name a file to write")
    if count == 0:
        raise DataError(f"{what}: no rows; nothing is written")
    folder = result.with_name(f"{result.name}.parts")
    text = json.dumps([count, BLOCK, belongs_to], sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()
    paths = [folder / f"block-{i:06d}.h5" for i in range(-(-count // BLOCK))]
    with held(folder / "lock", world, what):
        missing = [i for i, path in enumerate(paths) if read_block(path, key) is None]
        # Every rank has looked before any of them writes; and all have seen the same.
        if world.sum(sum(missing)) != world.size * sum(missing):
            raise DataError(f"{folder}: the ranks see different files; start again")
        if world.rank == 0:
            for i in missing:  # damaged, or of something else
                paths[i].unlink(missing_ok=True)
        world.barrier()
        at_first = min((len(paths) - len(missing)) * BLOCK, count)
        bar = tqdm(total=count, initial=at_first, desc=what, unit=" rows", disable=world.rank != 0)
        looked = 0.0
        with bar:
            for k in world.deal(len(missing)):
                i = missing[k]
                write_block(paths[i], compute(slice(i * BLOCK, min((i + 1) * BLOCK, count))), key)
                if world.rank == 0 and time.monotonic() > looked + 1:
                    looked = time.monotonic()
                    there = sum(path.exists() for path in paths)  # those of all ranks
                    bar.update(min(there * BLOCK, count) - bar.n)
        world.barrier()
        if world.rank == 0:
            parts = [read_block(path, key) for path in paths]
            if lost := [path for path, part in zip(paths, parts, strict=True) if part is None]:
                raise DataError(f"{lost[0]}: is gone or damaged; start again: the rest is kept")
            whole = [part for part in parts if part is not None]
            publish({name: np.concatenate([p[name] for p in whole]) for name in whole[0]})
            shutil.rmtree(folder, ignore_errors=True)
        world.barrier()
