"""The profile runs, counts what was done by hand, and finds the parts of any network."""

import importlib
import json
import subprocess
import sys

import pytest
import torch
from torch import nn


@pytest.fixture
def ops(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module("profiling_ops")


@pytest.fixture
def ceilings(ops):
    return importlib.import_module("profiling_ceilings").Ceilings(
        threads=1,
        bandwidth={1000: 100.0, 10_000: 50.0, 1_000_000: 10.0},
        triad=10.0,
        first_touch=1.0,
        product={"float32": 1000.0, "float64": 500.0},
        function={"exp float32": 0.5, "exp float64": 1.0},
        dispatch=0.25,
    )


def test_the_tiny_profile_runs(root, tmp_path):
    result = tmp_path / "profile.json"
    script = root / "benchmarks/profiling.py"
    words = ["--tiny", "--threads", "1", "--json", str(result)]
    subprocess.run([sys.executable, str(script), *words], cwd=root, check=True, timeout=600)
    content = json.loads(result.read_text())
    assert content["recipe"]["versions"]["torch"]
    workloads = content["threads"]["1"]
    assert workloads.pop("ceilings")["dispatch"] > 0
    assert len(workloads) == 5
    for found in workloads.values():
        assert found["seconds"] > 0 and found["floor_s"] > 0 and found["bound"]
        assert sum(s["calls"] for s in found["stages"].values()) == found["calls"]
    step = next(v for k, v in workloads.items() if "training" in k)["stages"]
    assert any(k.startswith("forward: blocks.") for k in step)
    assert any(k.startswith("backward: blocks.") for k in step) and "optimizer" in step


def test_bytes_flops_and_values_by_hand(ops, ceilings):
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    with ops.Recorder(ceilings) as recorder:
        with recorder.stage("product"):
            c = a @ b
        with recorder.stage("function"):
            c.exp()
        with recorder.stage("expanded"):
            torch.ones(1).expand(100) + torch.ones(100)
        with recorder.stage("squares"):
            c.square()
    product, function = recorder.stages["product"], recorder.stages["function"]
    assert product.bytes == 4 * (200 + 600 + 300) and product.flops == 2 * 10 * 20 * 30
    # 4,400 bytes at 50 a second, 12,000 FLOPs at 1,000: the memory is the floor
    assert product.floor_s == pytest.approx(88) and product.bound(0.25) == "memory"
    assert function.values == 300 and function.values_s == pytest.approx(150)
    assert recorder.operations["add 100 100 float32"].bytes == 4 * (1 + 100 + 100)
    assert recorder.stages["squares"].values == 0


def test_views_cost_a_call_alone_and_updates_move_bytes_twice(ops, ceilings):
    x = torch.ones(100)
    with ops.Recorder(ceilings) as recorder:
        with recorder.stage("view"):
            x.view(10, 10).t()
        with recorder.stage("update"):
            x.mul_(2.0)
    assert recorder.stages["view"].calls == 2 and recorder.stages["view"].bytes == 0
    assert recorder.stages["update"].bytes == 2 * 400


def test_parts_of_any_network_are_found(ops):
    named_parts = importlib.import_module("profiling_workloads")._named_parts
    network = nn.Module()
    network.first = nn.Linear(2, 2)
    network.list = nn.ModuleList([nn.ReLU(), nn.Linear(2, 2)])
    assert [name for name, _ in named_parts(network)] == ["first", "list.0", "list.1"]
