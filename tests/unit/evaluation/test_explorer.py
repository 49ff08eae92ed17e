"""The explorer, in a real browser: it shows the right waveforms, offline, and runs no input."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc_gw.constants import T_MIN
from hpc_gw.errors import DataError
from hpc_gw.evaluation.explorer import write_explorer
from hpc_gw.evaluation.records import Overlaps, Predictions, Refined, Results, Valleys
from hpc_gw.waveforms.surrogate import SurrogateEngine
from hpc_gw.waveforms.surrogate_file import GPFit, SurrogateData

from .conftest import grid_parameters, noisy_predictions, random_parameters

CHROME = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
needs_browser = pytest.mark.skipif(
    CHROME is None, reason="no chromium or chrome on the PATH: the page cannot be opened"
)

HOSTILE = "</script><script>document.title = 'hostile'</script> & <b>$x ${y}</b>"
FAILED, CLIPPED, PLAIN = 4, 5, 20
SETTLE = 20.0
"""Seconds that a page may take to load on a busy machine."""


class Browser:
    """Headless Chromium, driven by the DevTools protocol over a pipe (NUL-separated JSON)."""

    def __init__(self, folder: Path) -> None:
        assert CHROME is not None
        child_reads, self._commands = os.pipe()
        self._answers, child_writes = os.pipe()

        def wire() -> None:  # Chromium reads commands from 3 and answers on 4
            high = [os.dup(child_reads), os.dup(child_writes)]
            for have, wanted in zip(high, (3, 4), strict=True):
                os.dup2(have, wanted)

        self._process = subprocess.Popen(
            [
                CHROME,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--window-size=1400,1100",
                f"--user-data-dir={folder}",
                "--remote-debugging-pipe",
                "about:blank",
            ],
            preexec_fn=wire,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_reads)
        os.close(child_writes)
        self._buffer, self._count, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], SETTLE)
            part = os.read(self._answers, 1 << 16) if ready else b""
            assert part, "the browser has ended, or does not answer"
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(text))

    def evaluate(self, script: str) -> Any:
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, page: Path, fragment: str = "") -> None:
        self.events.clear()
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=page.as_uri() + fragment)
        end = time.monotonic() + SETTLE
        while not self.evaluate("Boolean(window.explorer)"):
            said = self.evaluate("document.body?.innerText.slice(0, 300)")
            assert time.monotonic() < end, f"the page did not load: {said}; {self.problems()}"
            time.sleep(0.05)

    def click(self, x: float, y: float) -> None:
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, x0: float, x1: float, y: float) -> None:
        places = (("mouseMoved", x0), ("mousePressed", x0), ("mouseMoved", (x0 + x1) / 2))
        for kind, x in (*places, ("mouseMoved", x1), ("mouseReleased", x1)):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=1,
                clickCount=1,
            )

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def problems(self) -> list[str]:
        """Exceptions, console errors and refused or made requests since the page was opened."""
        self.call("Runtime.getIsolateId")  # collects what has been said so far
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(parameters["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in (
                "error",
                "warning",
            ):
                found.append(json.dumps(parameters["args"]))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(parameters["entry"]["text"])
            elif method == "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith(("file:", "about:", "blob:")):
                    found.append(f"request of {url}")
        return found

    def close(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self._session = ""
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._process.kill()
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    running = Browser(tmp_path_factory.mktemp("chromium"))
    yield running
    running.close()


def results(parameters: np.ndarray, *, full: bool = False) -> Results:
    """Predictions with a failure and one outside the domain; overlaps need not be true ones."""
    p = noisy_predictions(parameters, scale=0.002)
    p.prediction[FAILED] = np.nan
    p.prediction[CLIPPED, 1] = -0.83
    n, rng = len(p), np.random.default_rng(5)
    overlap = 1 - 10 ** rng.uniform(-6, -1, n)
    columns = np.stack(
        [overlap, np.full(n, 1e-6), rng.uniform(-5, 5, n), rng.uniform(-3, 3, n)], axis=1
    )
    columns[FAILED] = np.nan
    row = 7 * np.arange(n) + 3
    o = Overlaps(row, *columns.T, np.arange(n) == CLIPPED)
    p = Predictions(row, p.truth, p.prediction)
    more: dict[str, Any] = {}
    if full:
        fitted = np.where(np.isnan(overlap), np.nan, 1 - (1 - overlap) / 100)
        steps, done = rng.integers(3, 30, n), rng.random(n) < 0.8
        zeros = (np.zeros((n, 3, 3)), np.zeros((n, 3)), np.zeros((n, 2)))
        more["refined"] = Refined(row, p.truth[:, :3] + 1e-4, fitted, steps, done)
        more["valleys"] = Valleys(row, *zeros, rng.uniform(0.001, 0.2, (n, 3)))
    return Results(p, o, **more, engine=f"engine {HOSTILE}")


@pytest.fixture(scope="module", params=["grid", "scattered"])
def made(
    request: pytest.FixtureRequest, surrogate: SurrogateData, tmp_path_factory: Any
) -> tuple[Path, Results]:
    grid = request.param == "grid"
    found = results(grid_parameters() if grid else random_parameters(150), full=grid)
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    recipe = {"config": {"note": HOSTILE}}
    return write_explorer(path, found, surrogate, recipe), found


def test_page_needs_no_network_and_escapes_what_it_was_given(made: tuple[Path, Results]) -> None:
    text = made[0].read_text()
    assert not re.search(r"https?://", text)
    assert not re.search(r"\b(?:src|href)=", text)
    assert HOSTILE not in text
    assert text.count("</script>") == 3
    assert "engine &lt;/script&gt;" in text


def test_no_results_are_refused(surrogate: SurrogateData, tmp_path: Path) -> None:
    empty = np.zeros((0, 5))
    none = Results(
        Predictions(np.zeros(0), empty, empty),
        Overlaps(*(np.zeros(0) for _ in range(6))),
    )
    with pytest.raises(DataError, match="no test waveforms"):
        write_explorer(tmp_path / "e.html", none, surrogate, {})
    assert not list(tmp_path.iterdir())


def test_page_stays_small(surrogate: SurrogateData, tmp_path: Path) -> None:
    n = 20_000  # noise does not deflate, so that real columns take less
    found = results(random_parameters(n), full=True)
    page = write_explorer(tmp_path / "e.html", found, surrogate, {})
    assert page.stat().st_size < 15e6 * n / 197_516 + 1e6


@needs_browser
def test_page_loads_in_silence(browser: Browser, made: tuple[Path, Results]) -> None:
    browser.open(made[0])
    assert browser.problems() == []
    assert browser.evaluate("document.title") == "Explorer of the test set"
    assert HOSTILE in browser.evaluate("document.body.innerText")
    assert (
        HOSTILE
        in json.loads(browser.evaluate("document.getElementById('recipe').textContent"))["config"][
            "note"
        ]
    )


@needs_browser
def test_surrogate_of_the_page_is_that_of_python(
    browser: Browser, made: tuple[Path, Results], surrogate: SurrogateData
) -> None:
    browser.open(made[0])
    times = np.unique(
        np.concatenate([np.linspace(-10000, 130, 700), np.linspace(-150, 129.9, 400)])
    )
    rows = np.vstack([random_parameters(6), [[1, 0, 0], [8, 0.8, 0.8], [8, -0.8, -0.8]]])
    expected = SurrogateEngine(surrogate, times).h22_double(rows).numpy()
    for row, h in zip(rows, expected, strict=True):
        arguments = ",".join(map(json.dumps, [*row.tolist(), times.tolist()]))
        got = browser.evaluate(f"explorer.waveform({arguments})")
        # Measured: 5e-9, the rounding of the fits, whose terms cancel.
        assert np.abs(np.array(got["real"]) + 1j * np.array(got["imaginary"]) - h).max() < 1e-7


@needs_browser
def test_fits_with_training_points_of_their_own_and_another_span(
    browser: Browser, surrogate: SurrogateData, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)

    def other(fit: GPFit, more: int) -> GPFit:
        """The same function from more points in another order."""
        x = np.vstack([fit.x_train, rng.uniform(-1, 1, (more, 3))])
        alpha, order = np.append(fit.alpha, np.zeros(more)), rng.permutation(len(x))
        return replace(fit, x_train=x[order], alpha=alpha[order])

    phase = replace(
        surrogate.phase, fits=tuple(other(f, j) for j, f in enumerate(surrogate.phase.fits))
    )
    changed = replace(surrogate, phase=phase, path="/some where/$(x).h5")
    found = results(random_parameters(30))
    path = write_explorer(tmp_path / "e.html", found, changed, {}, span=(-1000.0, 100.0))
    browser.open(path)
    times = np.linspace(-1000, 100, 500)
    row = np.array([3.3, -0.4, 0.7])
    h = SurrogateEngine(changed, times).h22_double(row)[0].numpy()
    arguments = ",".join(map(json.dumps, [*row.tolist(), times.tolist()]))
    got = browser.evaluate(f"explorer.waveform({arguments})")
    assert np.abs(np.array(got["real"]) + 1j * np.array(got["imaginary"]) - h).max() < 1e-7
    ends = browser.evaluate("[explorer.charts.phase.x.low, explorer.charts.phase.x.high]")
    assert ends == [-1000, 100]
    assert "--surrogate '$(x).h5' -q" in browser.evaluate(
        "document.getElementById('commands').textContent"
    )
    assert browser.problems() == []


def drawn(browser: Browser, chart: str) -> dict[str, np.ndarray]:
    """What a chart over time has drawn: times and curves."""
    script = (
        f"(() => {{ const s = explorer.charts.{chart}.series; return {{times: Array.from(s.times), "
        "truth: s.truth && Array.from(s.truth.real), "
        "prediction: s.answer && Array.from(s.answer.real), "
        "difference: s.difference && Array.from(s.difference)}; })()"
    )
    return {k: np.array(v, dtype=float) for k, v in browser.evaluate(script).items() if v}


def python_waveforms(
    surrogate: SurrogateData, found: Results, index: int, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """h22 at truth and at the prediction moved by t_c and phi_c; NaN where it starts before."""
    p, o = found.predictions, found.overlaps
    box = np.array(surrogate.bounds)
    answer = np.clip(p.prediction[index, :3], box[:, 0], box[:, 1])
    moved = times + o.t_c[index]
    usable = (moved >= T_MIN) & (moved <= surrogate.domain[-1])
    h = SurrogateEngine(surrogate, times, phase_zero=T_MIN).h22_double(p.truth[index, :3])[0]
    s = np.full(len(times), np.nan, dtype=complex)
    engine = SurrogateEngine(surrogate, moved[usable], phase_zero=T_MIN)
    s[usable] = engine.h22_double(answer)[0].numpy() * np.exp(-1j * o.phi_c[index])
    return h.numpy(), s


def click_point(browser: Browser, index: int) -> None:
    """A real click at the place where the map shows a point of the test set."""
    browser.evaluate(f"explorer.turn(explorer.members.findIndex((rows) => rows.includes({index})))")
    x, y = browser.evaluate(
        "(() => { const { map } = explorer.charts, f = map.host.getBoundingClientRect();"
        f" return [f.left + map.px({index}), f.top + map.py({index})]; }})()"
    )
    browser.click(x, y)


@needs_browser
@pytest.mark.parametrize("index", [PLAIN, CLIPPED, 101])
def test_click_shows_the_waveforms_of_the_python_engine(
    browser: Browser, made: tuple[Path, Results], surrogate: SurrogateData, index: int
) -> None:
    path, found = made
    browser.open(path)
    click_point(browser, index)
    assert browser.evaluate("explorer.state.chosen") == index
    for window in ("whole", "last 500 M"):
        browser.evaluate(
            "[...document.querySelectorAll('#windows button')]"
            f".find((b) => b.textContent === '{window}').click()"
        )
        curves = drawn(browser, "inspiral")
        h, s = python_waveforms(surrogate, found, index, curves["times"])
        assert curves["times"][0] == (T_MIN if window == "whole" else -500)
        assert np.abs(curves["truth"] - h.real).max() < 1e-4
        assert np.nanmax(np.abs(curves["prediction"] - s.real)) < 1e-4
        assert np.isfinite(s).mean() > 0.99
    curves = drawn(browser, "merger")
    h, s = python_waveforms(surrogate, found, index, curves["times"])
    assert np.abs(curves["truth"] - h.real).max() < 1e-4
    assert np.nanmax(np.abs(curves["prediction"] - s.real)) < 1e-4
    text = browser.evaluate("document.getElementById('facts').innerText")
    assert ("outside the waveform model's domain" in text) == (index == CLIPPED)
    q, s1, s2 = found.predictions.truth[index, :3]
    row = found.predictions.row[index]
    assert f"Waveforms of row {row}" in browser.evaluate("document.body.innerText")
    assert f"hpc-gw waveform -q {q:.7g} --s1z={s1:.7g} --s2z={s2:.7g}" in text
    assert browser.problems() == []


@needs_browser
def test_phase_difference_is_that_of_the_moved_waveforms(
    browser: Browser, made: tuple[Path, Results], surrogate: SurrogateData
) -> None:
    path, found = made
    browser.open(path, f"#row={found.predictions.row[PLAIN]}")
    curves = drawn(browser, "phase")
    h, s = python_waveforms(surrogate, found, PLAIN, curves["times"])
    both = np.isfinite(s) & np.isfinite(curves["difference"])
    turn = curves["difference"][both] + np.angle(s[both] / h[both])  # h = A exp(-i phi)
    assert both.mean() > 0.97
    assert np.abs(np.exp(1j * turn) - 1).max() < 2e-4
    assert np.abs(np.diff(curves["difference"][both])).max() < 1


@needs_browser
def test_address_opens_a_row_and_a_click_writes_it(
    browser: Browser, made: tuple[Path, Results]
) -> None:
    path, found = made
    row = found.predictions.row
    browser.open(path, f"#row={row[PLAIN]}")
    assert browser.evaluate("explorer.state.chosen") == PLAIN
    click_point(browser, 30)
    assert browser.evaluate("location.hash") == f"#row={row[30]}"
    browser.open(path, "#row=999999")  # none such: the lowest overlap
    assert browser.evaluate("explorer.state.chosen") == browser.evaluate("explorer.ranked[0]")


@needs_browser
def test_failure_leads_the_worst_and_has_no_predicted_waveform(
    browser: Browser, made: tuple[Path, Results]
) -> None:
    path, found = made
    browser.open(path)
    order = np.argsort(np.nan_to_num(found.overlaps.overlap, nan=0), kind="stable")
    listed = browser.evaluate(
        "[...document.querySelectorAll('#worst button')].map((b) => Number(b.dataset.index))"
    )
    assert listed[0] == FAILED
    assert listed == order[:100].tolist()
    assert "failed" in browser.evaluate("document.getElementById('worst').innerText")
    browser.evaluate("document.querySelectorAll('#worst button')[1].click()")
    assert browser.evaluate("explorer.state.chosen") == order[1]
    browser.evaluate("document.querySelector('#worst button').click()")
    assert browser.evaluate("explorer.state.drawn.answer") is None
    assert set(drawn(browser, "merger")) == {"times", "truth"}
    assert browser.problems() == []


@needs_browser
def test_arrow_keys_turn_and_move(browser: Browser, made: tuple[Path, Results]) -> None:
    browser.open(made[0])
    browser.evaluate("explorer.turn(0)")
    browser.press("ArrowRight")
    assert browser.evaluate("explorer.state.slice") == 1
    browser.press("ArrowLeft")
    assert browser.evaluate("explorer.state.slice") == 0
    browser.evaluate("document.getElementById('map').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowUp")
    cursor = browser.evaluate("explorer.state.cursor")
    assert browser.evaluate(f"explorer.members[0].includes({cursor})")
    assert not browser.evaluate("document.getElementById('tip').hidden")
    browser.press("Enter")
    assert browser.evaluate("explorer.state.chosen") == cursor
    assert browser.evaluate("explorer.state.slice") == 0


@needs_browser
def test_filter_keeps_the_overlaps_asked_for(browser: Browser, made: tuple[Path, Results]) -> None:
    path, found = made
    browser.open(path)
    value = np.nan_to_num(found.overlaps.overlap, nan=0)
    browser.evaluate(
        "[...document.querySelectorAll('#chips button')]"
        ".find((b) => b.textContent === '≤ 0.97').click()"
    )
    count = int((value <= 0.97).sum())
    assert browser.evaluate("explorer.charts.whole.rows.length") == count
    assert f"{count} of {len(value)}" in browser.evaluate(
        "document.getElementById('count').textContent"
    )
    assert len(browser.evaluate("[...explorer.charts.map.rows]")) <= count
    x0, y, x1 = browser.evaluate(  # by dragging over the histogram
        "(() => { const { histogram } = explorer.charts;"
        " const f = histogram.host.getBoundingClientRect();"
        " return [f.left + histogram.toX(2), f.top + 60, f.left + histogram.toX(3)]; })()"
    )
    browser.drag(x0, x1, y)
    low, high = browser.evaluate("explorer.state.range")
    assert low == pytest.approx(0.99, abs=3e-4)
    assert high == pytest.approx(0.999, abs=3e-5)
    inside = (value >= low) & (value <= high)
    assert browser.evaluate("explorer.charts.whole.rows.length") == inside.sum()


@needs_browser
def test_zoomed_merger_is_drawn_as_finely_as_the_python_engine_has_it(
    browser: Browser, made: tuple[Path, Results], surrogate: SurrogateData
) -> None:
    path, found = made
    browser.open(path, f"#row={found.predictions.row[PLAIN]}")
    browser.evaluate("document.getElementById('merger').scrollIntoView()")
    x0, x1, y = browser.evaluate(
        "(() => { const { merger } = explorer.charts, f = merger.host.getBoundingClientRect();"
        " return [f.left + merger.toX(-20), f.left + merger.toX(10), f.top + 50]; })()"
    )
    browser.drag(x0, x1, y)
    curves = drawn(browser, "merger")
    assert curves["times"][[0, -1]] == pytest.approx([-20, 10], abs=0.2)
    assert np.diff(curves["times"]).max() < 0.1
    h, s = python_waveforms(surrogate, found, PLAIN, curves["times"])
    assert np.abs(curves["truth"] - h.real).max() < 1e-4
    assert np.abs(curves["prediction"] - s.real).max() < 1e-4
    browser.evaluate(
        "document.querySelector('#merger canvas + canvas').dispatchEvent(new Event('dblclick'))"
    )
    assert drawn(browser, "merger")["times"][0] == -150
    assert browser.problems() == []


@needs_browser
def test_every_quantity_and_both_themes_are_drawn(
    browser: Browser, made: tuple[Path, Results]
) -> None:
    path, found = made
    browser.open(path)
    names = browser.evaluate(
        "(() => { const s = document.getElementById('quantity'); return [...s.options].map((o) => {"
        " s.value = o.value; s.dispatchEvent(new Event('change')); return o.value; }); })()"
    )
    expected = {"overlap", "dq", "ds1", "ds2", "dsigma", "ds"}
    if found.refined:
        expected |= {"refined", "reach_q", "reach_s1", "reach_s2"}
    assert set(names) == expected
    for _ in range(2):
        browser.evaluate("document.getElementById('theme').click()")
    browser.evaluate("document.querySelectorAll('#views button')[1].click()")
    assert browser.problems() == []


@needs_browser
def test_another_engine_says_that_its_waveforms_cannot_be_drawn(
    browser: Browser, tmp_path: Path
) -> None:
    found = results(random_parameters(40))
    recipe = {"config": {"engine": {"kind": "phenomt"}}}
    path = write_explorer(tmp_path / "explorer.html", found, None, recipe)
    browser.open(path)
    click_point(browser, PLAIN)
    assert browser.evaluate("explorer.state.chosen") == PLAIN
    text = browser.evaluate("document.getElementById('wave-card').innerText")
    assert "cannot be drawn offline" in text
    assert "hpc-gw waveform --engine phenomt -q" in text
    assert browser.evaluate("document.getElementById('charts').hidden")
    assert browser.problems() == []
