"""What happens to processes that write results: they are killed, meet others, and fill disks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import fastgd
from campaign.attack import PACKAGE, Attack, Found
from campaign.folders import STUDIES, files, finished, outcome, problems, run

IN_A_ROW = 8  # kills of one folder's runs, before a run is left to end


class Victim:
    """A process whose children run studies, see victim.py."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def begin(self, folder: Path, study: str, **what: Any) -> None:
        """Let a child run a study."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"folder": str(folder), "study": study, **what}) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Return what became of it."""
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def run(self, folder: Path, study: str, **what: Any) -> dict[str, Any]:
        """Let a child run a study, and return what became of it."""
        self.begin(folder, study, **what)
        return self.end()


@contextmanager
def victim() -> Iterator[Victim]:
    """Start a victim, and let go of it."""
    path = os.pathsep.join([str(PACKAGE), str(PACKAGE / "tests")])
    with subprocess.Popen(
        [sys.executable, "-m", "campaign.victim"],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Victim(process)
        process.communicate()


def kills(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Kill the runs of a study again and again, look at what is left, and let one end."""
    failures, killed, made = [], 0, 0
    with victim() as process:
        seconds = {name: process.run(folder / "timed" / name, name)["seconds"] for name in STUDIES}
        while killed < tries:
            name, place = str(random.choice(list(STUDIES))), folder / f"folder-{made}"
            made += 1
            before: set[str] = set()
            for _ in range(min(IN_A_ROW, tries - killed)):
                delay = float(random.uniform(0, seconds[name]))
                status = process.run(place, name, kill=delay)["status"]
                killed += status == -9
                wrong, before = _left(place, before)
                if wrong or status not in (0, -9):
                    failures.append(f"{name} in {place}, killed after {delay:.3f} s ({status}): {wrong}")
            ended = process.run(place, name)
            wrong = ended["said"] if ended["status"] else problems(place, name, finished(name)[1])
            if wrong:
                failures.append(f"{name} in {place}, after kills and a run that ended: {wrong}")
    return Found(killed, failures)


def _left(place: Path, before: set[str]) -> tuple[str, set[str]]:
    """Say what is wrong with what a killed run left, and return its trials; `before`: those that stood already."""
    if not (place / "manifest.json").exists():
        return ("what was committed is gone" if before else ""), before
    try:
        trials = fastgd.load(place).trials
    except Exception as error:
        return f"{type(error).__name__}: {error}", before
    names = trials["trial_id"].astype(str) + (":" + trials["start"].astype(str) if "start" in trials else "")
    if not names.is_unique:
        return "trials stand twice", before
    if lost := before - set(names):
        return f"{len(lost)} committed trials are lost", before
    return "", set(names)


def two_processes(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Read, and try to write, while another process runs a study in the same folder."""
    failures = []
    with victim() as process:
        for number in range(tries):
            name, place = str(random.choice(list(STUDIES))), folder / f"folder-{number}"
            process.begin(place, name)
            while not (place / "manifest.json").exists():
                pass
            refused, seen = outcome(lambda name=name, place=place: _second(name, place)), set()
            for _ in range(int(random.integers(5, 40))):
                wrong, seen = _left(place, seen)
                if wrong:
                    failures.append(f"a reader of {place} during a run of {name}: {wrong}")
            verified = outcome(lambda place=place: str(fastgd.verify(place).findings or ""))
            ended = process.end()
            wrong = ended["said"] if ended["status"] else problems(place, name, finished(name)[1])
            wrong = refused or verified or wrong
            if wrong:
                failures.append(f"{name} in {place}, with a second writer: {wrong}")
    return Found(tries, failures)


def _second(name: str, place: Path) -> str:
    """Write to a folder that another process writes to: it is refused, unless that has come to its end."""
    run(name, place)
    return "" if fastgd.load(place).manifest.ended else "a second writer was not refused"


def joins(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Kill one of two processes that run a study in one folder, each of which waits for the other."""
    failures = []
    with victim() as one, victim() as other:
        seconds = {name: one.run(folder / "timed" / name, name)["seconds"] for name in STUDIES}
        for number in range(tries):
            name, place = str(random.choice(list(STUDIES))), folder / f"folder-{number}"
            delay = float(random.uniform(0, seconds[name]))
            one.begin(place, name, kill=delay, join=True)
            other.begin(place, name, join=True)
            killed, ended = one.end()["status"], other.end()
            wrong = ended["said"] if ended["status"] else problems(place, name, finished(name)[1])
            if wrong or killed not in (0, -9):
                failures.append(f"{name} in {place}, one killed after {delay:.3f} s ({killed}): {wrong}")
    return Found(tries, failures)


def full_disk(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Let no file become larger than some bytes, then let it."""
    failures = []
    with victim() as process:
        for number in range(tries):
            name, place = str(random.choice(list(STUDIES))), folder / f"folder-{number}"
            largest = max(path.stat().st_size for path in files(finished(name)[0]))
            limit = int(np.exp(random.uniform(0, np.log(largest))))
            met = process.run(place, name, bytes=limit)
            said = met["said"].strip()
            wrong = "" if met["status"] in (0, 2) and said.count("\n") == 0 else f"status {met['status']}, {said}"
            if met["status"] == 2 and "cannot write" not in said:
                wrong = said
            wrong = wrong or _left(place, set())[0]
            ended = process.run(place, name)
            wrong = wrong or (ended["said"] if ended["status"] else problems(place, name, finished(name)[1]))
            if wrong:
                failures.append(f"{name} in {place}, no file above {limit} bytes: {wrong}")
    return Found(tries, failures)


KILLS = Attack(
    name="kills",
    promise="After SIGKILL at any time, the next run ends with the same bits: no trial is lost or doubled, and no "
    "temporary file stays",
    test="tests/test_store_crash.py",
    make=kills,
    tries=200,
    few=3,
    beyond="disks that lose what they have confirmed",
)
TWO_PROCESSES = Attack(
    name="two processes",
    promise="A second writer is refused with one message; readers see whole trials only, at any time",
    test="tests/test_store_refusals.py",
    make=two_processes,
    tries=30,
    few=1,
    beyond="network file systems without locks, where a file stands for the lock",
)
JOINS = Attack(
    name="joins",
    promise="With --join, whoever comes second waits, and ends the study with the same bits also where the first "
    "was killed",
    test="tests/test_join.py",
    make=joins,
    tries=60,
    few=1,
    beyond="file systems without locks, where the killed process was on another machine",
)
FULL_DISK = Attack(
    name="full disk",
    promise="Where no more can be written, a run ends with one message, what was committed stands, and a later "
    "run goes on",
    test="tests/test_store_refusals.py",
    make=full_disk,
    tries=60,
    few=2,
)
