"""LSF for submitit, which itself knows Slurm only: the executor named "lsf".

submitit finds it through the entry points of this package: ``AutoExecutor(folder, cluster="lsf")``.
Real LSF was not available where this was written: what the commands take and answer is from
IBM's documentation of LSF 10.1, and the tests run against stand-ins of them.
"""

from __future__ import annotations

from hpc_gw.launch.lsf.environment import LsfJobEnvironment
from hpc_gw.launch.lsf.executor import LsfExecutor
from hpc_gw.launch.lsf.jobs import LsfInfoWatcher, LsfJob, after
from hpc_gw.launch.lsf.script import script_body, submission_text

__all__ = [
    "LsfExecutor",
    "LsfInfoWatcher",
    "LsfJob",
    "LsfJobEnvironment",
    "after",
    "script_body",
    "submission_text",
]
