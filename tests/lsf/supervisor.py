"""The stand-in of LSF's daemons: sees one job, or one array, through its states."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from standin import root, show, states

MINUTE = float(os.environ.get("FAKE_LSF_MINUTE", "60"))
INTERVAL = MINUTE / 6  # between INT, TERM and KILL: LSF's JOB_TERMINATE_INTERVAL, 10 s


def minutes(text):
    hours, _, rest = text.rpartition(":")
    return (60 * int(hours or 0) + int(rest)) * MINUTE


class Element:
    """One run after the other of a job, or of an element of an array."""

    def __init__(self, job, index, folder, options):
        self.job, self.index, self.folder, self.options = job, index, folder, options
        self.state = "PEND"
        self.process = None
        self.again = False

    def start(self):
        hosts = self.folder / f"hosts.{self.index}"
        hosts.write_text("launch01\n" + "localhost\n" * 2)
        variables = {
            "LSB_JOBID": self.job,
            "LSB_JOBINDEX": str(self.index),
            "LSB_DJOB_HOSTFILE": str(hosts),
            "LSB_MCPU_HOSTS": "launch01 1 localhost 2",
        }
        path = self.options.get("-o", "/dev/null")
        self.output = Path(path.replace("%J", self.job).replace("%I", str(self.index)))
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                ["bash", str(self.folder / "script")],
                env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.state, self.again, self.reason = "RUN", False, ""
        self.started, self.warned, self.ending = time.monotonic(), False, []

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self, reason):
        """INT, TERM and KILL, one after the other."""
        if not self.ending:
            now = time.monotonic()
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
            self.ending = [(now + i * INTERVAL, number) for i, number in enumerate(numbers)]
            self.reason = reason

    def ask(self, what):
        """Do what a command wants."""
        if self.state == "PEND" and what == "kill":
            self.state = "EXIT"
        if self.state != "RUN":
            return
        if what == "kill":
            self.again = False
            self.end("TERM_OWNER: job killed by owner.")
        elif what == "requeue":
            self.again = True
            self.end("TERM_REQUEUE_OWNER: job requeued by owner.")
        elif what == "lose host":
            self.again = "-r" in self.options
            self.signal(signal.SIGKILL)
        else:
            self.signal(signal.Signals["SIG" + what.split()[1]])

    def look(self):
        """What time does to a running job."""
        now = time.monotonic()
        end = self.started + minutes(self.options["-W"])
        if not self.warned and now > end - minutes(self.options["-wt"]):
            self.warned = True
            self.signal(signal.Signals["SIG" + self.options["-wa"]])
        if now > end:
            self.end("TERM_RUNLIMIT: job killed after reaching LSF run time limit.")
        while self.ending and self.ending[0][0] <= now:
            self.signal(self.ending.pop(0)[1])
            if not self.ending:
                self.ending = [(float("inf"), 0)]
        if (code := self.process.poll()) is None:
            return
        self.signal(signal.SIGKILL)  # what its script left behind
        says = "Successfully completed." if code == 0 else f"Exited with exit code {abs(code)}."
        (self.folder / f"code.{self.index}").write_text(str(code if code >= 0 else 128 - code))
        with self.output.open("a") as output:
            output.write(f"{self.reason}\n{says}\n")
        if self.again:
            self.state = "PEND"
        else:
            self.state = "DONE" if code == 0 else "EXIT"


def fulfilled(expression):
    """True, False (never), or None (not yet)."""
    answers = []
    for term in expression.split("&&"):
        what, job, index = re.fullmatch(
            r"\s*(done|ended|exit)\((\d+)(?:\[(\d+)\])?\)\s*", term
        ).groups()
        found = states(job)
        if found is None:
            return False
        now = [found[index]] if index else list(found.values())
        wanted = {"done": {"DONE"}, "exit": {"EXIT"}, "ended": {"DONE", "EXIT"}}[what]
        if all(state in wanted for state in now):
            answers.append(True)
        else:
            over = any(state in {"DONE", "EXIT"} - wanted for state in now)
            answers.append(False if over else None)
    return False if False in answers else None if None in answers else True


def supervise(number):
    folder = root() / "jobs" / number
    job = json.loads((folder / "job.json").read_text())
    options = job["options"]
    indices = range(1, job["count"] + 1) if job["count"] else [0]
    published = states(number)
    elements = {index: Element(number, index, folder, options) for index in indices}
    held = options.get("-w")
    while True:
        for path in sorted((folder / "requests").glob("*.ready")):
            wish = json.loads(path.read_text())
            elements[int(wish["index"])].ask(wish["what"])
            path.unlink()
        if held:
            answer = fulfilled(held)
            held = None if answer else held
            if answer is False and "-ti" in options:
                for element in elements.values():
                    element.state = "EXIT"
        for element in elements.values():
            running = sum(other.state == "RUN" for other in elements.values())
            if element.state == "RUN":
                element.look()
            elif element.state == "PEND" and not held and running < job["limit"]:
                element.start()
        now = {str(index): element.state for index, element in elements.items()}
        if now != published and folder.exists():
            show(folder, now)
            published = now
        if not folder.exists() or set(now.values()) <= {"DONE", "EXIT"}:
            for element in elements.values():
                if element.state == "RUN":
                    element.signal(signal.SIGKILL)
            return
        time.sleep(0.03)


if __name__ == "__main__":
    assert shutil.which("bash")
    supervise(sys.argv[1])
