"""Studies that are wrong somewhere: good ones whose keys, values or letters were changed at random."""

import copy
import datetime as dt
import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

import fastgd
from campaign.attack import STALL, Attack, Found, python
from campaign.kept import fault, keep

MANY_VALUES = 5_000_000  # of synthetic rows: to make them takes as long as it takes
BY_PROCESS = 500  # one in so many is given to the command line, in a process of its own
SYNTHETIC = {"loss": "logistic", "synthetic": {"n": 60, "d": 3, "noise": 0.1, "seed": 1}}
GOOD: tuple[dict[str, Any], ...] = (
    {
        "name": "dense",
        "epochs": 3,
        "seed": [0, 1],
        "batch_size": [8, "full"],
        "dtype": "float64",
        "order": "shuffle",
        "init": {"normal": 0.1},
        "max_seconds": 60.0,
        "problem": [{**SYNTHETIC, "name": "a", "l2": [0, 0.1], "validation": 0.2, "intercept": True, "split_seed": 1}],
        "optimizer": [
            {"name": "adam", "lr": {"log": [1e-3, 1e-1], "num": 4}, "beta1": [0.5, 0.9], "clip": {"norm": [0.1, 1.0]}},
            {"name": "momentum", "lr": 0.1, "momentum": {"linear": [0.5, 0.9], "num": 3}, "estimator": ["none"]},
            {"name": "random_search", "low": -1.0, "high": 1.0},
        ],
        "schedule": [
            {"name": "cosine", "final": [0.0, 0.1]},
            {"name": "constant", "length": 1, "then": {"name": "exponential", "gamma": 0.9}},
            {"name": "multistep", "milestones": [1, 2], "factor": 0.5},
        ],
        "stop": {"target": 0.1, "diverge": 100.0, "patience": 2},
        "record": {"every": "epoch", "metrics": ["accuracy", "grad_norm"], "parameters": "best", "rows": 20},
        "surface": {"parameters": [0, 1], "low": -1.0, "high": [1.0, 2.0], "num": [5, 6], "at": "zeros"},
    },
    {
        "name": "sparse",
        "steps": 20,
        "batch_size": 4,
        "dtype": "float32",
        "problem": {"loss": "squared", "synthetic": {"n": 50, "d": 30, "nonzeros": 3, "task": "regression"}},
        "optimizer": {"name": "sgd", "lr": [0.1, 0.2], "averaging": {"kind": "ema", "decay": 0.9}},
        "schedule": {
            "name": "one_cycle",
            "also": {"name": "linear", "of": "averaging.decay", "start": 0.5, "final": 0.9},
        },
        "record": {"every": {"log": 5}},
    },
    {
        "name": "search",
        "epochs": 2,
        "batch_size": "full",
        "init": {"point": [0.0, 1.0, 2.0]},
        "problem": {**SYNTHETIC, "standardize": True, "positive": 1, "layout": "auto"},
        "optimizer": {"name": "sgd", "lr": 1.0, "line_search": {"kind": "best", "rates": [[0.1, 1.0], [0.5, 0.6]]}},
    },
    {
        "name": "valley",
        "steps": 20,
        "seed": [0, 1],
        "problem": [
            {"landscape": "rosenbrock", "dimension": 2, "noise": 0.1, "tolerance": 1e-3, "domain": [-2.0, 2.0]},
            {"name": "other", "landscape": "himmelblau", "noise": 0.0},
        ],
        "optimizer": [{"name": "sgd", "lr": {"log": [1e-4, 1e-2], "num": 3}}, {"name": "grid"}],
        "starts": {"uniform": 10, "low": -1.0, "high": [1.0, 2.0], "seed": 3},
        "record": {"every": {"log": 5}, "trajectories": [0, 1]},
        "surface": {"num": 10},
    },
    {
        "name": "starts",
        "steps": 5,
        "problem": {"landscape": "rastrigin", "dimension": 3},
        "optimizer": {"name": "adam", "lr": 0.01, "proximal": {"l1": 0.1}, "lookahead": {"every": 2, "alpha": 0.5}},
        "starts": {"grid": [2, 3, 2]},
        "schedule": {"name": "cyclic", "up": 2.5, "mode": "triangular2"},
    },
)
NESTED, LONG = "@nested ", "@digits "  # what no writer of TOML writes: replaced in the text
WEIRD: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 99_999, 100_000, 100_001, 10**6, 10**9, 10**12, 2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 10**30),
    *(0.0, -0.0, 1e-320, 1e-308, 0.5, 1.5, 1e12, 1e300, 1.7e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *(True, False, "", " ", "a", "adam", "full", "none", "epoch", "\x1b[31mred\x1b[0m", "\x00", "\n\r\t", "$\\frac{a$"),
    *("\u202egnirts", "[red]x[/red]", "[/]", "é" * 300, "x" * 5_000, "../../etc", "nobody:Nothing", ":", "os:getcwd"),
    *([], {}, [[]], [{}], [1, [2]], [0.1, "a"], [None][:0], {"log": [1, 10], "num": 10**9}, {"a": {"b": {"c": 1}}}),
    *(
        {"log": 10**12},
        {"log": 10**6},
        {"uniform": 10**12},
        {"normal": 1e308},
        {"point": [1e308, 0.0, 1.0]},
        [1] * 2000,
    ),
    *({"linear": [-1e308, 1e308], "num": 5}, {"log": [1e-300, 1e300], "num": 100_000}, {"log": [1e-5, 1], "num": 2}),
    *(dt.date(1979, 5, 27), dt.time(7, 32), dt.datetime(1979, 5, 27, 7, 32), f"{NESTED}30"),
    *(f"{NESTED}300", f"{NESTED}1000", f"{NESTED}20000", f"{LONG}100", f"{LONG}5001", list(range(300)), [0.1, 0.1]),
)
Path_ = tuple[Any, ...]


def _places(tree: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every place in a tree of tables and lists, the tree itself left out."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


def _at(tree: Any, path: Path_) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _change(study: dict[str, Any], random: np.random.Generator) -> None:
    """Change a place of a study: its value, its key, or whether it is there."""
    places = list(_places(study))
    if not places:
        return
    path = places[random.integers(len(places))]
    around, key = _at(study, path[:-1]), path[-1]
    kind = random.integers(10)
    if kind < 5:
        around[key] = copy.deepcopy(WEIRD[random.integers(len(WEIRD))])
    elif kind == 5:
        del around[key]
    elif kind == 6:
        around[key] = copy.deepcopy(_at(study, places[random.integers(len(places))]))
    elif kind == 7 and isinstance(around, dict):
        around[str(WEIRD[random.integers(len(WEIRD))])] = around.pop(key)
    elif kind == 8 and isinstance(around[key], int | float):
        around[key] = around[key] * 10 ** int(random.integers(1, 19))
    else:
        around[key] = [around[key]] * int(random.integers(1, 4))


def _text(study: dict[str, Any]) -> str:
    text = tomli_w.dumps(study)
    for mark, made in ((NESTED, lambda n: "[" * n + "]" * n), (LONG, lambda n: "9" * n)):
        while (start := text.find(f'"{mark}')) >= 0:
            end = text.index('"', start + 1)
            text = text[:start] + made(int(text[start + 1 + len(mark) : end])) + text[end + 1 :]
    return text


def _damage(text: bytes, random: np.random.Generator) -> bytes:
    """Damage the letters of a file."""
    at, length = int(random.integers(len(text) + 1)), int(random.integers(1, 30))
    lines = text.splitlines(keepends=True) or [b""]
    line = lines[random.integers(len(lines))]
    match random.integers(8):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + text[at + length :]
        case 2:
            return text[:at] + random.bytes(length) + text[at:]
        case 3:
            return text[:at] + line + text[at:]
        case 4:
            return text + line * int(random.integers(1, 200))
        case 5:
            return bytes(random.permutation(np.frombuffer(text, np.uint8)))
        case 6:
            signs = b"[]{}=.,#\"'\\\n\x1b\x00\xff"
            return text[:at] + signs[random.integers(len(signs)) :][:1] * int(random.integers(1, 3_000)) + text[at:]
    return random.bytes(int(random.integers(1, 500)))


def study(random: np.random.Generator) -> bytes:
    """Return a study that is wrong somewhere, or still right by chance."""
    made = copy.deepcopy(GOOD[random.integers(len(GOOD))])
    for _ in range(random.integers(1, 4)):
        _change(made, random)
    text = _text(made).encode()
    return _damage(text, random) if random.random() < 0.25 else text


def plan(file: Path) -> None:
    """Read and plan a study as `fastgd run --dry-run` does; one of many rows, which are made first, is read alone."""
    from fastgd.cli import runs

    made = [problem.synthetic for problem in fastgd.Study.from_toml(file, plugins=False).data_problems]
    if any(each and each["n"] * (each["d"] + 30) > MANY_VALUES for each in made):
        return
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        runs.dry_run(file, [], file.parent / "none", runs.Options())
    if bad := [letter for letter in out.getvalue() if not (letter.isprintable() or letter == "\n")]:
        raise AssertionError(f"prints {bad[0]!r}")


def _by_process(file: Path) -> str:
    done = python("-m", "fastgd", "run", str(file), "--dry-run", cwd=file.parent, timeout=60)
    bad = [letter for letter in done.stdout + done.stderr if not (letter.isprintable() or letter == "\n")]
    if done.returncode not in (0, 2) or "Traceback" in done.stderr or bad:
        return f"exit code {done.returncode}, {done.stderr[-200:]!r}"
    return ""


def make(random: np.random.Generator, tries: int, folder: Path) -> Found:
    failures, file = [], folder / "study.toml"
    for number in range(tries):
        content = study(random)
        file.write_bytes(content)
        found = fault(lambda: plan(file))
        if not found and number % BY_PROCESS == BY_PROCESS // 5:
            found = _by_process(file)
        if found:
            failures.append(f"{found}: fastgd run {keep(content, 'studies', '.toml')} --dry-run")
    return Found(tries, failures)


ATTACK = Attack(
    name="malformed studies",
    promise=f"read and planned, or refused with one message, within {STALL:.0f} s",
    test="tests/test_malformed_studies.py",
    make=make,
    tries=5_000,
    few=200,
    beyond="making rows that memory holds; regular expressions of csv.sep that never end; modules of a user's own",
)
