"""Parts that are doubled, swapped, of another study, deleted or cut short, among files of others and links."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import fastgd
from campaign.attack import Attack, Found
from campaign.folders import KINDS, STUDIES, content, differences, finished, outcome, problems, run


def parts(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Do something to the files of a folder; then read it, repair it, and run its study again."""
    expected, failures = {}, []
    for name in STUDIES:
        shutil.copytree(finished(name)[0], folder / name / "whole")
        run(name, folder / name / "begun", parts=4)
        run(name, folder / name / "other")
        expected[name] = {state: content(folder / name / state) for state in ("whole", "begun")}
    theirs = folder / "theirs"
    for number in range(tries):
        name, state = str(random.choice(list(STUDIES))), str(random.choice(["whole", "begun"]))
        place = folder / f"try-{number}"
        shutil.copytree(folder / name / state, place)
        shutil.rmtree(theirs, ignore_errors=True)
        theirs.mkdir()
        pd.DataFrame({"thesis": [1.0]}).to_parquet(theirs / "mine.parquet")
        done, kept = _ACTIONS[random.integers(len(_ACTIONS))](random, place, folder / name / "other", theirs)
        before = {path: path.read_bytes() for path in [*theirs.iterdir(), *kept]}
        # A commit record of a run that has not ended is missed by nobody: its trials are computed again.
        reads = None if state == "begun" and re.match(r"trials.*deleted", done) else expected[name][state]
        wrong = _went_wrong(place, name, expected[name]["whole"], reads, links="link" in done)
        changed = [path.name for path in before if not path.exists() or path.read_bytes() != before[path]]
        if wrong or changed:
            failures.append(f"{done} in {place} ({name}, {state}): {wrong or f'{changed} of others were changed'}")
        else:
            shutil.rmtree(place)
    return Found(tries, failures)


def _went_wrong(place: Path, name: str, whole: dict, before: dict | None, *, links: bool) -> str:
    reading = outcome(lambda: differences(content(place), before or content(place)))
    if reading:
        return f"read as another: {reading}"
    if wrong := outcome(lambda: run(name, place) or ""):
        return f"a run: {wrong}"
    if links:  # a run refuses to write behind them
        return ""
    try:
        fastgd.verify(place, repair=True)
        run(name, place)
        return problems(place, name, whole)
    except Exception as error:
        return f"after a repair: {type(error).__name__}: {error}"


Done = tuple[str, list[Path]]  # what was done, and the files of others in the folder
Action = Callable[[np.random.Generator, Path, Path, Path], Done]


def _some(random: np.random.Generator, place: Path, kinds: tuple[str, ...] = (*KINDS, "surfaces")) -> Path:
    found = sorted(path for kind in kinds for path in (place / kind).glob("*.parquet"))
    return found[random.integers(len(found))]


def _delete(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    path = _some(random, place)
    path.unlink()
    return f"{path.relative_to(place)} deleted", []


def _truncate(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    path = _some(random, place)
    size = int(random.integers(path.stat().st_size))
    path.write_bytes(path.read_bytes()[:size])
    return f"{path.relative_to(place)} cut to {size} bytes", []


def _double(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    path = _some(random, place, KINDS)
    tail = "" if path.parent.name == "trials" else "-00"
    copy = path.with_name(f"{random.integers(3):04d}-{random.integers(5, 9):06d}{tail}.parquet")
    shutil.copy(path, copy)
    return f"{path.relative_to(place)} copied to {copy.name}", []


def _swap(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    first, second = _some(random, place), _some(random, place)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    return f"{first.relative_to(place)} and {second.relative_to(place)} swapped", []


def _foreign(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    theirs_, ours = _some(random, other), _some(random, place)
    shutil.copy(theirs_, ours)
    return f"{theirs_} in the place of {ours.relative_to(place)}", []


def _user_file(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    kind = str(random.choice(["curves", "parameters", "trajectories", "surfaces"]))
    names = [
        "0000-000007-00.parquet",
        "mine.parquet",
        "0001-000000-77.parquet",
        "0009.parquet",
        "1a.parquet",
        ".x",
    ]
    path = place / kind / str(random.choice(names))
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame({"mine": [1.0, 2.0]}).to_parquet(path)
    return f"a user's file {path.relative_to(place)}", [path]


def _linked_folder(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    kind = str(random.choice([*KINDS, "surfaces"]))
    if (place / kind).exists():
        for path in (place / kind).iterdir():
            shutil.copy(path, theirs)
        shutil.rmtree(place / kind)
    for name in ("0000-000050-00.parquet", ".0000-000051-00.parquet", "0077.parquet"):
        shutil.copy(_some(random, other), theirs / name)
    (place / kind).symlink_to(theirs)
    return f"{kind} is a link", []


def _linked_file(random: np.random.Generator, place: Path, other: Path, theirs: Path) -> Done:
    names = ["curves/0000-000050-00.parquet", ".manifest.json", ".study.toml", "curves/.0000-000001-00.parquet"]
    path = place / str(random.choice(names))
    path.symlink_to(theirs / "mine.parquet")
    return f"{path.relative_to(place)} points to a file of others", []


_ACTIONS: tuple[Action, ...] = (
    *(_delete, _truncate, _double, _swap, _foreign),
    *(_user_file, _linked_folder, _linked_file),
)
ATTACK = Attack(
    name="parts",
    promise="Parts that are missing, cut short, doubled, swapped or of another study are refused by name; `fastgd "
    "verify --repair` and the next run make the study whole; files of others and what links lead to are never touched",
    test="tests/test_verification.py",
    make=parts,
    tries=200,
    few=6,
    beyond="a commit record that is deleted before its run has ended: its trials count as not computed yet",
)
