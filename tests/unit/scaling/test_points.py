"""What a sweep's numbers mean: parts of the time, speed-ups by turns, intervals, the file."""

import json
import sys

import pytest

from hpc_gw.config import to_dict
from hpc_gw.errors import ConfigError, DataError
from hpc_gw.scaling.launchers import choose_launcher, commands
from hpc_gw.scaling.points import PARTS, Point, Sweep, read_sweep, split, summarise
from hpc_gw.scaling.rows import rows_numbers
from hpc_gw.scaling.tables import forecast_table, seconds, sweep_table
from hpc_gw.scaling.training import training_numbers


def point(ranks, turn, rate, **options):
    fields = {
        "what": "train", "kind": "weak", "ranks": ranks, "turn": turn, "items": 64, "rate": rate,
        "wall_s": 1.0, "data_s": 0.1, "compute_s": 0.6, "waiting_s": 0.1, "communication_s": 0.1,
        "idle_s": 0.1, "slowest_s": 0.8,
    }  # fmt: skip
    return Point(**(fields | options))


def test_parts_add_up_to_the_whole():
    parts = split(10.0, 1.0, 6.0, slowest_s=8.0, exchanging_s=2.5)
    assert parts == {
        "data_s": 1.0, "compute_s": 6.0, "waiting_s": 1.0, "communication_s": 1.5, "idle_s": 0.5,
        "slowest_s": 8.0,
    }  # fmt: skip
    assert sum(parts[name] for name in PARTS) == 10.0


def test_a_rank_that_waits_for_a_slow_one_is_not_called_busy():
    reports = [
        {"wall_s": 10.0, "exchanging_s": 1.0, "idle_s": 0.0},
        {"wall_s": 10.0, "exchanging_s": 0.5, "idle_s": 5.5},
    ]
    numbers = rows_numbers(reports, 100)
    assert numbers["rate"] == 10
    assert numbers["slowest_s"] == 9
    assert numbers["compute_s"] == 6.5
    assert numbers["waiting_s"] == 2.5
    assert numbers["communication_s"] == 1
    assert sum(numbers[name] for name in PARTS) == 10


def test_a_trainings_first_quarter_is_left_out():
    records = [
        {"step": i, "seconds": 100.0 + i if i > 2 else 50.0 * i, "data_s": 0.1, "compute_s": 0.6,
         "communication_s": 0.2, "slowest_s": 0.75, "wire_bytes": 4000.0}
        for i in range(1, 9)
    ]  # fmt: skip
    numbers = training_numbers(records, batch=64)
    assert numbers["items"] == 64 * 6
    assert numbers["wall_s"] == pytest.approx((108 - 100) / 6)
    assert numbers["waiting_s"] == pytest.approx(0.05)
    assert numbers["communication_s"] == pytest.approx(0.15)
    assert len(numbers["busy_s"]) == 6
    with pytest.raises(DataError, match="raise --steps"):
        training_numbers(records[:3], 64)


def test_speed_up_is_taken_turn_by_turn_so_that_a_load_on_both_cancels():
    rates = {0: 1.0, 1: 0.5, 2: 0.25}  # the machine gets busier
    points = [point(n, t, f * n * 0.9 ** (n > 1)) for t, f in rates.items() for n in (1, 2, 4)]
    rows = {row["ranks"]: row for row in summarise(points)}
    assert rows[2]["efficiency"] == pytest.approx(0.9)
    assert rows[2]["efficiency_interval"] == pytest.approx([0.9, 0.9])
    assert rows[4]["speed_up"] == pytest.approx(3.6)
    assert rows[1]["rate_interval"][0] < rows[1]["rate"] < rows[1]["rate_interval"][1]


def test_a_point_without_its_turns_base_has_no_speed_up():
    rows = summarise([point(1, 0, 1.0), point(2, 1, 1.9)])
    assert "speed_up" not in rows[1]
    assert "| - | - | - |" in sweep_table(rows)


def test_a_sweeps_file_is_read_as_it_was_written(tmp_path):
    sweep = Sweep({"job": {}}, {"commit": ""}, {"cpu": "x"}, [point(1, 0, 1.0)])
    sweep.write(tmp_path / "s.json")
    assert read_sweep(tmp_path / "s.json") == sweep
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["summary"][0]["efficiency"] == 1


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"format": "hpc_gw scaling 1", "points": [{}]}', "x"]
)
def test_another_file_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_sweep(path)
    assert "\n" not in str(caught.value)


def test_a_point_cannot_be_negative():
    with pytest.raises(ValueError, match="wall_s"):
        Point(**{**to_dict(point(1, 0, 1.0)), "wall_s": -1.0})


def test_launchers_start_as_many_ranks_as_asked():
    ((srun, _),) = commands("srun", ["-m", "x"], 8, mpi=True, bind=True, options="--mpi=pmi2 -c 7")
    assert srun == ["srun", "-n", "8", "--mpi=pmi2", "-c", "7", sys.executable, "-m", "x"]
    ((jsrun, _),) = commands("jsrun", ["x"], 6, mpi=False, bind=False, options="-c 7 -g 1")
    assert jsrun == ["jsrun", "-n", "6", "-a", "1", "-c", "7", "-g", "1", sys.executable, "x"]
    local = commands("local", ["x"], 3, mpi=False, bind=False)
    assert [variables["RANK"] for _, variables in local] == ["0", "1", "2"]
    with pytest.raises(ConfigError, match="launcher-options"):
        commands("srun", ["x"], 1, mpi=False, bind=False, options="'open")


def test_an_allocation_chooses_its_launcher(monkeypatch):
    assert choose_launcher("auto", {}) == "local"
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert choose_launcher("auto", {"SLURM_JOB_ID": "1"}) == "srun"
    assert choose_launcher("auto", {"LSB_JOBID": "1"}) == "jsrun"
    assert choose_launcher("local", {"SLURM_JOB_ID": "1"}) == "local"


def test_seconds_are_shown_in_a_unit_that_can_be_read():
    assert [seconds(x) for x in (1.05, 3.2e-3, 14e-6, 0.0)] == ["1.05 s", "3.2 ms", "14 us", "0"]
    assert forecast_table([]).count("|---") == 14
