"""The text that bsub reads: a pure function of what is asked for.

Real LSF was not available where this was written; options are those of IBM's documentation of
bsub (LSF 10.1), the launch lines those of Oak Ridge's for Summit.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import JobPaths

from hpc_gw.errors import ConfigError
from hpc_gw.launch.quoting import path, plain

_BODY = """\
# LSF's warning reaches this shell, too; the ranks are those who act on it.
trap : {signal}
export SUBMITIT_EXECUTOR=lsf
{setup}{launch}
status=$?

# A rank on a node without LSF's commands leaves the requeue to this shell.
job=$LSB_JOBID
name=$LSB_JOBID
if [ "${{LSB_JOBINDEX:-0}}" -gt 0 ]; then
    job="${{LSB_JOBID}}[$LSB_JOBINDEX]"
    name=${{LSB_JOBID}}_$((LSB_JOBINDEX - 1))
fi
if [ -e {folder}/"$name"_requeue ]; then
    rm -f {folder}/"$name"_requeue
    brequeue "$job" && sleep 600  # until LSF ends this run
fi
exit $status
"""


def submission_text(
    command: str,
    folder: str | Path,
    map_count: int | None = None,
    job_name: str = "hpc-gw",
    time: int = 60,
    nodes: int = 1,
    tasks_per_node: int = 1,
    cpus_per_task: int = 1,
    gpus_per_node: int = 0,
    mem: str | None = None,
    queue: str | None = None,
    project: str | None = None,
    alloc_flags: str | None = None,
    warning_min: int | None = None,
    rerunnable: bool = True,
    dependency: str | None = None,
    array_parallelism: int = 256,
    launcher: Literal["jsrun", "mpirun"] = "jsrun",
    launcher_args: Sequence[str] = (),
    setup: Sequence[str] = (),
    additional: Sequence[str] = (),
) -> str:
    """The script of a job, or of an array of jobs.

    Args:
        command: what each rank runs, for a shell.
        folder: of submitit's files; what LSF itself reports goes there, too.
        map_count: elements of the array; None for a single job.
        job_name: shown by bjobs.
        time: until LSF ends the job [minutes].
        nodes: whole nodes with jsrun, hosts with mpirun.
        tasks_per_node: ranks on each; one resource set each with jsrun.
        cpus_per_task: cores of a rank (jsrun: 7 on Summit).
        gpus_per_node: divided evenly among the ranks of a node.
        mem: memory to reserve on each host, such as "8GB".
        queue, project, alloc_flags: as the site wants them (``-q``, ``-P``, ``-alloc_flags``).
        warning_min: how long before the end ranks are told by a signal to write their
            checkpoint [minutes]; None: a fifth of ``time``, 1 to 10.
        rerunnable: LSF starts the job again when its host fails.
        dependency: condition on other jobs, such as "done(12)"; see ``after``. Where it can
            no longer come true, LSF ends the job without running it.
        array_parallelism: elements that run at the same time.
        launcher: jsrun where the site has it (Summit, Lassen); mpirun where LSF allots slots.
        launcher_args: further words for the launcher.
        setup: shell lines before the launch.
        additional: further options of bsub, a line each, such as "-alloc_flags smt4".

    Raises:
        ConfigError: times that leave nothing to run, GPUs that cannot be divided, or a name or
            folder that LSF's options cannot hold.
    """
    warning = _warning(time, warning_min)
    home = path(str(JobPaths.get_first_id_independent_folder(folder)), "folder")
    name, report = plain(job_name, "job_name"), f"{home}/%J_lsf.out"
    if map_count is not None:
        name += f"[1-{map_count}]%{min(map_count, array_parallelism)}"
        report = f"{home}/%J_%I_lsf.out"
    options = [f'-J "{name}"', f'-o "{report}"', f"-W {time}"]
    options += [f"-wa {JobEnvironment.USR_SIG}", f"-wt {warning}"]
    options += ["-r"] if rerunnable else ["-rn"]
    if dependency is not None:
        options += [f'-w "{dependency}"', "-ti"]
    for flag, value in (("-q", queue), ("-P", project), ("-alloc_flags", alloc_flags)):
        options += [f'{flag} "{value}"'] if value is not None else []
    placed, words = _placement(launcher, nodes, tasks_per_node, cpus_per_task, gpus_per_node)
    options += placed
    options += [f'-R "rusage[mem={mem}]"'] if mem is not None else []
    launch = " ".join([words, *map(shlex.quote, launcher_args), command])
    header = "".join(f"#BSUB {option}\n" for option in [*options, *additional])
    return f"#!/bin/bash\n{header}\n{script_body(launch, home, setup)}"


def _warning(time: int, asked: int | None) -> int:
    """Minutes before the end at which ranks are told of it."""
    warning = max(1, min(10, time // 5)) if asked is None else asked
    if not 1 <= warning < time:
        raise ConfigError(
            f"time = {time} min with a warning {warning} min before its end: LSF counts whole "
            f"minutes; take time >= 2 and 1 <= warning_min < time"
        )
    return warning


def _placement(
    launcher: str, nodes: int, tasks: int, cpus: int, gpus: int
) -> tuple[list[str], str]:
    """Options that ask for ``nodes``, and the words that put ``tasks`` ranks on each."""
    if gpus % tasks:
        raise ConfigError(
            f"gpus_per_node = {gpus}, tasks_per_node = {tasks}: every rank gets the same number "
            f"of GPUs; choose a multiple"
        )
    ranks = nodes * tasks
    if launcher == "jsrun":
        words = f"jsrun -n {ranks} -r {tasks} -a 1 -c {cpus} -g {gpus // tasks} -b rs"
        return [f"-nnodes {nodes}"], words
    options = [f"-n {ranks}", f'-R "span[ptile={tasks}]"']
    return options + ([f'-gpu "num={gpus}"'] if gpus else []), f"mpirun -n {ranks}"


def script_body(launch: str, folder: str | Path, setup: Sequence[str] = ()) -> str:
    """What follows the options in every script for ``LsfExecutor``, whoever writes them.

    Args:
        launch: the line that starts the ranks; it ends with the command that ``LsfExecutor``
            hands to the text function.
        folder: of submitit's files.
        setup: shell lines before it.
    """
    lines = "".join(f"{line}\n" for line in setup)
    return _BODY.format(
        signal=JobEnvironment.USR_SIG, setup=lines, launch=launch, folder=shlex.quote(str(folder))
    )
