"""Results folders whose own records are wrong: manifests, study files, footers, what a search left."""

import contextlib
import copy
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tomli_w

import fastgd
from campaign.attack import STALL, Attack, Found
from campaign.kept import fault, keep
from campaign.malformed_studies import WEIRD, _at, _damage, _places
from fastgd.cli import pictures, runs
from fastgd.search.found_rates import FoundRates
from fastgd.store.disk.seal import seal

STUDY: dict[str, Any] = {
    "name": "small",
    "epochs": 2,
    "problem": {"name": "it costs $5", "loss": "logistic", "synthetic": {"n": 80, "d": 2}},
    "optimizer": [{"name": "sgd", "lr": [0.1, 0.2, 0.3]}],
    "schedule": [{"name": "constant"}, {"name": "cosine"}],
}
FILES = ("manifest.json", "study.toml", "tune.json", "trials")


def results(folder: Path) -> None:
    """Leave results of a small study, and of a search, in a folder; and the study beside."""
    fastgd.run(fastgd.Study(**STUDY), folder / "whole", progress=False)
    with contextlib.redirect_stdout(io.StringIO()):
        fastgd.tune(fastgd.Study(**STUDY | {"schedule": [{"name": "constant"}]}), folder / "tune", points=3, factor=3.0)
    shutil.copy(folder / "tune" / "tune.json", folder / "whole")
    (folder / "small.toml").write_text(tomli_w.dumps(STUDY))


def _changed(found: Any, random: np.random.Generator) -> Any:
    """Change some places of a tree of tables and lists."""
    for _ in range(random.integers(1, 4)):
        places = list(_places(found))
        path = places[random.integers(len(places))] if places else ()
        if not path or random.random() < 0.05:
            return _odd(random)
        around = _at(found, path[:-1])
        if random.random() < 0.2:
            del around[path[-1]]
        elif random.random() < 0.1:
            around[path[-1]] = copy.deepcopy(_at(found, places[random.integers(len(places))]))
        else:
            around[path[-1]] = _odd(random)
    return found


def _odd(random: np.random.Generator) -> Any:
    while True:  # dates are no JSON
        value = copy.deepcopy([*WEIRD, None, {}, []][random.integers(len(WEIRD) + 3)])
        try:
            json.dumps(value)
        except TypeError:
            continue
        return value


def _toml(found: Any) -> str:
    try:
        return tomli_w.dumps(found)
    except (TypeError, ValueError, AttributeError):  # null, and what is no table
        return "optimizer = {}\n"


def damage(folder: Path, name: str, random: np.random.Generator) -> Path:
    """Damage one of the records of a results folder, and return which."""
    if name == "trials":
        path = next((folder / "trials").glob("*.parquet"))
        table = pq.read_table(path)
        metadata = dict(table.schema.metadata)
        key = [b"fastgd.curves", b"fastgd.parameters", b"fastgd.trajectories", b"fastgd.schema"][random.integers(4)]
        metadata[key] = json.dumps(_odd(random)).encode() if random.random() < 0.7 else random.bytes(9)
        if random.random() < 0.3:  # a column of another type
            place = int(random.integers(table.num_columns))
            table = table.set_column(place, table.schema.names[place], table.column(place).cast("string"))
        pq.write_table(table.replace_schema_metadata(metadata), path)
        with path.open("r+b") as file:
            seal(file)
        return path
    unseal(folder / "manifest.json")
    unseal(folder / "tune.json")
    path = folder / name
    text = path.read_text()
    if random.random() < 0.25:
        path.write_bytes(_damage(text.encode(), random))
    elif name.endswith(".json"):
        made = json.dumps(_changed(json.loads(text), random))
        path.write_text(made.replace('"@nested 1000"', "[" * 1000 + "]" * 1000))
    else:
        import tomllib

        path.write_text(_toml(_changed(tomllib.loads(text), random)))
        unseal(folder / "manifest.json", study_hash=hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def unseal(path: Path, **changes: Any) -> None:
    """Take its checksum from a file, as in those of earlier versions: what it says is then taken as it stands."""
    content = json.loads(path.read_text()) | changes
    content.pop("checksum", None)
    path.write_text(json.dumps(content))


def _draw(folder: Path, kind: str) -> None:
    if kind == "tune":
        FoundRates.load(folder)
    pictures.plot(folder, kind, folder / "picture.svg", [])


def _best(folder: Path) -> None:
    from fastgd.cli.answers import rankings

    options = dict.fromkeys(("by", "each", "over", "target", "gap", "fraction", "unit"))
    rankings.best(folder, options | {"at": "final", "where": ()}, None, "text")
    rankings.summary(fastgd.load(folder))


def _verify(folder: Path, repair: bool) -> None:
    from fastgd.cli import verifications

    verifications.command(folder, repair, as_json=False)


def _resume(folder: Path) -> None:
    runs.dry_run(folder.parent / "small.toml", [], folder, runs.Options())


USES: dict[str, Callable[[Path], None]] = {
    "best": _best,
    "curves": lambda folder: _draw(folder, "curves"),
    "schedule": lambda folder: _draw(folder, "schedule"),
    "tune": lambda folder: _draw(folder, "tune"),
    "resume": _resume,
    "verify": lambda folder: _verify(folder, repair=False),
    "repair": lambda folder: _verify(folder, repair=True),
}
OF_FILE = {"tune.json": ("tune",), "study.toml": ("curves", "schedule", "resume", "verify")}
OF_OTHERS = ("best", "curves", "resume", "verify", "repair")


def use(folder: Path, name: str) -> None:
    """Use a folder in some way, and look at what is printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        USES[name](folder)
    if bad := [letter for letter in out.getvalue() if not (letter.isprintable() or letter == "\n")]:
        raise AssertionError(f"prints {bad[0]!r}")


def make(random: np.random.Generator, tries: int, folder: Path) -> Found:
    failures = []
    results(folder)
    for name in USES:  # the first of each takes its time
        use(folder / "whole", name)
    for _ in range(tries):
        copied = folder / "copy"
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(folder / "whole", copied)
        name = FILES[random.integers(len(FILES))]
        path = damage(copied, name, random)
        way = OF_FILE.get(name, OF_OTHERS)
        chosen = way[random.integers(len(way))]
        if found := fault(partial(use, copied, chosen)):
            kept = keep(path.read_bytes(), "manifests", ".trials.parquet" if name == "trials" else f".{name}")
            failures.append(f"{found}: {chosen} with {kept}")
    return Found(tries, failures)


ATTACK = Attack(
    name="manifests",
    promise=f"read, drawn and resumed, or refused with one message that names the file, within {STALL:.0f} s",
    test="tests/test_malformed_manifests.py",
    make=make,
    tries=1_000,
    few=20,
    beyond="rows that are wrong: checksums find them",
)
