"""An LSF that is none: stand-ins of its commands, and minutes of four seconds.

Real LSF was not available; see standin.py for what the stand-ins play.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("submitit", reason="submission to batch systems needs submitit")

from submitit.core import plugins

from hpc_gw.launch.lsf import LsfExecutor, LsfJob

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MINUTE_S = 4.0
SMALL = {"time": 400}  # more than any test needs


class Lsf:
    """The stand-in's state, and executors for it."""

    def __init__(self, state: Path, folder: Path) -> None:
        self.state = state
        self.folder = folder

    def executor(self, name: str, requeues: int = 3, **parameters) -> LsfExecutor:
        executor = LsfExecutor(self.folder / name, max_num_timeout=requeues)
        executor.update_parameters(**SMALL | parameters)
        return executor

    def history(self, job: LsfJob) -> list[str]:
        """States that LSF showed of a job, without repetitions."""
        number, *element = job.job_id.split("_")
        key = str(int(element[0]) + 1) if element else "0"
        lines = (self.state / "jobs" / number / "history").read_text().splitlines()
        states = [json.loads(line)[key] for line in lines]
        return [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]]

    def await_state(self, job: LsfJob, state: str, patience_s: float = 300) -> None:
        self.until(lambda: self.history(job)[-1] == state, patience_s)

    @staticmethod
    def until(condition, patience_s: float = 300) -> None:
        end = time.monotonic() + patience_s
        while True:
            try:
                if condition():
                    return
            except FileNotFoundError:
                pass
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)


def announce(folder: Path) -> None:
    """Make the entry points of setup.cfg known, as an installation does."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"]["submitit"].strip()
    info = folder / "hpc_gw_plugin-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hpc_gw_plugin\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[submitit]\n{lines}\n")


@pytest.fixture(scope="session")
def lsf(tmp_path_factory):
    """Of all tests here; what still runs at the end is killed."""
    base = tmp_path_factory.mktemp("lsf")
    paths = [str(ROOT)]
    if not any(p.value.startswith("hpc_gw.") for p in metadata.entry_points(group="submitit")):
        announce(base / "announced")
        paths.append(str(base / "announced"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAKE_LSF_DIR", str(base / "state"))
        patch.setenv("FAKE_LSF_MINUTE", str(MINUTE_S))
        commands = [str(HERE / "bin"), str(Path(sys.executable).parent)]
        patch.setenv("PATH", os.pathsep.join([*commands, os.environ["PATH"]]))
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            patch.delenv(name, raising=False)
        for path in paths[1:]:
            patch.syspath_prepend(path)
        patch.setattr(LsfJob.watcher, "_delay_s", 0.3)
        patch.setattr(LsfJob, "_results_timeout_s", 1)
        _forget_plugins()
        yield Lsf(base / "state", base / "jobs")
        shutil.rmtree(base / "state", ignore_errors=True)
        time.sleep(0.2)
    _forget_plugins()


@pytest.fixture(autouse=True)
def patience():
    """No test waits for ever for a job that never ends."""

    def give_up(number, frame):
        raise TimeoutError("the test waited for longer than 900 s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(900)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def _forget_plugins() -> None:
    for cached in (plugins._get_plugins, plugins.get_executors, plugins.get_job_environments):
        cached.cache_clear()
