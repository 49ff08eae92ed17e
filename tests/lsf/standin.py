"""Stand-ins of bsub, bjobs, bkill, brequeue and jsrun: what this project uses of them, no more.

They run scripts for real, on this machine, and follow IBM's documentation of LSF 10.1; no real
LSF was at hand to compare with. Variables: ``FAKE_LSF_DIR``, a folder for all state, and
``FAKE_LSF_MINUTE``, the seconds that a minute of LSF's lasts.

Under the folder, ``jobs/<id>/`` holds ``job.json`` (options), ``script``, ``state.json`` (state of
each element) and ``requests/``, in which commands leave what they want of the job's supervisor.
A number in ``bjobs_fails`` lets that many calls of bjobs fail.
"""

import ctypes
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = {"-r", "-rn", "-ti"}
VALUES = {
    "-J", "-o", "-W", "-wa", "-wt", "-w", "-q", "-P", "-alloc_flags", "-nnodes", "-n", "-R",
    "-gpu", "-cwd",
}  # fmt: skip

JSRUN = {
    "--nrs": "-n", "--rs_per_host": "-r", "--tasks_per_rs": "-a", "--cpu_per_rs": "-c",
    "--gpu_per_rs": "-g", "--bind": "-b",
}  # fmt: skip


def root():
    return Path(os.environ["FAKE_LSF_DIR"])


def publish(path, value):
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def show(folder, states):
    """Publish the states of a job's elements, and write them down for tests."""
    publish(folder / "state.json", states)
    with (folder / "history").open("a") as history:
        history.write(json.dumps(states) + "\n")


def fail(message, code=255):
    print(message, file=sys.stderr)
    sys.exit(code)


def options_of(words):
    found, words = {}, list(words)
    while words:
        word = words.pop(0)
        if word in FLAGS:
            found[word] = True
        elif word in VALUES and words:
            found[word] = words.pop(0)
        else:
            fail(f"{word}: Illegal option. Job not submitted.")
    return found


def bsub(arguments):
    script = sys.stdin.read()
    words = []
    for line in script.splitlines():
        if line.startswith("#BSUB"):
            words += shlex.split(line.removeprefix("#BSUB"))
    options = options_of(words + arguments)
    match = re.fullmatch(r"([^[]+)(?:\[1-(\d+)\](?:%(\d+))?)?", options.get("-J", "NONAME"))
    if match is None:
        fail("Bad job name. Job not submitted.")
    number = 101
    while True:
        folder = root() / "jobs" / str(number)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
    count = int(match[2] or 0)
    (folder / "requests").mkdir()
    (folder / "script").write_text(script)
    job = {"options": options, "count": count, "limit": int(match[3] or count or 1)}
    publish(folder / "job.json", job)
    elements = range(1, count + 1) if count else [0]
    show(folder, {str(i): "PEND" for i in elements})
    log = (folder / "supervisor.log").open("ab")
    subprocess.Popen(
        [sys.executable, str(HERE / "supervisor.py"), str(number)],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    print(f"Job <{number}> is submitted to queue <{options.get('-q', 'normal')}>.")


def states(job):
    """Of each element, or None for an unknown job."""
    path = root() / "jobs" / job / "state.json"
    return json.loads(path.read_text()) if path.exists() else None


def bjobs(arguments):
    toll = root() / "bjobs_fails"
    if toll.exists() and (left := int(toll.read_text())) > 0:
        toll.write_text(str(left - 1))
        fail("Failed in an LSF library call: LIM is down; try later. LSF is down. Please wait ...")
    *fields, delimiter = arguments[3].split()
    if arguments[:3] != ["-a", "-noheader", "-o"] or delimiter != "delimiter='|'":
        fail(f"bjobs: not played here: {arguments}")
    code = 0
    for job in arguments[4:]:
        found = states(job)
        if found is None:
            print(f"Job <{job}> is not found", file=sys.stderr)
            code = 255
            continue
        for index, state in found.items():
            file = root() / "jobs" / job / f"code.{index}"
            ended = file.read_text() if state == "EXIT" and file.exists() else "-"
            host = "-" if state == "PEND" else "localhost"
            told = {"jobid": job, "jobindex": index, "stat": state}
            told |= {"exit_code": ended, "exec_host": host}
            print("|".join(told[field] for field in fields))
    sys.exit(code)


def targets(word):
    """Job, and its elements that a command names; ends the command where there are none."""
    match = re.fullmatch(r"(\d+)(?:\[(\d+)\])?", word)
    found = states(match[1]) if match else None
    if found is None or (match[2] and match[2] not in found):
        fail(f"Job <{word}>: No matching job found")
    chosen = {match[2]: found[match[2]]} if match[2] else found
    alive = {index: state for index, state in chosen.items() if state in ("PEND", "RUN")}
    if not alive:
        fail(f"Job <{word}>: Job has already finished")
    return match[1], alive


def request(job, index, what):
    folder = root() / "jobs" / job / "requests"
    name = f"{time.time_ns()}.{os.getpid()}.{index}"
    publish(folder / name, {"index": index, "what": what})
    (folder / name).rename(folder / f"{name}.ready")


def bkill(arguments):
    name = None
    if arguments[0] == "-s":
        name, arguments = arguments[1], arguments[2:]
    for word in arguments:
        job, alive = targets(word)
        for index, state in alive.items():
            if name and state == "PEND":
                fail(f"Job <{word}>: Job has not started yet")
            request(job, index, f"signal {name}" if name else "kill")
        print(f"Job <{word}> is being {'signaled' if name else 'terminated'}")


def brequeue(arguments):
    for word in arguments:
        job, alive = targets(word)
        for index, state in alive.items():
            if state != "RUN":
                fail(f"Job <{word}>: Job has not started yet")
            request(job, index, "requeue")
        print(f"Job <{word}> is being requeued")


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def jsrun(arguments):
    """Start n * a ranks on this node, out of reach of the job's process group as on others."""
    values, words = {"-a": "1"}, list(arguments)
    while words and words[0].startswith("-"):
        name, _, value = words.pop(0).partition("=")
        short = JSRUN.get(name, name)
        if short not in JSRUN.values():
            fail(f"jsrun: unknown option {name}")
        values[short] = value or words.pop(0)
    if "LSB_JOBID" not in os.environ:
        fail("Error: must be run inside a job")
    size = int(values["-n"]) * int(values["-a"])
    ranks = []
    for rank in range(size):
        variables = {}
        for name in ("JSM_NAMESPACE", "OMPI_COMM_WORLD"):
            variables |= {f"{name}_SIZE": size, f"{name}_RANK": rank}
            variables |= {f"{name}_LOCAL_SIZE": size, f"{name}_LOCAL_RANK": rank}
        environment = os.environ | {"PMIX_RANK": str(rank)}
        environment |= {name: str(value) for name, value in variables.items()}
        ranks.append(
            subprocess.Popen(
                words, env=environment, start_new_session=True, preexec_fn=die_with_parent
            )
        )

    def hand_on(number, _):
        for rank in ranks:
            if rank.poll() is None:
                rank.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, hand_on)
    ended = 0.0
    while any(rank.poll() is None for rank in ranks):
        if not ended and any(rank.returncode for rank in ranks):  # one failed: all must go
            hand_on(signal.SIGTERM, None)
            ended = time.monotonic()
        if ended and time.monotonic() > ended + 1:
            hand_on(signal.SIGKILL, None)
        time.sleep(0.02)
    codes = [rank.returncode for rank in ranks if rank.returncode]
    sys.exit(0 if not codes else codes[0] if codes[0] > 0 else 128 - codes[0])


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2:])
