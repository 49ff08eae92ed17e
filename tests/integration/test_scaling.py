"""``hpc-gw scaling``: a sweep of the small job that is stopped and goes on, and its forecast."""

import json

import pytest

from hpc_gw.cli import main
from hpc_gw.scaling.points import PARTS

OPTIONS = ["--ranks", "1", "2", "--repeats", "1", "--steps", "16", "--rows", "64"]


@pytest.mark.slow
def test_a_sweep_is_measured_resumed_and_forecast(tiny, tmp_path, capsys):
    output = tmp_path / "scaling.json"
    command = ["scaling", "run", str(tiny), "-o", str(output), *OPTIONS]
    assert main([*command, "--what", "train"]) == 0
    first = json.loads(output.read_text())["points"]
    assert main([*command, "--what", "train", "generate"]) == 0
    content = json.loads(output.read_text())
    assert content["points"][:2] == first  # not measured again
    assert [(p["what"], p["ranks"]) for p in content["points"][2:]] == [
        ("generate", 1), ("generate", 2),
    ]  # fmt: skip
    for p in content["points"]:
        assert sum(p[part] for part in PARTS) == pytest.approx(p["wall_s"], rel=0.2)
    assert content["points"][1]["wire_bytes"] > 0
    assert content["machine"]["cores"]
    assert content["recipe"]["versions"]["torch"]
    for suffix in (".md", ".png", ".pdf"):
        assert output.with_suffix(suffix).stat().st_size > 0
    assert not output.with_name("scaling.json.work").exists()

    forecast = ["scaling", "forecast", str(output), "--machine", "hal", "--gpus", "1", "64"]
    numbers, plot = tmp_path / "forecast.json", tmp_path / "forecast.png"
    assert main([*forecast, "-o", str(numbers), "--plot", str(plot)]) == 0
    rows = json.loads(numbers.read_text())["rows"]
    assert rows[0]["efficiency"] == 1
    assert 0 < rows[1]["efficiency"] < 1
    assert plot.stat().st_size > 0

    capsys.readouterr()
    assert main([*command, "--steps", "32"]) == 2
    assert "holds another sweep (steps: 16)" in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_is_measured(tiny, tmp_path):
    output = tmp_path / "scaling.json"
    coarse = ["--set", "evaluation.time_grid={dt: 10.0}"]
    command = ["scaling", "run", str(tiny), "-o", str(output), *OPTIONS, *coarse]
    assert main([*command, "--what", "evaluate"]) == 0
    points = json.loads(output.read_text())["points"]
    assert [(p["what"], p["ranks"], p["items"]) for p in points] == [
        ("evaluate", 1, 512), ("evaluate", 2, 1024),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "JOB", "--what", "sleep"], "sleep: choose from generate, train, evaluate"),
        (["run", "JOB", "--kind", "odd"], "odd: choose from weak, strong"),
        (["run", "JOB", "--ranks", "0"], "positive"),
        (["run", "JOB", "--kind", "strong", "--ranks", "3"], "does not divide evenly"),
        (["run", "JOB", "-o", "x.txt"], "give it that ending"),
        (["forecast", "--machine", "hal"], "--step-time"),
        (["forecast", "none.json", "--machine", "hal"], "no such file"),
        (["forecast", "--model", "khan2020", "--machine", "hal"], "--step-time"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tiny, capsys, words, line):
    assert main(["scaling", *(str(tiny) if word == "JOB" else word for word in words)]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
