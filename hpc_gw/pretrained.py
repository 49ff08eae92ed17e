"""The networks that ship with the package: weights, and a card that says what they are worth.

    python -m hpc_gw.pretrained RUN

makes both files from the folder of a finished job: ``<name>.pt``, a checkpoint without the
optimizer's state, and ``<name>.json``, the card; ``--page docs/models.md`` also writes the
card's numbers into that page.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpc_gw.card import accuracy, error_intervals, files_part, limits, training_part
from hpc_gw.card_page import write_page
from hpc_gw.config import build
from hpc_gw.errors import CheckpointError, ConfigError, DataError, HpcGwError
from hpc_gw.evaluation.examine import calibrate, card_entry, coarsest, examiner
from hpc_gw.evaluation.outside import Calibration
from hpc_gw.evaluation.results import read_results
from hpc_gw.files import kind_of, published, read_json, sha256, write_json
from hpc_gw.manifold.physics import with_effective_spins
from hpc_gw.manifold.populations import DrawsConfig
from hpc_gw.models.physics_head import quantities
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.training.augment import AugmentConfig, noise
from hpc_gw.training.checkpoint import load, load_model, to_bytes
from hpc_gw.training.losses import LossConfig
from hpc_gw.waveforms.columns import Columns, onto_grid, peak_time
from hpc_gw.waveforms.engines import EngineConfig, load_engine
from hpc_gw.waveforms.timegrid import TimeGrid

DEFAULT = "compact"
"""The shipped network for sets: waveforms of the kind that it was trained on, without noise."""

FOR_FILES = "robust"
"""The shipped network for files, which come from elsewhere: trained on noise, too."""

KEPT = ("model", "weights", "step", "train", "data", "context", "recipe")
"""What a shipped checkpoint keeps."""

FILES = 4096
"""Random waveforms that are read as files are, for the uncertainties of ``hpc-gw predict``."""

FILES_SEED = 20_200_425
"""Of these waveforms and their noise: not one that jobs begin with, whose rows are trained on."""

FILES_NOISE = AugmentConfig(snr=(1000.0, 1000.0), noisy=1.0)
"""White noise that is added to them: it moves answers about as far as another model's waveform."""


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network, and how to ask it."""

    model: WaveNet
    grid: TimeGrid
    """The times whose Re h22 it reads."""

    loss: LossConfig
    """Its loss, which says how outputs become quantities."""

    content: dict[str, Any]
    """The rest of its checkpoint."""


def pretrained_path(name: str = DEFAULT) -> Path:
    """Path of a shipped checkpoint.

    Raises:
        CheckpointError: none of that name is shipped.
    """
    folder = Path(str(resources.files("hpc_gw.models") / "weights"))
    path = folder / f"{name}.pt"
    if kind_of(path) != "file":
        names = ", ".join(sorted(p.stem for p in folder.glob("*.pt"))) or "none"
        raise CheckpointError(f"{name}: no network of that name is shipped; there is: {names}")
    return path


def checkpoint_path(given: Path | None = None) -> Path:
    """A checkpoint's path: the file, or the shipped network of that name; the default one of None.

    Raises:
        CheckpointError: a bare name that is neither a file here nor shipped.
    """
    if given is None:
        return pretrained_path()
    bare = len(given.parts) == 1 and not given.suffix
    return pretrained_path(given.name) if bare and kind_of(given) is None else given


def load_card(checkpoint: Path | None = None) -> dict[str, Any] | None:
    """The card beside a checkpoint, the shipped one by default; ``None`` if it has none."""
    path = checkpoint_path(checkpoint)
    beside = path.with_suffix(".json")
    card = read_json(beside) if beside.is_file() else None
    if not isinstance(card, dict) or card.get("sha256") != sha256(path):
        return None
    return card


def load_network(checkpoint: Path | None = None) -> Network:
    """A trained network, the shipped one by default.

    Raises:
        CheckpointError: the checkpoint cannot be used.
    """
    path = checkpoint_path(checkpoint)
    model, content = load_model(path)
    try:
        grid = build(TimeGrid, content["context"]["time_grid"])
        loss = build(LossConfig, content["train"]["loss"])
    except (KeyError, ConfigError) as error:
        raise CheckpointError(f"{path}: says not how it was trained ({error})") from error
    return Network(model, grid, loss, content)


class Reader:
    """A network, with what its card says of files.

    Attributes:
        path: of the checkpoint.
        network: at ``path``.
        card: beside it, or None.
        files: what the card says of waveforms from files.
        peak: where their peaks are put [M].
        notes: that a card beside it is of another checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        DataError: its card cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.network, self.card = path, load_network(path), load_card(path)
        self.notes: tuple[str, ...] = ()
        self.files = files_part(self.card)
        self.peak = self.files.peak
        beside = path.with_suffix(".json")
        if self.card is None and beside.is_file():
            self.notes = (
                f"{beside.name} is not the card of this {path.name}, whose checksum is another: "
                f"it has no brackets",
            )

    @functools.cached_property
    def known(self) -> Calibration | None:
        """When an input is outside, or None.

        Raises:
            DataError: the card says it in no way that can be read.
        """
        return Calibration.of_card(self.card)


@torch.no_grad()
def answers_of(network: Network, h22: np.ndarray) -> np.ndarray:
    """The five quantities (B, 5), float64, of h22 (B, G) on the network's grid."""
    real = torch.from_numpy(np.ascontiguousarray(h22.real, dtype=np.float32))
    outputs = network.model(real[:, -network.model.cone :]).double()
    return quantities(outputs, network.loss.head, damping=network.loss.damping).numpy()


def judge_files(
    network: Network, engine: EngineConfig, count: int | None = None, seed: int = FILES_SEED
) -> dict[str, Any]:
    """How a network answers waveforms that are read as files are: their peak is looked for.

    The surrogate's |h22| peaks near t = 0, not at it. So the median of its peaks is where files'
    peaks are put, and what remains of the offset is in the errors; so is ``FILES_NOISE``, for files
    are not of the surrogate.

    Args:
        network: to be judged.
        engine: makes ``count`` random waveforms (``FILES``), at 0.5 M.
        seed: of them and of their noise.

    Returns:
        ``peak`` [M], ``waveforms``, and ``by_predicted_q`` (``error_intervals``).
    """
    count = count or FILES
    times = np.arange(network.grid.t_min - 5.0, 135.0, 0.5)
    source, grid = load_engine(engine, times), network.grid.times()
    population = DrawsConfig(count=count, seed=seed)
    points = population.parameters(np.arange(count))
    batches = [points[first : first + 64] for first in range(0, count, 64)]
    some = [source.h22(rows).numpy() for rows in batches[:4]]
    peak = float(np.median([peak_time(times, h22) for rows in some for h22 in rows]))
    answers, generator = [], torch.Generator().manual_seed(seed)
    for rows in batches:
        read = [
            Columns(times - peak_time(times, h22), h22.astype(np.complex128))
            for h22 in source.h22(rows).numpy()
        ]
        placed = np.stack([onto_grid(columns, grid, peak=peak)[0] for columns in read])
        real = torch.from_numpy(placed.real.astype(np.float32))
        every = (len(rows), np.arange(len(rows)))
        disturbed = real + noise(real, torch.from_numpy(grid), FILES_NOISE, generator, every)
        answers.append(answers_of(network, disturbed.numpy()))
    truth = with_effective_spins(points)
    found = error_intervals(truth, np.concatenate(answers))
    return {"peak": peak, "waveforms": count, "by_predicted_q": found}


def judge_outside(network: Network, engine: EngineConfig, peak: float) -> dict[str, Any]:
    """When a waveform is outside of the network's domain, by waveforms inside, of ``engine``."""
    desk = examiner(functools.partial(answers_of, network), network.grid.times(), engine, peak)
    counts = 2 * FILES, FILES // 2
    known = calibrate(desk, rate=coarsest(min(counts)), counts=counts)
    return card_entry(known, {"surrogate": desk.judge.checksum}, peak=peak, counts=list(counts))


def make_pretrained(run: Path, folder: Path, name: str | None = None) -> dict[str, Any]:
    """Write ``<name>.pt`` and ``<name>.json`` of a finished run; returns the card.

    Raises:
        CheckpointError: there is no best.pt.
        DataError: the run has no report, or its files are not of one another.
    """
    checkpoint, judged = run / "best.pt", run / "report" / "table1.json"
    content = load(checkpoint)
    if not judged.is_file():
        raise DataError(f"{run}: has no report yet; finish the job with hpc-gw run first")
    found = read_results(run / "results.h5")
    inputs = found.recipe.get("inputs") or {}
    if inputs.get(checkpoint.name) != sha256(checkpoint):
        raise DataError(f"{run}: its results are of another best.pt; evaluate it again")
    table = read_json(judged)
    if table.get("total") != len(found):
        raise DataError(f"{judged}: is not of these results; make the report again")
    return write_pretrained(content, folder, name, accuracy(found, table))


def write_pretrained(
    content: dict[str, Any], folder: Path, name: str | None, numbers: dict[str, Any]
) -> dict[str, Any]:
    """Write both files from a checkpoint's content and the ``accuracy`` of its network.

    What was there stays whole until all is computed.
    """
    label = name or str(content["context"]["name"])
    final = folder / f"{label}.pt"
    data, file = content["data"]["train"], content["context"]["engine"]["file"] or "embedded"
    with published(final) as weights:  # judged under another name: both files come at the end
        weights.write_bytes(to_bytes({key: content[key] for key in KEPT}))
        network, engine = load_network(weights), EngineConfig(file=file)
        files = judge_files(network, engine)
        card = {
            "name": label,
            "sha256": sha256(weights),
            "bytes": weights.stat().st_size,
            "created": content["recipe"]["created"],
            "command": f"hpc-gw run jobs/{content['context']['name']}.yaml",
            "weights": sum(value.numel() for value in content["weights"].values()),
            "training": training_part(content),
            "engine": {"name": data["engine"], "sha256": data["engine_checksum"]},
            "accuracy": numbers,
            "files": files,
            "outside": judge_outside(network, engine, files["peak"]),
            "limits": limits(content),
            "recipe": content["recipe"],
        }
        write_json(final.with_suffix(".json"), card)
    return card


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hpc_gw.pretrained", description=__doc__)
    parser.add_argument("run", type=Path, help="output folder of a finished job")
    here = Path(str(resources.files("hpc_gw.models") / "weights"))
    parser.add_argument("-o", "--output", type=Path, default=here, help="folder of both files")
    parser.add_argument("--name", help="of the files; default: the job's")
    parser.add_argument("--page", type=Path, help="a page to write the numbers into")
    arguments = parser.parse_args()
    try:
        card = make_pretrained(arguments.run, arguments.output, arguments.name)
        if arguments.page:
            write_page(arguments.page, card)
    except HpcGwError as error:
        print(f"pretrained: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{arguments.output / card['name']}.pt and .json: {card['bytes']:,} bytes of weights")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
