"""What each rank of a job runs: ``python -m hpc_gw.launch.lsf.rank FOLDER``.

submitit's own command leaves the ranks' logs to srun, and dies of a warning that comes before it
is ready.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from submitit.core.submission import process_job

from hpc_gw.launch.lsf.environment import LsfJobEnvironment


def main(folder: str) -> None:
    """Run the submitted function, with output and errors in this rank's files."""
    LsfJobEnvironment.hold_warning()
    environment = LsfJobEnvironment()
    os.environ["SUBMITIT_FOLDER"] = folder
    for path, descriptor in ((environment.paths.stdout, 1), (environment.paths.stderr, 2)):
        _append_to(path, descriptor)
    process_job(folder)
    if distributed := sys.modules.get("hpc_gw.distributed"):
        distributed.leave(0)


def _append_to(path: Path, descriptor: int) -> None:
    """A job that was requeued goes on in the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, descriptor)
    os.close(file)


if __name__ == "__main__":
    main(sys.argv[1])
