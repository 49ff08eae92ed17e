"""A Slurm for all tests of this folder: one that runs, or one of their own."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.faults.trainings import make_sets
from tests.slurm.cluster import OURS, Cluster, down, name_of, up

PROGRAMS = ("slurmctld", "slurmd", "munged")


def can_start():
    """Whether this user could start a cluster here."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return os.geteuid() == 0 and all(shutil.which(name, path=path) for name in PROGRAMS)


needs_own = pytest.mark.skipif(not can_start(), reason="needs root and Slurm: make slurm-install")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The cluster that SLURM_CONF names, if ``make slurm-up`` started it, or a new one."""
    conf = os.environ.get("SLURM_CONF")
    if conf and name_of(conf) == OURS:
        yield Cluster(conf, tmp_path_factory.mktemp("jobs"))
        return
    if not can_start():
        pytest.skip("no Slurm of slurm/test_cluster: make slurm-install slurm-up, as root")
    folder = tmp_path_factory.mktemp("slurm") / "cluster"
    yield Cluster(up(folder), folder.with_name("jobs"))
    down(folder)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """What TINY is trained on, made without Slurm, in ``data``; ``new_run`` links it."""
    return make_sets(tmp_path_factory.mktemp("data"))
