"""A Slurm to be tried, and what is asked of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch

from hpc_gw.cli import main
from hpc_gw.training.checkpoints import newest
from tests.faults.generators import ROOT, environment

SCRIPTS = ROOT / "slurm" / "test_cluster"
OURS = "hpcgw"
"""ClusterName of ``slurm/test_cluster``: tests submit nothing to any other."""

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"}


def hpc_gw(*words):
    """The words of our command."""
    return [sys.executable, "-m", "hpc_gw", *map(str, words)]


def up(folder):
    """Start a cluster in a folder; the path of its slurm.conf."""
    words = [str(SCRIPTS / "up"), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr
    name, _, path = done.stdout.strip().removeprefix("export ").partition("=")
    assert name == "SLURM_CONF"
    return Path(path)


def down(folder):
    """Stop the cluster in a folder."""
    subprocess.run([str(SCRIPTS / "down"), str(folder)], check=True, timeout=120)


def name_of(conf):
    """ClusterName of a running cluster, '' where none answers."""
    if shutil.which("scontrol") is None:
        return ""
    words = ["timeout", "20", "scontrol", "show", "config"]
    done = subprocess.run(
        words, env=environment(SLURM_CONF=str(conf)), capture_output=True, text=True, check=False
    )
    names = [line.split() for line in done.stdout.splitlines() if line.startswith("ClusterName")]
    return names[0][2] if names else ""


def weights(run):
    """Of a run's newest checkpoint."""
    return newest(run)[1]["weights"]


def equal(one, other):
    """Whether two networks have the same weights, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


class Cluster:
    """A running Slurm.

    Args:
        conf: its slurm.conf.
        jobs: folder for what ``hpc-gw submit`` writes down.
    """

    def __init__(self, conf, jobs):
        self.environment = environment(SLURM_CONF=str(conf), HPC_GW_JOBS=str(jobs))

    def call(self, *words, timeout=120, cwd=None):
        """Run a command to its end, as a user of this cluster would."""
        words = [str(word) for word in words]
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=timeout, cwd=cwd
        )

    def ask(self, *words, **how):
        """What a command prints, that must not fail."""
        done = self.call(*words, **how)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def hpc_gw(self, *words, code=0):
        """What a command of ours prints, run in this process; it must end with ``code``."""
        printed = io.StringIO()
        with (
            patch.dict(os.environ, self.environment, clear=True),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            ended = main([str(word) for word in words])
        assert ended == code, f"{words}\n{printed.getvalue()}"
        return printed.getvalue()

    def json(self, *words):
        """The same of a command that prints for programs."""
        return json.loads(self.hpc_gw(*words))

    def sbatch(self, folder, *lines, options=()):
        """Submit a script of these lines; the job's id. Its output is ``job-<id>.txt``."""
        script = folder / "job.sh"
        script.write_text("\n".join(["#!/bin/bash", *map(str, lines)]) + "\n")
        words = ("sbatch", "--parsable", "--chdir", folder, "--output", "job-%j.txt")
        return self.ask(*words, "--open-mode=append", *options, script).strip()

    def show(self, job):
        """Slurm's fields of a job: JobState, ExitCode, Restarts, ..."""
        text = self.ask("scontrol", "show", "job", job)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def state(self, job):
        """The state of a job, such as RUNNING."""
        return self.show(job)["JobState"]

    def wait_for(self, job, *states, timeout=120):
        """Until a job has one of the states; its fields."""

        deadline = time.monotonic() + timeout
        while (fields := self.show(job))["JobState"] not in states:
            assert time.monotonic() < deadline, f"waited {timeout} s for {states}: {fields}"
            time.sleep(0.2)
        return fields

    def end_of(self, job, timeout=120):
        """The fields of a job when it has ended."""
        return self.wait_for(job, *ENDED, timeout=timeout)

    def wait_until(self, condition, timeout=120):
        """Until something is true, asked a few times a second."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.ask("squeue")
            time.sleep(0.05)

    def start(self, *words):
        """Begin a command, not waiting for it."""
        words = [str(word) for word in words]
        return subprocess.Popen(
            words, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
