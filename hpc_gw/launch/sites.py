"""Sites: where jobs run, one short YAML file each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hpc_gw.config import STRICT, build, override, read_yaml
from hpc_gw.errors import ConfigError
from hpc_gw.launch import quoting

Scheduler = Literal["slurm", "lsf", "local"]


@dataclass(frozen=True, config=STRICT)
class LauncherConfig:
    """What starts the ranks of a job.

    Attributes:
        kind: ``srun``; ``jsrun``; ``mpiexec``, which the job starts itself; ``none``: the job
            starts ranks of one node itself.
        arguments: more words of it, such as ``--mpi=pmi2``.
    """

    kind: Literal["srun", "jsrun", "mpiexec", "none"] = "none"
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, config=STRICT)
class StepDefaults:
    """What a step asks for unless the command line says otherwise.

    Attributes:
        nodes: so many.
        tasks_per_node: ranks on each; by default one for each GPU in training, one for each core
            elsewhere.
        gpus_per_node: by default all in training, none elsewhere.
        walltime_min: in minutes; by default the site's.
        partition: or queue; by default the site's.
    """

    nodes: int = Field(default=1, ge=1)
    tasks_per_node: int | None = Field(default=None, ge=1)
    gpus_per_node: int | None = Field(default=None, ge=0)
    walltime_min: int | None = Field(default=None, ge=1)
    partition: str | None = None


@dataclass(frozen=True, config=STRICT)
class StepsDefaults:
    """The defaults of each step."""

    generate: StepDefaults = StepDefaults()
    train: StepDefaults = StepDefaults()
    evaluate: StepDefaults = StepDefaults()
    report: StepDefaults = StepDefaults(tasks_per_node=1)
    scaling: StepDefaults = StepDefaults()


@dataclass(frozen=True, config=STRICT)
class Site:
    """A cluster, as a user of it sees it.

    Attributes:
        name: of the site; by default the file's.
        about: what it is, and how far the profile was tried.
        scheduler: ``slurm``, ``lsf``, or ``local``: this machine, without any.
        partition: or queue.
        account, qos, constraint: none unless given.
        cores_per_node: for jobs.
        gpus_per_node: of each node.
        gpu_request: the option that asks for GPUs; ``{gpus}`` stands for their number. Empty
            where nodes come with all of theirs.
        max_nodes: of a job; none: no bound that we know.
        options: more words for the scheduler, such as ``--exclusive``.
        launcher: what starts the ranks.
        modules: loaded in this order.
        container: words before ``python``, such as ``[apptainer, exec, --nv, image.sif]``.
        python: on the nodes; by default the one that submits.
        setup: lines of shell, taken as they stand.
        environment: variables, such as NCCL_SOCKET_IFNAME.
        scratch: node-local storage, with variables such as $USER; exported as HPC_GW_SCRATCH.
        walltime_min, max_walltime_min: minutes of a job by default, and at most.
        signal_lead_s: seconds before the end that a job is told of it.
        requeues: at most so many times a job that was stopped in time is queued again.
        power_kw: of a node; for the energy of a dry run.
        price: of a node hour.
        currency: of the price.
        steps: what each step asks for.
    """

    name: str
    scheduler: Scheduler
    about: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    cores_per_node: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=0, ge=0)
    gpu_request: str = ""
    max_nodes: int | None = Field(default=None, ge=1)
    options: tuple[str, ...] = ()
    launcher: LauncherConfig = LauncherConfig()
    modules: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    python: str = ""
    setup: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    scratch: str = ""
    walltime_min: int = Field(default=60, ge=1)
    max_walltime_min: int | None = Field(default=None, ge=1)
    signal_lead_s: int = Field(default=120, ge=0)
    requeues: int = Field(default=5, ge=0)
    power_kw: float | None = Field(default=None, ge=0)
    price: float | None = Field(default=None, ge=0)
    currency: str = "USD"
    steps: StepsDefaults = StepsDefaults()

    def __post_init__(self) -> None:
        for what in ("name", "partition", "account", "qos"):
            quoting.plain(getattr(self, what), what)
        for line in (*self.options, self.gpu_request, self.constraint):
            if any(not c.isprintable() for c in line):
                raise ValueError(f"options: {line!r} holds a control character; write one line")
        for name in self.environment:
            if not name.isidentifier() or not name.isascii():
                raise ValueError(f"environment.{name}: not a variable's name; write letters and _")
        if not re.fullmatch(r"[\w./${}-]*", self.scratch, re.ASCII):
            raise ValueError(
                f"scratch: {self.scratch!r} is no plain path; letters, digits, _ . / - and "
                f"variables such as $USER are taken"
            )
        allowed = {"slurm": ("srun", "mpiexec", "none"), "lsf": ("jsrun", "mpiexec", "none")}
        if self.launcher.kind not in allowed.get(self.scheduler, ("mpiexec", "none")):
            raise ValueError(
                f"launcher.kind = {self.launcher.kind}: not with scheduler = {self.scheduler}; "
                f"choose {' or '.join(allowed.get(self.scheduler, ('mpiexec', 'none')))}"
            )


FOLDER = resources.files("hpc_gw.launch") / "sites"


def site_names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(
        file.name.removesuffix(".yaml") for file in FOLDER.iterdir() if file.name.endswith(".yaml")
    )


def load_site(name: str | os.PathLike[str], assignments: Iterable[str] = ()) -> Site:
    """Read a site's profile, by name or path, and apply ``key=value`` assignments.

    Raises:
        ConfigError: there is no such profile, a key is unknown (the nearest valid one is named),
            a value is of the wrong type, or values contradict one another.
    """
    given = os.fspath(name)
    if given in site_names():
        with resources.as_file(FOLDER / f"{given}.yaml") as path:
            return _read(path, assignments)
    path = Path(given).expanduser()
    if not path.suffix and os.sep not in given:
        raise ConfigError(
            f"--site {given}: no such site; there are {', '.join(site_names())}; or give the path "
            f"of a profile, such as ./{given}.yaml"
        )
    return _read(path, assignments)


def _read(path: Path, assignments: Iterable[str]) -> Site:
    mapping: dict[str, Any] = override(read_yaml(path), assignments)
    mapping.setdefault("name", path.stem)
    environment = mapping.get("environment")
    if isinstance(environment, dict):  # NCCL_DEBUG: 1 is meant as text
        mapping["environment"] = {key: _text(value) for key, value in environment.items()}
    if mapping.get("account") is not None and isinstance(mapping["account"], int):
        mapping["account"] = str(mapping["account"])
    return build(Site, mapping, where=str(path))


def _text(value: Any) -> Any:
    """A number as the text that a variable holds."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
