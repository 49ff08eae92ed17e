"""Forecasts: limits, a synthetic machine found again, compression, bad input."""

import dataclasses
import itertools

import numpy as np
import pytest

from hpc_gw.errors import ConfigError, HpcGwError
from hpc_gw.models.presets import PRESETS
from hpc_gw.scaling.forecast import exposed, forecast, step
from hpc_gw.scaling.machines import FOLDER, Link, Machine, load_machine, machine_names
from hpc_gw.scaling.sources import changed, from_model
from hpc_gw.scaling.workload import (
    Bucket,
    Compression,
    Gradient,
    Workload,
    buckets,
    gradients_of,
    norm_messages,
    parse_compression,
)

NONE = Compression(kind="none")


def machine(**options):
    fields = {
        "name": "synthetic", "gpu": "none", "nodes": 5000, "gpus_per_node": 6,
        "within": {"latency_us": 2, "bandwidth_gb_s": 50},
        "between": {"latency_us": 5, "bandwidth_gb_s": 25},
        "input_gb_s": 1e9, "filesystem_gb_s": 1e9,
    }  # fmt: skip
    fields |= options
    for name in ("within", "between"):
        fields[name] = Link(**fields[name])
    return Machine(**fields)


def work(**options):
    fields = {
        "name": "w", "compute_s": (0.1,), "gradients": (Gradient((1000, 1000), 1.0),),
        "batch": 64, "rows": 1_580_128, "epochs": 100.0,
    }  # fmt: skip
    return Workload(**(fields | options))


def test_one_gpu_communicates_nothing_and_is_perfectly_efficient():
    (row,) = forecast(work(), machine(), [1], [NONE], draws=5)
    assert row["exposed_s"] == row["small_s"] == row["straggling_s"] == 0
    assert row["efficiency"] == 1
    assert row["hours"] == pytest.approx(100 * 1_580_128 / 64 * 0.1 / 3600)


def test_with_infinite_links_and_no_spread_nothing_is_lost():
    fast = {"latency_us": 0, "bandwidth_gb_s": 1e15}
    rows = forecast(work(), machine(within=fast, between=fast), [64, 27_360], [NONE], draws=3)
    assert [row["efficiency"] for row in rows] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("overlap", [True, False])
def test_efficiency_is_at_most_one_and_falls_with_gpus(overlap):
    spread = tuple(np.random.default_rng(0).normal(1, 0.02, 200).tolist())
    gpus = [1, 2, 6, 12, 64, 512, 1536, 6144, 27_360]
    rows = forecast(work(spread=spread), machine(overlap=overlap), gpus, [NONE], draws=20)
    found = [row["efficiency"] for row in rows]
    assert found == sorted(found, reverse=True)
    assert found[0] <= 1
    for row in rows:
        low, high = row["efficiency_band"]
        assert low <= row["efficiency"] * 1.01
        assert high <= 1


def test_exposed_gradients_by_hand():
    a, b = Gradient((100,), 1.0), Gradient((50,), 9.0)
    portions = [Bucket((a,), 0.1), Bucket((b,), 1.0)]
    cost = {400.0: 3.0, 200.0: 1.0}.__getitem__
    # ready at 1 s, sent until 4; the last is ready at 10 and takes 1
    assert exposed(portions, NONE, 10.0, cost, overlap=True) == pytest.approx(1.0)
    # backward of 2 s: ready at 0.2, sent until 3.2, then 1 more
    assert exposed(portions, NONE, 2.0, cost, overlap=True) == pytest.approx(2.2)
    assert exposed(portions, NONE, 2.0, cost, overlap=False) == pytest.approx(4.0)


def test_links_of_a_synthetic_machine_are_found_again_from_its_forecasts():
    # flat ring of n ranks: step = compute + 2 (n - 1) latency + 2 (n - 1) / n size / bandwidth
    truth = machine(hierarchical=False, algorithm="ring", overlap=False, nodes=8, gpus_per_node=1)
    sizes, ranks = ((100, 100), (1000, 1000)), (2, 4, 8)
    rows, times = [], []
    for shape, n in itertools.product(sizes, ranks):
        asked = work(gradients=(Gradient(shape, 1.0),))
        size = 4 * shape[0] * shape[1]
        rows.append([1.0, 2 * (n - 1), 2 * (n - 1) / n * size])
        times.append(step(asked, truth, n, NONE).total_s)
    (compute, latency, per_byte), *_ = np.linalg.lstsq(np.array(rows), np.array(times), rcond=None)
    assert compute == pytest.approx(0.1, rel=1e-9)
    assert latency == pytest.approx(5e-6, rel=1e-6)
    assert per_byte == pytest.approx(1 / 25e9, rel=1e-6)


def test_the_band_covers_a_synthetic_machine_whose_steps_scatter():
    rng = np.random.default_rng(5)
    measured = tuple(rng.normal(0.1, 0.005, 15).tolist())
    (row,) = forecast(work(compute_s=measured), machine(spread=0.2), [1536], [NONE])
    low, high = row["step_s_band"]
    assert low < step(work(), machine(), 1536, NONE).total_s < high
    assert low < row["step_s"] < high


def test_reading_limits_a_step_whose_input_is_slower_than_computing():
    slow = machine(input_gb_s=1.0)
    (row,) = forecast(work(input_bytes=1e8), slow, [12], [NONE], draws=2)
    assert row["step_s"] == pytest.approx(6 * 64 * 0.1)  # six GPUs of a node, 64 of 0.1 GB each
    assert row["limit"] == "input"


def test_ranks_that_share_a_core_take_turns():
    local = machine(nodes=1, gpus_per_node=2, shared=True)
    rows = forecast(work(), local, [2, 4], [NONE], draws=2)
    assert rows[1]["compute_s"] == pytest.approx(2 * rows[0]["compute_s"])


def test_the_published_gradient_is_two_layers_in_two_buckets():
    gradients = gradients_of(PRESETS["khan2020"])
    assert 4 * sum(g.size for g in gradients) == 41_182_304
    portions = buckets(gradients, 25)
    # as DistributedDataParallel reports them, torch 2.13
    assert [4 * sum(g.size for g in b.gradients) for b in portions] == [40_974_356, 207_948]
    assert portions[0].ready < 0.03
    assert norm_messages(PRESETS["khan2020"]) == 100
    assert norm_messages(PRESETS["compact"]) == 0


def test_compressions_send_what_the_loop_counts():
    gradients = gradients_of(PRESETS["khan2020"])
    sent = {
        text: sum(parse_compression(text).messages(gradients))
        for text in ("none", "bf16", "powersgd-1", "powersgd-4")
    }
    assert sent == {
        "none": 41_182_304, "bf16": 20_591_152, "powersgd-1": 124_592, "powersgd-4": 425_824,
    }  # fmt: skip


@pytest.mark.parametrize("name", machine_names())
def test_each_machine_of_the_package_can_be_forecast(name):
    known = load_machine(name)
    assert (FOLDER / f"{name}.yaml").read_text().count("#") >= 2  # sources
    rows = forecast(from_model("khan2020", [1.0]), known, [1, known.gpus], [NONE], draws=2)
    assert 0 < rows[1]["efficiency"] <= 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: parse_compression("zip"), "--compression zip: choose none"),
        (lambda: parse_compression("powersgd-0"), "powersgd-4"),
        (lambda: load_machine("sumit"), "choose from frontier, hal"),
        (lambda: load_machine("no.yaml"), "cannot be read"),
        (lambda: from_model("khan2020", []), "--step-time"),
        (lambda: from_model("none", [1.0]), "choose from khan2020"),
        (lambda: changed(work(), compute_s=(-1.0,)), "above 0"),
        (lambda: changed(work(), batch=0), "batch"),
        (lambda: forecast(work(), machine(), [0], [NONE]), "--gpus 0"),
        (lambda: forecast(work(), machine(), [40_000], [NONE]), "has 30,000"),
    ],
)
def test_bad_input_is_one_line(wrong, words):
    with pytest.raises(HpcGwError) as caught:
        wrong()
    assert isinstance(caught.value, ConfigError)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_machine_file_with_a_wrong_key_names_the_right_one(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text((FOLDER / "hal.yaml").read_text().replace("call_us", "call_as"))
    with pytest.raises(ConfigError, match="did you mean 'call_us'"):
        load_machine(str(path))


def test_options_replace_only_what_is_given():
    base = work()
    assert changed(base, batch=None, epochs=3.0) == dataclasses.replace(base, epochs=3.0)
