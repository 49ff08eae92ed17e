"""Ranks from launcher variables, without a launcher."""

import importlib.util
import socket
import sys
import types

import pytest
import torch

from hpc_gw.config import build
from hpc_gw.distributed import (
    ParallelConfig,
    SerialWorld,
    detect_launch,
    launch,
    lost_ranks,
    mpi_world,
    parallel,
)
from hpc_gw.errors import ConfigError, LaunchError, MissingDependencyError, RanksLostError

VARIABLES = (
    "WORLD_SIZE", "RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_SIZE", "PMI_RANK",
    "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK",
    "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "MASTER_ADDR", "MASTER_PORT",
    "HOROVOD_SIZE", "HOROVOD_RANK", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE",
    "HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT", "SLURM_JOB_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what a test leaves behind is taken back, too
        monkeypatch.delenv(name)


def test_without_a_launcher_a_process_is_alone():
    assert detect_launch().size == 1
    assert isinstance(mpi_world(), SerialWorld)
    with parallel() as ranks:
        assert (ranks.name, ranks.world.rank, ranks.world.size) == ("serial", 0, 1)
        assert ranks.device.type in ("cpu", "cuda")
        assert ranks.world.sum(3.5) == 3.5


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WORLD_SIZE": 8, "RANK": 5, "LOCAL_RANK": 1}, ("torchrun", 8, 5, 1)),
        ({"PMI_SIZE": 4, "PMI_RANK": 2}, ("mpiexec", 4, 2, 2)),
        ({"PMI_SIZE": 4, "PMI_RANK": 2, "MPI_LOCALRANKID": 0}, ("mpiexec", 4, 2, 0)),
        ({"JSM_NAMESPACE_SIZE": 6, "JSM_NAMESPACE_RANK": 3}, ("jsrun", 6, 3, 3)),
        (
            {"SLURM_STEP_NUM_TASKS": 16, "SLURM_PROCID": 9, "SLURM_LOCALID": 1},
            ("srun", 16, 9, 1),
        ),
        (
            {"HOROVOD_SIZE": 4, "HOROVOD_RANK": 3, "HOROVOD_LOCAL_RANK": 1},
            ("horovodrun", 4, 3, 1),
        ),
        # a leftover of another launcher does not hide the ranks that were started
        ({"WORLD_SIZE": 1, "RANK": 0, "PMI_SIZE": 4, "PMI_RANK": 3}, ("mpiexec", 4, 3, 3)),
        # torchrun inside a Slurm job: the inner launcher is the one that counts
        (
            {"WORLD_SIZE": 2, "RANK": 1, "LOCAL_RANK": 1, "SLURM_STEP_NUM_TASKS": 1,
             "SLURM_PROCID": 0},
            ("torchrun", 2, 1, 1),
        ),
    ],
)  # fmt: skip
def test_launchers_are_told_by_their_variables(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    launch = detect_launch()
    assert (launch.launcher, launch.size, launch.rank, launch.local_rank) == expected


def test_variables_that_are_no_numbers_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(LaunchError, match="WORLD_SIZE=two"):
        detect_launch()


def test_ranks_on_several_nodes_need_an_address_to_meet_at(monkeypatch):
    monkeypatch.setenv("JSM_NAMESPACE_SIZE", "12")
    monkeypatch.setenv("JSM_NAMESPACE_RANK", "0")
    with pytest.raises(LaunchError, match="MASTER_ADDR"), parallel():
        pass


def start_as(monkeypatch, rank, size=2, **variables):
    for name, value in {"WORLD_SIZE": size, "RANK": rank, "LOCAL_RANK": rank, **variables}.items():
        monkeypatch.setenv(name, str(value))


def refusal(error, **config):
    """The one line with which joining ends."""
    with pytest.raises(error) as caught, parallel(ParallelConfig(**config)):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        start_as(monkeypatch, 0, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        line = refusal(LaunchError)
    assert f"MASTER_PORT={port}" in line and "export MASTER_PORT" in line


def test_an_address_where_nobody_listens_is_named(monkeypatch, port):
    start_as(monkeypatch, 1, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    line = refusal(LaunchError, timeout_s=0.2)
    assert f"MASTER_ADDR=127.0.0.1, MASTER_PORT={port}: rank 1 reached nobody" in line
    monkeypatch.setenv("MASTER_ADDR", "no-such-host.invalid")
    assert "no-such-host.invalid" in refusal(LaunchError, timeout_s=0.2)


def test_ranks_that_do_not_come_are_not_waited_for_for_ever(monkeypatch, port):
    start_as(monkeypatch, 0, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    assert "did not meet within 1 s" in refusal(LaunchError, timeout_s=1)


def test_a_port_that_is_no_number_is_refused(monkeypatch):
    start_as(monkeypatch, 0, MASTER_ADDR="127.0.0.1", MASTER_PORT="http")
    assert "MASTER_PORT=http" in refusal(LaunchError)


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(launch, "gpus", lambda: 2)
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    third = launch.Launch("torchrun", 4, 2, 2)
    with pytest.raises(LaunchError, match="local rank 2 on a node with 2 GPUs"):
        launch.choose_device(third)
    assert launch.choose_device(third, shared=True) == torch.device("cuda", 0)
    assert launch.choose_device(launch.Launch("torchrun", 4, 1, 1)).index == 1
    monkeypatch.setattr(launch, "gpus", lambda: 1)
    assert launch.choose_device(launch.Launch("srun", 8, 5, 3)).index == 0
    assert len(chosen) == 3


def test_nccl_needs_a_gpu(monkeypatch):
    monkeypatch.setattr("hpc_gw.distributed.torch_engine.gpus", lambda: 0)
    start_as(monkeypatch, 0)
    assert "choose gloo" in refusal(ConfigError, backend="nccl")


def test_horovod_that_is_not_installed_is_asked_for(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "horovod" else find(n))
    start_as(monkeypatch, 0)
    assert "make horovod" in refusal(MissingDependencyError, engine="horovod")


def test_ranks_of_another_mpi_than_horovods_are_told_so(monkeypatch):
    fake = types.SimpleNamespace(init=lambda: None, size=lambda: 1)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: {"horovod": 1}.get(n) or find(n))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", types.ModuleType("MPI"))
    monkeypatch.setitem(sys.modules, "horovod.torch", fake)
    for name in ("GLOO_TIMEOUT", "STALL_CHECK_TIME", "STALL_SHUTDOWN_TIME"):
        monkeypatch.setenv(f"HOROVOD_{name}_SECONDS", "5")
    start_as(monkeypatch, 0)
    assert "started 2 ranks, but Horovod sees 1" in refusal(LaunchError, engine="horovod")


@pytest.mark.parametrize("compression", ["bf16", "powersgd"])
def test_horovod_has_no_other_compression_than_fp16(monkeypatch, compression):
    content = {"engine": "horovod", "compression": compression}
    with pytest.raises(ConfigError, match=f"compression = {compression}: Horovod has"):
        build(ParallelConfig, content)
    for name, value in {"SIZE": 2, "RANK": 0, "LOCAL_RANK": 0}.items():  # found out by auto
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))
    assert "choose one of these" in refusal(ConfigError, compression=compression)


def horovodrun(monkeypatch, local_size, address="192.0.2.1"):
    for name, value in {
        "SIZE": 2, "RANK": 0, "LOCAL_RANK": 0, "LOCAL_SIZE": local_size,
        "GLOO_RENDEZVOUS_ADDR": address, "GLOO_RENDEZVOUS_PORT": 45_678,
    }.items():  # fmt: skip
        monkeypatch.setenv(f"HOROVOD_{name}", str(value))


@pytest.mark.parametrize(("local_size", "address"), [(2, "192.0.2.1"), (1, "127.0.0.1")])
def test_torch_meets_where_horovodrun_runs(monkeypatch, local_size, address):
    horovodrun(monkeypatch, local_size, address)
    monkeypatch.setattr(launch, "_require_free", lambda port: None)
    launch.meet(detect_launch(), 1.0)
    assert launch.os.environ["MASTER_ADDR"] == "127.0.0.1"
    assert launch.os.environ["MASTER_PORT"] == "25679"


def test_a_first_rank_elsewhere_than_horovodrun_needs_an_address(monkeypatch):
    horovodrun(monkeypatch, local_size=1)  # 192.0.2.1 is nobody's
    assert "export MASTER_ADDR" in refusal(LaunchError, engine="torch")


@pytest.mark.parametrize("text", [
    "[.../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1453. This is",
    "Read error [127.0.0.1]:25499: Connection reset by peer",
    "[.../unbound_buffer.cc:78] Timed out waiting 5000ms for recv operation to complete",
])  # fmt: skip
def test_errors_of_lost_ranks_are_told_from_others(text):
    with pytest.raises(RanksLostError, match="another training rank is gone") as caught, \
            lost_ranks():  # fmt: skip
        raise RuntimeError(text)
    assert caught.value.exit_code == 75
    with pytest.raises(RuntimeError, match="shapes"), lost_ranks():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
