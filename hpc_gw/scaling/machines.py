"""Machines by name or from a YAML file: nodes, links, storage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT, build, read_yaml
from hpc_gw.errors import ConfigError
from hpc_gw.scaling.allreduce import Wire, flat, hierarchical

FOLDER = Path(__file__).parent / "machines"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Link:
    """What a message pays: microseconds, and 10^9 bytes a second in each direction."""

    latency_us: float = Field(ge=0)
    bandwidth_gb_s: float = Field(gt=0)

    @property
    def wire(self) -> Wire:
        """In seconds and seconds a byte."""
        return Wire(self.latency_us * 1e-6, 1e-9 / self.bandwidth_gb_s)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Machine:
    """What a forecast has to know of a machine.

    Attributes:
        name: what it is called.
        gpu: what a rank computes on.
        nodes: that it has.
        gpus_per_node: ranks of a node.
        within: from one GPU of a node to the next.
        between: from a node to another, all of its adapters together.
        input_gb_s: that a node reads from the shared file system, 10^9 bytes a second.
        filesystem_gb_s: that all nodes together read.
        algorithm: of all-reduces, between nodes where these are hierarchical; ``fastest``: the
            faster of ring and tree, as NCCL chooses.
        hierarchical: sum inside each node first.
        overlap: gradients travel while backward goes on, in buckets.
        call_us: that each all-reduce costs besides its messages (launch, negotiation).
        shared: ranks beyond ``gpus`` are allowed, and share them in turn.
        spread: relative uncertainty (one sigma) of latencies and bandwidths, for the band.
    """

    name: str
    gpu: str
    nodes: int = Field(ge=1)
    gpus_per_node: int = Field(ge=1)
    within: Link
    between: Link
    input_gb_s: float = Field(gt=0)
    filesystem_gb_s: float = Field(gt=0)
    algorithm: Literal["ring", "tree", "doubling", "halving", "fastest"] = "fastest"
    hierarchical: bool = True
    overlap: bool = True
    call_us: float = Field(default=0.0, ge=0)
    shared: bool = False
    spread: float = Field(default=0.0, ge=0, lt=1)

    @property
    def gpus(self) -> int:
        """Of the whole machine."""
        return self.nodes * self.gpus_per_node

    def allreduce(self, gpus: int, size: float, slower: tuple[float, float] = (1.0, 1.0)) -> float:
        """Seconds of an all-reduce; ``slower``: factors on latencies and on times a byte."""
        if gpus == 1:
            return 0.0
        within, between = (
            Wire(wire.latency * slower[0], wire.per_byte * slower[1])
            for wire in (self.within.wire, self.between.wire)
        )
        how = hierarchical if self.hierarchical else flat
        seconds = how(gpus, self.gpus_per_node, size, within, between, self.algorithm)
        return self.call_us * 1e-6 + seconds

    def read_s(self, gpus: int, size: float) -> float:
        """Seconds until each of ``gpus`` GPUs has read ``size`` bytes from the file system."""
        node = size * min(gpus, self.gpus_per_node) / self.input_gb_s
        return max(node, size * gpus / self.filesystem_gb_s) * 1e-9


def machine_names() -> list[str]:
    """Machines that the package describes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_machine(name: str) -> Machine:
    """A machine of the package by its name, or any from its YAML file.

    Raises:
        ConfigError: there is neither, or a value is missing or impossible.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name}.yaml"
        if not path.exists():
            raise ConfigError(
                f"--machine {name}: choose from {', '.join(machine_names())}, or give a YAML file"
            )
    return build(Machine, read_yaml(path), where=str(name))
