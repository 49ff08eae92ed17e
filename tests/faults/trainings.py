"""Trainings started as a user starts them, to be compared, stopped and killed."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hpc_gw.cli import main
from hpc_gw.pipeline import rank_variables
from hpc_gw.training.checkpoints import paths
from tests.faults.generators import environment, launched, wait_for
from tests.integration.conftest import TINY

ALIKE = (
    "model.dropout=0", "train.loss.mismatch_weight=0", "train.loss.kind=direct",
    "train.optimizer.lr=1e-4", "train.log_steps=1",
)  # fmt: skip
"""Nothing that is a rank's own (dropout), or makes much of rounding: the mismatch of an untrained
network, spins solved for near q = 1 (with LayerNorm and a rate of 1e-3, 1e-7 at step 1 is 1e-1 at
step 50). Every step is logged."""


class Training:
    """The ranks of one ``hpc-gw train``; use it as a context, which leaves no process behind.

    Args:
        folder: output folder of the job; ``make_sets`` made its data.
        settings: KEY=VALUE of the job.
        ranks: of torch.distributed.
        words: how Python is started; each rank gets the same.
    """

    def __init__(self, folder, *settings, ranks=1, words=(sys.executable,), launcher=0):
        command = [*words, "-m", "hpc_gw"] if words[-1] == sys.executable else [*words]
        command += ["train", str(folder.parent / "job.yaml"), "--output", str(folder)]
        command += [word for setting in settings for word in ("--set", setting)]
        self.folder = folder
        self._outputs, self.processes = [], []
        for rank, variables in enumerate(rank_variables(ranks)):
            name = f"{folder.name}-{rank}-{time.monotonic_ns()}.txt"
            self._outputs.append(folder.parent / name)
            with self._outputs[-1].open("w") as output:
                self.processes.append(
                    subprocess.Popen(
                        launched(launcher, command), env=environment(**variables),
                        stdout=output, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    @property
    def alive(self):
        return all(process.poll() is None for process in self.processes)

    def wait_for_step(self, step):
        """Until so many steps are in the log; False where the training ended before."""
        log = self.folder / "train.jsonl"
        wait_for(lambda: not self.alive or steps_logged(log) >= step)
        return self.alive

    def end(self, timeout=600):
        """Exit codes of the ranks."""
        return [process.wait(timeout) for process in self.processes]

    def lines(self, rank=0):
        """What a rank said but progress bars and warnings: the lines that are the command's."""
        text = self._outputs[rank].read_text().replace("\r", "\n")
        assert "Traceback" not in text, text
        return [line[line.index("hpc-gw") :] for line in text.splitlines() if "hpc-gw" in line]

    def said(self, rank=0):
        """All that a rank printed."""
        return self._outputs[rank].read_text()


def write_job(folder):
    """TINY's YAML file in a folder."""
    path = folder / "job.yaml"
    path.write_text(TINY + f"output: {folder / 'run'}\n")
    return path


def make_sets(folder):
    """A job in a folder, and what it is trained on in ``data``."""
    job = write_job(folder)
    assert main(["generate", str(job), "--output", str(folder / "made")]) == 0
    return folder / "made" / "data"


def new_run(data, name="run"):
    """An output folder beside the job, with the job's data linked into it."""
    folder = data.parent.parent / name
    folder.mkdir()
    (folder / "data").symlink_to(data)
    return folder


def copied_run(data, name="run"):
    """The same with data of its own, to be damaged."""
    folder = data.parent.parent / name
    shutil.copytree(data, folder / "data")
    return folder


def trained(folder, *settings, **how):
    """Train to the end; the output folder."""
    with Training(folder, *settings, **how) as training:
        codes = training.end()
        assert not any(codes), training.said()
    return folder


def by_mpiexec(folder, *settings, ranks):
    """Train to the end under Horovod, started by mpiexec."""
    return trained(folder, *settings, "train.parallel.engine=horovod", launcher=ranks)


def records(folder):
    """Those of the log that can be read."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        found += map(json.loads, (folder / "train.jsonl").read_text().splitlines())
    return found


def steps_logged(log):
    """The last step in a log that is being written."""
    found = records(log.parent)
    return found[-1]["step"] if found else 0


def losses(folder, key="loss"):
    """The logged values of a key by step."""
    return {r["step"]: r[key] for r in records(folder) if r.get(key) is not None}


def deviation(one, other):
    """Largest relative difference of two loss curves, which must be of the same steps."""
    assert one and one.keys() == other.keys()
    return max(abs(other[step] - loss) / abs(loss) for step, loss in one.items())


def newest_step(folder):
    """Of the newest checkpoint's name; 0 where there is none."""
    found = paths(Path(folder))
    return int(found[0].stem[5:]) if found else 0
