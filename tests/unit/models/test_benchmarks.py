"""The benchmarks of the network run, and their arithmetic is right."""

import importlib.util
import json
import subprocess
import sys

import pytest


def load(root, name):
    spec = importlib.util.spec_from_file_location(name, root / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def training(root):
    return load(root, "training")


def test_the_gpu_benchmark_runs_on_a_cpu(root, tmp_path):
    result = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--tiny", "--no-compile", "--json", str(result)]
    script = root / "benchmarks/gpu.py"
    subprocess.run([sys.executable, str(script), *words], cwd=root, check=True, timeout=900)
    content = json.loads(result.read_text())
    assert {row["model"] for row in content["steps"]} == {"khan2020", "compact"}
    assert {row["precision"] for row in content["steps"]} == {"fp32", "tf32", "bf16"}
    assert all(row["per_s"] > 0 for row in content["steps"])
    assert all(value > 0 for value in content["waveforms"].values())
    assert {row["norm"] for row in content["blocks"]["cases"]} == {"none", "batch", "layer"}
    assert all(row["ratio"] > 0 for row in content["blocks"]["cases"])


def test_bytes_on_the_wire_by_hand(training):
    shapes = [(8, 100), (8,), (2, 3, 1)]  # 800 + 8 + 6 numbers
    assert training.payload(shapes, "none") == 4 * 814
    assert training.payload(shapes, "bf16") == 2 * 814
    # Only the first is worth two factors of (8 + 100) x 2; the third, seen as 2 x 3, is not.
    assert training.payload(shapes, "powersgd", 2) == 4 * (2 * 108 + 8 + 6)
    # 5 x 108 x 2 > 800: nothing is
    assert training.payload(shapes, "powersgd", 5) == 4 * 814


def test_the_rate_of_a_log_leaves_its_warm_up_out(training):
    records = [{"step": 10 * i, "seconds": 100 + 2.0 * i} for i in range(1, 9)]
    records[0]["seconds"] = 0.0
    assert training.rate(records, 64) == 64 * 10 / 2.0


def test_a_case_of_the_benchmark_is_timed(training):
    found = training.time_case({"model": "compact", "batch": 2, "bf16": True, "seconds": 0.01})
    assert found["wall_s"] > 0 and found["peak_mib"] > 50


def test_the_arithmetic_of_a_block_by_hand(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "blocks", None)  # and restored after it
    blocks = load(root, "blocks")
    case = blocks.Case("strided", "none", batch=2, steps=5, dilation=1)
    operations, moved = blocks.arithmetic(case.block(), case.batch, case.steps)
    # 10 steps; weights of 32 x 32, 64 x 32 x 2 and 32 x 32; forward once, backward twice
    assert operations == 3 * 2 * 10 * (1024 + 4096 + 1024)
    assert moved == 4 * 10 * (3 * 32 + 4 * 32)
