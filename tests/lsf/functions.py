"""What the tests' jobs do; they find these by name, through the PYTHONPATH that they inherit."""

import os
import sys
import time
from pathlib import Path

from submitit.core.utils import DelayedSubmission


def add(a, b):
    return a + b


def fail(word):
    print("about to fail", file=sys.stderr)
    raise ValueError(f"no such {word}")


def die():
    print("the library said: bad magic", file=sys.stderr, flush=True)
    os._exit(3)


def wait_for(path, patience_s=300):
    end = time.monotonic() + patience_s
    while not Path(path).exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.05)
    return True


def all_reduce(values):
    """This rank's part of a sum over the ranks of jsrun."""
    import torch  # noqa: PLC0415

    from hpc_gw.distributed import ParallelConfig, detect_launch, parallel  # noqa: PLC0415

    with parallel(ParallelConfig(backend="gloo", timeout_s=30)) as ranks:
        rank, size = ranks.world.rank, ranks.world.size
        total = float(ranks.sum(torch.tensor([float(values[rank])])))
        return rank, size, total, detect_launch().launcher, os.environ["MASTER_PORT"]


def environment():
    from submitit import JobEnvironment  # noqa: PLC0415

    job = JobEnvironment()
    return {name: getattr(job, name) for name in (
        "cluster", "job_id", "lsf_id", "array_task_id", "num_tasks", "num_nodes", "node",
        "global_rank", "local_rank", "hostnames",
    )}  # fmt: skip


def train(arguments):
    """``hpc-gw`` in the job's process."""
    from hpc_gw.cli import main  # noqa: PLC0415

    return main(arguments)


class Steps:
    """Counts steps up to a total, and writes down where each run began.

    Args:
        folder: for ``log`` (a line for each run, with its first step) and ``step``.
        total: steps to do.
        periodic: write ``step`` after each, not only when told.
        last: the run that the last step is left for, from 1: those before it must be ended.
    """

    def __init__(self, folder, total, periodic=False, last=1):
        self.folder, self.total, self.periodic = Path(folder), total, periodic
        self.last = last
        self.step = 0

    def __call__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.periodic and (self.folder / "step").exists():
            self.step = int((self.folder / "step").read_text())
        with (self.folder / "log").open("a") as log:
            log.write(f"{self.step}\n")
        run = len((self.folder / "log").read_text().split())
        while self.step < self.total:
            time.sleep(0.05)
            if run < self.last and self.step == self.total - 1:
                continue
            self.step += 1
            if self.periodic:
                (self.folder / "new").write_text(str(self.step))
                (self.folder / "new").replace(self.folder / "step")
        return self.step

    def checkpoint(self):
        with (self.folder / "told").open("a") as told:
            told.write(f"{self.step}\n")
        return DelayedSubmission(self)
