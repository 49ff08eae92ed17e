"""One waveform, or one surrogate file, in words, numbers and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpc_gw.constants import T_MAX, T_MIN
from hpc_gw.errors import ConfigError
from hpc_gw.files import published, read_json
from hpc_gw.manifold.physics import check_parameters, eta, s_eff, sigma_eff
from hpc_gw.waveforms.engines import EngineConfig, load_engine, surrogate_path
from hpc_gw.waveforms.surrogate_file import read_surrogate
from hpc_gw.waveforms.timegrid import TimeGrid


def show_waveform(
    engine: EngineConfig,
    point: tuple[float, float, float],
    output: Path | None = None,
    plot: Path | None = None,
) -> str:
    """Evaluate h22 at (q, s1, s2) on the paper's grid; optionally write and draw it.

    Raises:
        ParameterError: a point outside the engine's domain.
        ConfigError: a plot in a format that cannot be drawn.
    """
    if plot is not None and plot.suffix.lower() not in (".png", ".pdf"):
        raise ConfigError(f"--plot {plot}: write .png or .pdf")
    rows = check_parameters(np.array([point]))
    q, s1, s2 = rows[0]
    source = load_engine(engine, TimeGrid().times())
    times, h22 = source.times, source.h22_double(rows)[0].detach().numpy()
    phase = np.unwrap(np.angle(h22))
    peak = int(np.argmax(np.abs(h22)))
    lines = [
        f"{source.name}, h22 in geometric units, t in M, phase 0 at t = {times[0]:g} M",
        f"q = {q:g}, s1z = {s1:g}, s2z = {s2:g}",
        f"eta = {eta(q):.6f}, sigma_eff = {sigma_eff(q, s1, s2):.6f}, "
        f"S_eff = {s_eff(q, s1, s2):.6f}",
        f"{times.size:,} samples in [{T_MIN:g}, {T_MAX:g}) M",
        f"peak |h22| = {np.abs(h22[peak]):.6f} at t = {times[peak]:.1f} M",
        f"cycles before the peak = {abs(phase[peak] - phase[0]) / (2 * np.pi):.2f}",
    ]
    if output is not None:
        columns = np.column_stack([times, h22.real, h22.imag])
        header = "\n".join([*lines[:3], "t/M  Re(h22)  Im(h22)"])
        with published(output) as temporary:
            np.savetxt(temporary, columns, fmt=("%.1f", "%.9e", "%.9e"), header=header)
        lines.append(f"columns: {output}")
    if plot is not None:
        from hpc_gw.evaluation.figures import save, single_waveform  # noqa: PLC0415

        title = f"q = {q:g}, $s_1$ = {s1:g}, $s_2$ = {s2:g}"
        save(single_waveform(times, h22, title), plot.parent, plot.stem, (plot.suffix[1:].lower(),))
        lines.append(f"plot: {plot}")
    return "\n".join(lines)


def show_surrogate(file: str | None) -> str:
    """What a surrogate file holds, and how good it is where its recipe says so.

    Raises:
        SurrogateError: the file is missing, truncated or of another layout.
    """
    path = surrogate_path(file)
    data = read_surrogate(path)
    names = ("q", "s1", "s2")
    box = ", ".join(f"{n} in [{a:g}, {b:g}]" for n, (a, b) in zip(names, data.bounds, strict=True))
    lines = [
        f"{data.label}: {path}",
        f"SHA-256: {data.checksum}",
        f"domain: {box}; t in [{data.domain[0]:g}, {data.domain[-1]:g}] M",
        f"{data.domain.size:,} sparse times, {len(data.phase.fits)} phase and "
        f"{len(data.amplitude.fits)} amplitude nodes, "
        f"{len(data.phase.fits[0].x_train):,} training points",
    ]
    recipe = path.with_suffix(".json")
    about = read_json(recipe) if recipe.exists() else None
    if isinstance(about, dict) and about.get("sha256") == data.checksum:
        held_out = about["held_out"]
        lines.append(
            "{points} held-out points, {measure}: median {median:.1e}, 95 % {p95:.1e}, "
            "max {max:.1e}".format(**held_out)
        )
    return "\n".join(lines)
