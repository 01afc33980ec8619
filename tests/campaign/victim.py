"""Runs a study in one child after the other, each of which meets what its line on standard input says.

A line is a JSON object: `folder`, `study` (a name in `folders.STUDIES`), and `kill` (seconds until the child is
killed), or `bytes` (no file can become larger), or neither, and whether it is to `join` another process. For each the
program prints a line: the child's status as `status`, what it said as `said`, and the `seconds` that it took. It forks,
so that imports are paid for once.
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import fastgd
import fastgd.runs.runner
from campaign import folders


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_meet(**json.loads(line))) + "\n")
        sys.stdout.flush()


def _meet(folder: str, study: str, kill: float | None = None, bytes: int | None = None, join: bool = False) -> dict:
    began = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _run(folder, study, bytes, join, writing)
    os.close(writing)
    if kill is not None:
        time.sleep(kill)
        os.kill(child, signal.SIGKILL)  # of one that has ended, nothing comes: it is not waited for yet
    with os.fdopen(reading) as said:
        text = said.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"status": status, "said": text, "seconds": time.monotonic() - began}


def _run(folder: str, study: str, bytes: int | None, join: bool, said: int) -> None:
    """Run the study as the command line does, in what is left of the child."""
    os.dup2(said, 2)
    if bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, resource.RLIM_INFINITY))
    try:
        folders.run(study, Path(folder), join=join)
    except fastgd.InputError as error:
        os.write(2, f"error: {error}\n".encode())
        os._exit(2)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
