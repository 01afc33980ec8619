"""Signals to a command that works: what is done is kept, the exit code tells which it was, a second one ends."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import fastgd
from campaign.attack import PACKAGE, Attack, Found

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TRIES_OF_A_FOLDER = 5
SOON = 10.0  # seconds within which a command ends, on a busy machine: Python's own end takes a part of it
STUDY = """
name = "long"
epochs = 400
seed = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
batch_size = 8

[problem]
loss = "logistic"
synthetic = { n = 30_000, d = 5, noise = 0.1 }

[[optimizer]]
name = "momentum"
lr = { log = [1e-3, 1e-1], num = 4 }
"""


# Shells start what runs in the background with signals ignored.
HEEDS_SIGNALS = (
    "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
)


def start(study: Path, *arguments: str) -> subprocess.Popen:
    """Start a command in a process of its own, which heeds signals also where this one ignores them."""
    path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", f"{HEEDS_SIGNALS}from fastgd.cli import main\nmain()", *arguments]
    return subprocess.Popen(
        command,
        cwd=study.parent,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def when(process: subprocess.Popen, word: str) -> str:
    """Wait until a command says something on standard error, and return what it said until then."""
    said = ""
    while word not in said and (line := process.stderr.readline()):
        said += line
    return said


def end(process: subprocess.Popen, number: int, again: int | None, pause: float) -> tuple[str, float]:
    """Send a signal, and another one; return what was said then, and the seconds until the end."""
    began = time.monotonic()
    process.send_signal(number)
    if again is not None:
        time.sleep(pause)
        process.send_signal(again)
    try:
        _, said = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
    return said, time.monotonic() - began


def _fault(random: np.random.Generator, study: Path, folder: Path) -> str:
    number = SIGNALS[random.integers(3)]
    again = SIGNALS[random.integers(3)] if random.random() < 0.4 else None
    moment = ["loading", "planned", "compiling", "epoch"][random.integers(4)]
    process = start(study, "run", str(study), "--out", str(folder))
    said = when(process, moment)
    time.sleep(0.3 * random.random())
    later, spent = end(process, number, again, 0.05 + 0.2 * random.random())
    what = f"{signal.Signals(number).name}" + (f", {signal.Signals(again).name}" if again else "") + f" when {moment!r}"
    if process.returncode != 128 + number:
        return f"{what}: exit code {process.returncode}, {(said + later)[-300:]!r}"
    if spent > SOON:
        return f"{what}: took {spent:.1f} s"
    if "Traceback" in said + later or (again is None and "interrupted: " not in later):
        return f"{what}: says {(said + later)[-300:]!r}"
    kept = re.search(r"interrupted: ([\d,]+) of ", later)
    if kept and (folder / "manifest.json").exists():
        trials = fastgd.load(folder).trials
        if len(trials) < int(kept[1]) or not trials["trial_id"].is_unique:
            return f"{what}: {kept[0]!r}, and there are {len(trials)}"
    return ""


def make(random: np.random.Generator, tries: int, folder: Path) -> Found:
    study = folder / "long.toml"
    study.write_text(STUDY)
    # Each command goes on from where the one before was interrupted: in one folder, the work would come to its end.
    folders = [folder / f"results-{index // TRIES_OF_A_FOLDER}" for index in range(tries)]
    failures = [found for results in folders if (found := _fault(random, study, results))]
    return Found(tries, failures)


ATTACK = Attack(
    name="signals",
    promise="what is done is kept and said, exit codes 130, 143 and 129; a second signal ends at once",
    test="tests/test_signals.py",
    make=make,
    tries=60,
    few=3,
    beyond="code that holds the interpreter's lock, as scikit-learn's parser of .svm files does: a signal waits for it",
)
