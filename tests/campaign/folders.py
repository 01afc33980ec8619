"""Results folders for attacks: two small studies that are really run, and what must stand in their folders."""

import atexit
import json
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pyarrow.parquet as pq

import fastgd
from fastgd.runs.reporting.events import CohortFinished

# Several cohorts each, with every kind of file between them.
DATA = """
name = "data"
epochs = 2
seed = [0, 1]
batch_size = [32, 64]
[problem]
loss = "logistic"
synthetic = { n = 300, d = 4 }
validation = 0.1
[[optimizer]]
name = "momentum"
lr = [0.01, 0.1, 1e4]
[[optimizer]]
name = "adam"
lr = [0.01, 0.1, 1.0]
[record]
parameters = "all"
"""
VALLEY = """
name = "valley"
steps = 40
[problem]
landscape = "rosenbrock"
[starts]
grid = 4
[[optimizer]]
name = "sgd"
lr = [1e-4, 1e-3, 10.0]
[[optimizer]]
name = "adam"
lr = [0.01, 0.1]
[surface]
num = 9
"""
STUDIES = {"data": DATA, "valley": VALLEY}
KINDS = ("trials", "curves", "parameters", "trajectories")
# What is another in each run: times, and which cohort a trial was in.
PASSING = ["cohort_id", "cohort_lanes", "compile_seconds", "train_seconds", "evaluate_seconds", "dataset"]


def study(name: str) -> fastgd.Study:
    return fastgd.Study(**tomllib.loads(STUDIES[name]))


@patch("fastgd.runs.executor.GATHER_SECONDS", 0.0)
def run(name: str, folder: Path, parts: int | None = None, *, join: bool = False) -> None:
    """Run a study, each cohort of which is a part of its own: short ones would be one, with less to attack.

    With `parts`, it runs only until so many of them are stored: what an interruption leaves.
    """
    left = parts

    def interrupt(event: object) -> None:
        nonlocal left
        if left is not None and isinstance(event, CohortFinished):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    try:
        fastgd.run(study(name), out=folder, join=join, progress=False, on_event=interrupt)
    except KeyboardInterrupt:
        if parts is None:
            raise


@cache
def finished(name: str) -> tuple[Path, dict[str, Any]]:
    """Return a folder in which a study was run undisturbed, not to be changed, and its content."""
    place = Path(tempfile.mkdtemp(prefix="fastgd-finished-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    run(name, place / name)
    return place / name, content(place / name)


def content(folder: Path) -> dict[str, Any]:
    """Return all that a reader gets from a folder, in an order that does not depend on its files."""
    results = fastgd.load(folder)
    found: dict[str, Any] = {}
    for kind in KINDS:
        frame = results.table(kind).to_pandas()
        keys = [name for name in ("trial_id", "start", "step", "coordinate") if name in frame]
        frame = frame.drop(columns=PASSING, errors="ignore")
        frame = frame.astype(dict.fromkeys(frame.select_dtypes("category"), str))
        found[kind] = frame.sort_values(keys, ignore_index=True) if keys else frame
    for number, surface in enumerate(results.surfaces):
        found[f"surface {number}"] = pd.DataFrame(surface.loss, surface.x, surface.y)
        found[f"about surface {number}"] = pd.DataFrame({"info": [repr(surface.info)]})
    manifest = results.manifest
    found["manifest"] = pd.DataFrame({"text": [repr((manifest.name, manifest.fingerprints, manifest.study_hash))]})
    found["study"] = pd.DataFrame({"text": [json.dumps(results.study)]})
    if manifest.ended:
        found["best"] = results.best().drop(columns=PASSING, errors="ignore").astype(str)
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """Say in what two folders differ to the bit; empty: in nothing."""
    names = [name for name in expected if name not in found or not _same(found[name], expected[name])]
    return ", ".join([*names, *(name for name in found if name not in expected)])


def _same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    if a.shape != b.shape or list(a.columns) != list(b.columns):
        return False
    lists = [name for name in a if (len(a) and isinstance(a[name].iloc[0], list)) or str(name) == "parameters"]
    if any([x.tobytes() for x in a[name]] != [y.tobytes() for y in b[name]] for name in lists):
        return False
    return bool(a.drop(columns=lists).equals(b.drop(columns=lists)))


def problems(folder: Path, name: str, expected: dict[str, Any]) -> str:
    """Say what is wrong with a folder in which a study has been run to its end; empty: nothing."""
    left = [
        path.name
        for path in folder.rglob(".*")
        if re.match(r"\.(\d|manifest|study)", path.name) and not path.is_symlink()
    ]
    if left:
        return f"temporary files stayed: {left}"
    if different := differences(content(folder), expected):
        return f"{different} of the {name} study differ"
    if findings := fastgd.verify(folder).findings:
        return f"fastgd verify found {findings[0]}"
    return ""


def outcome(read: Callable[[], str]) -> str:
    """Return what went wrong when something was read or run: its words, or an error that is no refusal."""
    try:
        return read()
    except fastgd.InputError as error:
        return (
            "Couldn't deserialize is no message" if "cannot write" in str(error) and "deserialize" in str(error) else ""
        )
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def header_bytes(path: Path) -> list[tuple[int, int]]:
    """Return where the page headers of a sealed file stand, and their lengths."""
    from fastgd.store.disk.seal import read_tail

    with path.open("rb") as file:
        return [tuple(position) for position in read_tail(file).positions.tolist()]


def footer_size(path: Path) -> int:
    return int(pq.read_metadata(path).serialized_size)
