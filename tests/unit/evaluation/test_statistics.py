"""Table 1, the counts and the slices, from examples worked by hand."""

# ruff: noqa: RUF001  (a real minus sign is meant)

from __future__ import annotations

import json

import numpy as np
import pytest

from hpc_gw.evaluation import tables
from hpc_gw.evaluation.records import Overlaps, Predictions, Results
from hpc_gw.evaluation.statistics import (
    PAPER_COUNTS,
    PAPER_TABLE_1,
    PAPER_TOTAL,
    Summary,
    by_slice,
    q_slices,
    quantiles_of_error,
    summary,
)


def example(*, failed: bool = False) -> Results:
    """Five waveforms: errors of q are -2, -1, 0, 1, 4 hundredths; the last may fail."""
    truth = np.tile([4.0, 0.1, 0.2, 0.12, 0.9], (5, 1))
    answer = truth.copy()
    answer[:, 0] += np.array([-0.02, -0.01, 0.0, 0.01, 0.04])
    value = np.array([0.97, 0.99, 1.0, 0.90, 0.5])
    if failed:
        answer[4], value[4] = np.nan, np.nan
    row = np.arange(5)
    clipped = np.array([False, True, False, False, False])
    zeros = np.zeros(5)
    overlaps = Overlaps(row, value, zeros, zeros, zeros, clipped)
    return Results(Predictions(row, truth, answer), overlaps, engine="by hand")


def test_table_1_holds_the_quantiles_worked_by_hand() -> None:
    result = summary(example())
    assert result.table["q"] == pytest.approx((-0.02, -0.01, 0.0, 0.01, 0.04))
    assert result.table["s1"] == pytest.approx((0, 0, 0, 0, 0))
    assert result.table["overlap"] == pytest.approx((0.5, 0.90, 0.97, 0.99, 1.0))
    assert result.mean_overlap == pytest.approx(4.36 / 5)
    assert result.clipped == 1


def test_counts_include_the_threshold_itself() -> None:
    assert summary(example()).counts == {0.97: 3, 0.90: 2, 0.85: 1}


def test_a_failure_counts_everywhere_and_as_the_worst() -> None:
    result = summary(example(failed=True))
    assert (result.total, result.failures) == (5, 1)
    assert result.counts == {0.97: 3, 0.90: 2, 0.85: 1}
    assert result.table["overlap"] == pytest.approx((0.0, 0.90, 0.97, 0.99, 1.0))
    assert result.mean_overlap == pytest.approx(3.86 / 5)
    assert result.slices[0].failures == 1
    assert result.slices[0].minimum == 0


def test_a_failed_prediction_has_an_error_without_bound() -> None:
    # with -inf: (-inf, -.02, -.01, 0, .01); with +inf: (-.02, -.01, 0, .01, inf)
    result = summary(example(failed=True))
    low, q1, median, q3, high = result.table["q"]
    assert low is None
    assert high is None
    assert q1 == pytest.approx(-0.02)
    assert q3 == pytest.approx(0.01)
    assert median in (pytest.approx(-0.01), pytest.approx(0.0))
    assert quantiles_of_error(np.full(3, np.nan)) == (None,) * 5


def test_quantiles_without_failures_equal_numpys() -> None:
    error = np.random.default_rng(0).standard_normal(1234)
    np.testing.assert_allclose(
        quantiles_of_error(error), np.quantile(error, [0, 0.25, 0.5, 0.75, 1]), rtol=1e-12
    )


def test_grid_values_make_their_own_slices_and_scattered_ones_bins() -> None:
    grid = np.repeat([1.04, 4.08, 7.92], 10)
    assert [(low, high) for low, high, _ in q_slices(grid)] == [
        (1.04, 1.04),
        (4.08, 4.08),
        (7.92, 7.92),
    ]
    scattered = np.random.default_rng(0).uniform(1, 8, 500)
    slices = q_slices(scattered)
    assert [(low, high) for low, high, _ in slices] == [(i, i + 1) for i in range(1, 8)]
    assert sum(len(rows) for _, _, rows in slices) == 500


def test_slices_of_the_papers_test_grid_are_its_44_mass_ratios() -> None:
    q = np.repeat(1.04 + 0.16 * np.arange(44), 9)
    slices = by_slice(q, np.linspace(0.9, 1, q.size))
    assert len(slices) == 44
    assert {part.count for part in slices} == {9}
    assert slices[0].label == "q = 1.04"
    assert slices[0].mean == pytest.approx(np.linspace(0.9, 1, q.size)[:9].mean())


def test_the_papers_values_are_transcribed() -> None:
    assert PAPER_TABLE_1["overlap"] == (0.278, 0.986, 0.995, 0.999, 1.0)
    assert PAPER_TABLE_1["s2"] == (-0.466, -0.010, 0.0, 0.009, 0.767)
    assert PAPER_COUNTS == {0.97: 18_315, 0.90: 817, 0.85: 181}
    assert PAPER_TOTAL == 44 * 67 * 67


@pytest.fixture(params=[False, True], ids=["whole", "with a failure"])
def result(request: pytest.FixtureRequest) -> Summary:
    return summary(example(failed=request.param))


def test_json_has_numbers_and_the_papers_beside_them(result: Summary) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    found = json.loads(tables.to_json(result), parse_constant=refuse)
    assert found["counts"] == {"0.97": 3, "0.90": 2, "0.85": 1}
    assert found["table"]["overlap"]["median"] == pytest.approx(0.97)
    assert found["paper"]["table"]["q"]["max"] == 0.188
    assert found["failures"] == result.failures


def cells(line: str, mark: str) -> list[str]:
    return [cell.strip(" \\") for cell in line.strip("| ").split(mark)]


def test_markdown_shows_ours_above_the_papers(result: Summary) -> None:
    lines = tables.to_markdown(result).splitlines()
    i = next(k for k, line in enumerate(lines) if line.startswith("| Δs2"))
    assert cells(lines[i], "|")[:2] == ["Δs2", "this run"]
    assert cells(lines[i + 1], "|")[-5:] == ["−0.466", "−0.010", "−0.000", "0.009", "0.767"]
    i = next(k for k, line in enumerate(lines) if line.startswith("| overlap |"))
    low = "0.0000" if result.failures else "0.5000"
    assert cells(lines[i], "|")[2:] == [low, "0.9000", "0.9700", "0.9900", "1.0000"]
    assert "| overlap ≤ 0.97 | 3 | 60.00 % | 18,315 | 9.27 % |" in lines


def test_latex_balances_and_escapes(result: Summary) -> None:
    text = tables.to_latex(result)
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\toprule" in text
    assert r"9.27 \%" in text
    assert r"$\Delta \sigma_{\mathrm{eff}}$" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in body} == {6, 4}
    for character in "−≤∞Δ":
        assert character not in text


def test_console_table_is_aligned_and_states_failures(result: Summary) -> None:
    text = tables.to_text(result)
    first = text.split("\n\n")[0].splitlines()
    assert len({len(line) for line in first}) == 1
    assert ("1 of 5 failed" in text) == (result.failures == 1)
    assert "1 of 5 predictions lay outside" in text


def test_an_overlap_below_one_is_not_shown_as_one() -> None:
    assert tables.overlap_number(0.999_995) == "0.99999"
    assert tables.overlap_number(1.0) == "1.0000"


def test_an_overlap_is_never_rounded_up() -> None:
    """So that 0.97 in a table is not among those at most 0.97 beside it."""
    shown = {0.99987: "0.9998", 0.969999: "0.9699", 0.97: "0.9700", 0.9999: "0.9999", 0.0: "0.0000"}
    assert {x: tables.overlap_number(x) for x in shown} == shown
    for value in np.random.default_rng(0).random(2000):
        assert float(tables.overlap_number(value)) <= value
    assert tables.overlap_number(float("nan")) == "–"
