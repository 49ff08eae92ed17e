"""The explorer: one offline page in which every test point and its two waveforms can be seen.

The page holds the columns of ``Results`` and the surrogate itself; ``explorer_js`` evaluates it.
"""

from __future__ import annotations

import base64
import html
import json
import shlex
import string
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from hpc_gw.constants import T_MAX, T_MIN
from hpc_gw.errors import DataError
from hpc_gw.evaluation.axes import LEVELS
from hpc_gw.evaluation.records import Results
from hpc_gw.evaluation.statistics import q_slices, slice_label
from hpc_gw.files import published
from hpc_gw.manifold import physics
from hpc_gw.waveforms.engines import EMBEDDED
from hpc_gw.waveforms.lal_engine import APPROXIMANTS
from hpc_gw.waveforms.surrogate import spline_curves
from hpc_gw.waveforms.surrogate_file import DataPiece, SurrogateData

TITLE = "Explorer of the test set"

_COLOURS = 256
_RESIDUAL = 6  # decimals of a predicted effective spin, beyond what (q, s1, s2) say of it


def write_explorer(
    path: Path,
    results: Results,
    surrogate: SurrogateData | None,
    recipe: Mapping[str, Any],
    *,
    span: tuple[float, float] = (T_MIN, T_MAX),
) -> Path:
    """Publish the page atomically; it needs no network and no other file.

    Args:
        path: the page, ``explorer.html`` as a rule.
        results: at least one waveform.
        surrogate: what made the waveforms of ``results``; with it the page draws those of any
            row, to 1e-4 of the Python engine. ``None`` where another engine made them.
        recipe: how the results were made; shown in full.
        span: ends [M] of the time grid of the overlaps; waveforms have phase 0 at the first.

    Returns:
        ``path``

    Raises:
        DataError: there are no results.
    """
    if len(results) == 0:
        raise DataError("an explorer of no test waveforms: predict at least one first")
    pack = _Pack()
    labels = _pack_results(pack, results)
    about: dict[str, Any] = {
        "engine": results.engine,
        "total": len(results),
        "slices": labels,
        "levels": LEVELS,
        "span": span,
        "command": _command(surrogate, recipe),
        "surrogate": None if surrogate is None else _pack_surrogate(pack, surrogate, span[0]),
        "columns": pack.columns,
        "recipe": json.dumps(recipe, indent=2, default=str, ensure_ascii=False),
    }
    count = f"{len(results):,} test waveform{'s' if len(results) > 1 else ''}"
    room = resources.files("hpc_gw.evaluation")
    page = string.Template(room.joinpath("explorer_template.html").read_text("utf-8")).substitute(
        title=TITLE,
        subtitle=html.escape(" · ".join(filter(None, (count, results.engine)))),
        about=_json_in_html(about),
        data=pack.text(),
        script="\n".join(part.read_text("utf-8") for part in _scripts()),
    )
    with published(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _scripts() -> list[Any]:
    """The page's script, in the order of the files' names: one program, a file for each part."""
    room = resources.files("hpc_gw.evaluation").joinpath("explorer_js")
    return sorted(
        (part for part in room.iterdir() if part.name.endswith(".js")), key=lambda part: part.name
    )


class _Pack:
    """Arrays as one text: bytes of equal significance together, deflated, in base64."""

    def __init__(self) -> None:
        self.columns: dict[str, tuple[str, int, int]] = {}
        """By name: dtype, number of values, offset in bytes."""

        self._parts: list[bytes] = []
        self._size = 0

    def add(self, name: str, values: Any, dtype: str) -> None:
        flat = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).ravel()
        planes = flat.view(np.uint8).reshape(flat.size, -1).T
        self.columns[name] = (dtype, flat.size, self._size)
        self._parts.append(planes.tobytes())
        self._size += flat.nbytes

    def text(self) -> str:
        return base64.b64encode(zlib.compress(b"".join(self._parts), 9)).decode("ascii")


def _pack_results(pack: _Pack, results: Results) -> list[str]:
    """Pack the columns; returns the labels of the slices of mass ratio."""
    p, o = results.predictions, results.overlaps
    slices = q_slices(p.truth[:, 0])
    member = np.zeros(len(p), dtype=np.uint16)
    for k, (_, _, rows) in enumerate(slices):
        member[rows] = k
    pack.add("row", p.row, "float64")
    pack.add("slice", member, "uint16")
    for i, name in enumerate(("q", "s1", "s2")):
        pack.add(f"truth/{name}", p.truth[:, i], "float32")
        pack.add(f"prediction/{name}", p.prediction[:, i], "float32")
    said = p.prediction[:, :3].T
    for name, value, column in (
        ("sigma_eff", physics.sigma_eff(*said), p.prediction[:, 3]),
        ("s_eff", physics.s_eff(*said), p.prediction[:, 4]),
    ):  # 0 where a network derives them, which takes no room
        pack.add(f"residual/{name}", np.round(column - value, _RESIDUAL) + 0.0, "float32")
    pack.add("mismatch", 1 - o.overlap, "float32")
    pack.add("bound", _digits(o.bound, 2), "float32")
    pack.add("t_c", o.t_c, "float32")
    pack.add("phi_c", o.phi_c, "float32")
    pack.add("clipped", o.clipped, "uint8")
    if (r := results.refined) is not None:
        for i, name in enumerate(("q", "s1", "s2")):
            pack.add(f"refined/{name}", np.round(r.parameters[:, i], 6), "float32")
        pack.add("refined/mismatch", _digits(1 - r.overlap, 4), "float32")
        pack.add("refined/steps", np.clip(r.steps, 0, 65535), "uint16")
        pack.add("refined/converged", r.converged, "uint8")
    if results.valleys is not None:
        for i, name in enumerate(("q", "s1", "s2")):
            pack.add(f"reach/{name}", _digits(results.valleys.reach[:, i], 3), "float32")
    pack.add("colours", _cividis(), "uint8")
    return [slice_label(low, high) for low, high, _ in slices]


def _pack_surrogate(pack: _Pack, surrogate: SurrogateData, zero: float) -> dict[str, Any]:
    """Pack fits and bases as ``SurrogateEngine`` uses them, phase 0 at ``zero``."""
    phase, amplitude = spline_curves(surrogate, zero)
    pack.add("surrogate/time", phase.x, "float64")
    pack.add("surrogate/phase", phase(phase.x).T, "float64")  # the Newtonian vector last
    pack.add("surrogate/amplitude", amplitude(amplitude.x).T, "float64")
    trained: dict[bytes, int] = {}
    return {
        "bounds": surrogate.bounds,
        "zero": zero,
        "phase": _pack_fits(pack, "phase", surrogate.phase, trained),
        "amplitude": _pack_fits(pack, "amplitude", surrogate.amplitude, trained),
    }


def _pack_fits(pack: _Pack, piece: str, data: DataPiece, trained: dict[bytes, int]) -> list[int]:
    """Pack each fit as scales (3), slopes (3), offset, weights (n); returns its training set."""
    sets = []
    for j, fit in enumerate(data.fits):
        key = np.asarray(fit.x_train, dtype=np.float64).tobytes()
        if key not in trained:
            trained[key] = len(trained)
            pack.add(f"surrogate/train/{trained[key]}", fit.x_train, "float64")
        offset = fit.intercept + fit.data_mean + fit.data_std * fit.y_mean
        weights = fit.data_std * fit.y_std * fit.constant * fit.alpha
        values = np.concatenate([fit.length_scale, fit.coef, [offset], weights])
        pack.add(f"surrogate/{piece}/{j}", values, "float64")
        sets.append(trained[key])
    return sets


def _command(surrogate: SurrogateData | None, recipe: Mapping[str, Any]) -> str:
    """How ``hpc-gw waveform`` is called for this engine; empty where that is not known."""
    command = "hpc-gw waveform"
    if surrogate is not None:
        name = Path(surrogate.path).name
        known = name in ("", EMBEDDED)
        return command if known else f"{command} --surrogate {shlex.quote(name)}"
    config = recipe.get("config")
    engine = config.get("engine") if isinstance(config, Mapping) else None
    kind = engine.get("kind") if isinstance(engine, Mapping) else None
    return f"{command} --engine {kind}" if kind in (*APPROXIMANTS, "seobnrv5hm") else ""


def _digits(values: np.ndarray, digits: int) -> np.ndarray:
    """Values rounded to significant digits: what is only read by eye deflates well then."""
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.floor(np.log10(np.abs(values)))
        unit = np.where(np.isfinite(place), 10.0 ** (place - digits + 1), 1.0)
    return np.asarray(np.round(values / unit) * unit)


def _cividis() -> np.ndarray:
    """The colours of the figures' maps, uint8 (256, 3)."""
    from matplotlib import colormaps  # noqa: PLC0415

    return np.asarray(colormaps["cividis"](np.arange(_COLOURS), bytes=True)[:, :3])


def _json_in_html(value: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
