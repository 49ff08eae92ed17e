"""What was submitted: one JSON file for each job, in a folder of the user's.

``$HPC_GW_JOBS``, else ``$XDG_DATA_HOME/hpc_gw/jobs``, else ``~/.local/share/hpc_gw/jobs``: one
place for all output folders, so that ``hpc-gw jobs`` finds every job by its id.
"""

from __future__ import annotations

import dataclasses
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hpc_gw.errors import DataError
from hpc_gw.files import read_json, write_json
from hpc_gw.launch.plans import StepPlan

FORMAT = "hpc_gw job 1"


@dataclasses.dataclass(frozen=True)
class Record:
    """A submitted job.

    Attributes:
        id: the scheduler's; of an array, that of all its elements.
        step, site, scheduler, name: of its plan.
        commands: words after ``hpc-gw``, of each element.
        script: path of the batch script.
        folder: of the submission: script, logs, pickles.
        output: where results go.
        nodes, tasks_per_node, walltime_min, requeues: of its plan.
        dependencies: ids of jobs that must have succeeded before.
        submitted: time, UTC.
        cancelled: time of ``hpc-gw jobs cancel``, or empty.
    """

    id: str
    step: str
    site: str
    scheduler: str
    name: str
    commands: tuple[tuple[str, ...], ...]
    script: str
    folder: str
    output: str
    nodes: int
    tasks_per_node: int
    walltime_min: int
    requeues: int
    dependencies: tuple[str, ...]
    submitted: str
    cancelled: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The record for JSON."""
        return dataclasses.asdict(self)

    @property
    def elements(self) -> list[str]:
        """Ids of the elements of an array, or the job's own."""
        if self.scheduler == "local" or len(self.commands) == 1:
            return [self.id]
        return [f"{self.id}_{i}" for i in range(len(self.commands))]

    @property
    def logs(self) -> list[tuple[Path, Path]]:
        """Standard output and error of each element."""
        stems = [Path(self.folder) / f"{i}_0_log" for i in self.elements]
        return [(stem.with_suffix(".out"), stem.with_suffix(".err")) for stem in stems]

    @property
    def errors(self) -> list[Path]:
        """Standard errors, also of ranks that have files of their own (LSF), of 64 at most."""
        found = [sorted(Path(self.folder).glob(f"{i}_*_log.err"))[:64] for i in self.elements]
        return [path for paths in found for path in paths]


def record_of(plan: StepPlan, job_id: str, script: Path) -> Record:
    """The record of a plan that was just submitted."""
    return Record(
        id=job_id,
        step=plan.step,
        site=plan.site.name,
        scheduler=plan.site.scheduler,
        name=plan.name,
        commands=plan.commands,
        script=str(script),
        folder=str(plan.folder),
        output=str(plan.output),
        nodes=plan.nodes,
        tasks_per_node=plan.tasks_per_node,
        walltime_min=plan.walltime_min,
        requeues=plan.requeues,
        dependencies=plan.dependencies,
        submitted=now(),
    )


def now() -> str:
    """The time, UTC, to the millisecond: records sort by it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def folder() -> Path:
    """Where the records are."""
    if given := os.environ.get("HPC_GW_JOBS"):
        return Path(given).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "hpc_gw" / "jobs"


def publish(record: Record) -> None:
    """Write a record, or write it anew.

    Raises:
        StorageError: the folder cannot be written.
    """
    content = {"format": FORMAT, **record.as_dict()}
    write_json(folder() / f"{record.site}-{record.id}.json", content)


def records() -> tuple[list[Record], list[str]]:
    """Every record, the oldest first, and what is wrong with those that cannot be read."""
    found, broken = [], []
    for path in sorted(folder().glob("*.json")):
        try:
            found.append(_read(path))
        except DataError as error:
            broken.append(str(error))
    return sorted(found, key=lambda record: record.submitted), broken


def _read(path: Path) -> Record:
    content = read_json(path)
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise DataError(f"{path}: not a record of this version ('{FORMAT}'); remove it")
    try:
        content["commands"] = tuple(tuple(words) for words in content["commands"])
        content["dependencies"] = tuple(content["dependencies"])
        return Record(**content)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: a damaged record ({error}); remove it") from error


def find(ids: list[str]) -> list[Record]:
    """The records with these ids: ``123``, ``123_4`` of an array, or ``site:123``.

    Raises:
        DataError: there is none, or several sites have a job of that id.
    """
    known, _ = records()
    found = []
    for text in ids:
        site, _, number = text.rpartition(":")
        number = number.split("_")[0]
        matching = [r for r in known if r.id == number and site in ("", r.site)]
        if not matching:
            raise DataError(f"{text}: no such job in {folder()}; see hpc-gw jobs ls")
        if len(matching) > 1:
            choice = ", ".join(f"{r.site}:{r.id}" for r in matching)
            raise DataError(f"{text}: several sites have such a job; say which: {choice}")
        found.append(matching[0])
    return list(dict.fromkeys(found))


def dependents(record: Record) -> list[Record]:
    """Jobs that wait for this one, and those that wait for them."""
    known, _ = records()
    found, ids = [], {record.id}
    for other in known:  # the oldest first: nobody waits for a younger one
        if other.site == record.site and ids & set(other.dependencies):
            found.append(other)
            ids.add(other.id)
    return found
