"""Is a revision slower, or does it converge otherwise? `python -m benchmarks.compare_revisions BASE [NEW]`.

asv compares no revisions in an environment that exists, and its ratios of two runs one after the other move with all
else that a machine does. Here each revision has a checkout, an environment and a kernel cache of its own in a scratch
folder; asv runs the new revision's benchmarks in both, in rounds that alternate, and stores its results there. What is
compared is the median over the rounds. What looks worse is measured again, alone and in as many rounds: only what is
worse both times counts.

A factor is right if comparing a revision with itself (`--calibrate`) says "worse" of less than 2 % of the benchmarks.
Benchmarks without a time, such as those of convergence, are the same in every round, and any change counts.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
# Fixed work of each engine and stage: what takes minutes in all, and next to nothing to compile.
SELECTED = [
    r"^dense\.DenseGrid\.(time_epoch|peakmem_epoch)",
    r"^dense\.DenseSingle\.time_epoch",
    r"^sparse\.SparseAdam\.time_",
    r"^networks\.Networks\.time_epoch",
    r"^landscapes\.SwarmSteps\.time_steps",
    r"^losses\.Losses\.time_epoch.*'(logistic|hinge)'",
    r"^methods\..*\.time_epoch",
    r"^rules\.SmallArray\.time_steps.*'(sgd|adam|lamb)'",
    r"^studies\.(Plan|Imports)\.time_",
    r"^convergence\.",
]
# How many times as much counts as worse: of times and their ratios, and of memory. See `--calibrate`, and
# docs/regressions.md for what it found.
FACTORS = {"time": 1.15, "memory": 1.10, "count": 1 + 1e-6}
FALSE_ALARMS = 0.02
# Few samples a round, since rounds are what averages: what else the machine does lasts longer than a round.
ATTRIBUTES = ["-a", "rounds=1", "-a", "repeat=(1, 5, 3.0)", "-a", "warmup_time=0.05"]
UNITS = {"seconds": "time", "bytes": "memory"}

Values = dict[tuple[str, str], float]


class Tree(NamedTuple):
    """A version of the program to measure: its name, its files, and the Python that imports them."""

    name: str
    folder: Path
    python: Path


@dataclass
class Finding:
    """One benchmark, with the medians of both; `ratio` above 1 is worse."""

    benchmark: str
    parameters: str
    kind: str
    base: float
    new: float

    @property
    def ratio(self) -> float:
        """Return how many times as much the new one costs; of zero, nothing counts as the same and more as infinite."""
        if self.base == self.new or (math.isnan(self.base) and math.isnan(self.new)):
            return 1.0
        if math.isnan(self.new) or self.base == 0:
            return math.inf
        return 0.0 if math.isnan(self.base) else self.new / self.base

    def is_worse(self, factors: Mapping[str, float]) -> bool:
        return self.ratio > factors[self.kind]


def checkout(revision: str, scratch: Path, name: str) -> Path:
    """Write the files of a revision into a folder of its own."""
    folder = scratch / name
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def environment(folder: Path, isolated: bool = False) -> Path:
    """Return the Python of a new environment that imports the package from a folder.

    Its dependencies are those of this interpreter's environment, unless the folder's package asks for others, or
    `isolated`: then all of them are installed.
    """
    where = folder / ".venv"
    own = isolated or requirements(folder) != requirements(ROOT)
    subprocess.run([sys.executable, "-m", "venv", *([] if own else ["--without-pip"]), str(where)], check=True)
    python = where / "bin" / "python"
    if own:
        command = [str(python), "-m", "pip", "install", "--quiet", "--editable", str(folder), "asv>=0.6.4"]
        subprocess.run(command, check=True)
        return python
    packages = where / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # The folder stands first: an editable installation in the shared packages does not count.
    lines = [str(folder), sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    (packages / "revision.pth").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    return python


def requirements(folder: Path) -> list[str]:
    """Return what the package in a folder depends on."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], project["requires-python"]]


def measure_once(
    tree: Tree, benchmarks: Path, scratch: Path, selected: Sequence[str], profile: str
) -> tuple[Values, dict[str, str]]:
    """Run benchmarks in a tree's environment by asv; return their values, and of which kind each is."""
    with TemporaryDirectory(dir=scratch) as folder:
        config = {
            "version": 1,
            "project": "fastgd",
            "repo": str(ROOT),
            "branches": ["HEAD"],
            "environment_type": "existing",
            "benchmark_dir": str(benchmarks),
            "env_dir": f"{folder}/env",
            "results_dir": f"{folder}/results",
            "html_dir": f"{folder}/html",
        }
        file = Path(folder) / "asv.conf.json"
        file.write_text(json.dumps(config))
        asv = [sys.executable, "-m", "asv"]
        named = [word for each in selected for word in ("--bench", each)]
        command = [*asv, "run", "--config", str(file), f"--environment=existing:{tree.python}", *named, *ATTRIBUTES]
        environment = os.environ | {"FASTGD_BENCH": profile, "FASTGD_CACHE_DIR": str(tree.folder / ".cache")}
        environment.pop("PYTHONPATH", None)
        subprocess.run([*asv, "machine", "--yes", "--config", str(file)], check=True, capture_output=True, cwd=folder)
        done = subprocess.run(
            [*command, "--set-commit-hash", "HEAD"],
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
            check=False,
        )
        # asv exits with 2 where a benchmark failed, which one of two revisions may not have.
        if done.returncode not in (0, 2):
            raise RuntimeError(f"asv failed with {tree.name}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        values, kinds = read_results(Path(folder) / "results")
        if not values:
            raise RuntimeError(f"asv measured nothing of {tree.name}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return values, kinds


def read_results(folder: Path) -> tuple[Values, dict[str, str]]:
    """Return the values that asv stored, by the benchmark and its parameters, and the kind of each benchmark."""
    from asv.results import Results

    described = json.loads((folder / "benchmarks.json").read_text(encoding="utf-8"))
    kinds = {name: UNITS.get(about["unit"], "count") for name, about in described.items() if isinstance(about, dict)}
    kinds |= {
        name: "time"
        for name, about in described.items()
        if isinstance(about, dict) and about["unit"].startswith("times")
    }
    values: Values = {}
    for path in folder.glob("*/*.json"):
        if path.name == "machine.json":
            continue
        results = Results.load(str(path))
        for name in results.get_all_result_keys():
            parameters = results.get_result_params(name)
            found = results.get_result_value(name, parameters)
            for combination, value in zip(combinations(parameters), found, strict=True):
                if value is not None:
                    values[name, ", ".join(combination)] = float(value)
    return values, kinds


def combinations(parameters: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the combinations of parameters, in the order of asv's values."""
    from itertools import product

    return list(product(*parameters))


def alternate(
    base: Tree, new: Tree, scratch: Path, selected: Sequence[str], rounds: int, profile: str
) -> list[Finding]:
    """Measure both in rounds, of which every second one begins with the new tree; compare the medians."""
    found: dict[str, list[Values]] = {"base": [], "new": []}
    kinds: dict[str, str] = {}
    benchmarks = new.folder / "benchmarks"
    for number in range(rounds):
        turns = [("base", base), ("new", new)]
        for which, tree in turns if number % 2 == 0 else turns[::-1]:
            values, of = measure_once(tree, benchmarks, scratch, selected, profile)
            found[which].append(values)
            kinds |= of
            print(f"round {number + 1} of {rounds}, {tree.name}: {len(values)} values", file=sys.stderr, flush=True)
    return compared(found["base"], found["new"], kinds)


def compared(base: Sequence[Values], new: Sequence[Values], kinds: Mapping[str, str]) -> list[Finding]:
    """Return the medians over the rounds of what both have measured; NaN where a round has none.

    What has none in both is left out: parameters that were not selected are NaN to asv, as is a target that neither
    reached.
    """
    found = []
    for key in sorted(set().union(*base) & set().union(*new)):
        medians = [float(np.median([each[key] for each in rounds if key in each])) for rounds in (base, new)]
        if not all(map(math.isnan, medians)):
            found.append(Finding(*key, kinds[key[0]], *medians))
    return found


def judge(
    base: Tree,
    new: Tree,
    scratch: Path,
    selected: Sequence[str],
    rounds: int,
    profile: str,
    factors: Mapping[str, float],
) -> tuple[list[Finding], list[Finding]]:
    """Return all findings, and those that are worse twice."""
    first = alternate(base, new, scratch, selected, rounds, profile)
    suspects = [each for each in first if each.is_worse(factors)]
    if not suspects:
        return first, []
    again = alternate(base, new, scratch, [pattern(each) for each in suspects], rounds, profile)
    worse = {(each.benchmark, each.parameters) for each in again if each.is_worse(factors)}
    return first, [each for each in suspects if (each.benchmark, each.parameters) in worse]


def pattern(finding: Finding) -> str:
    """Return the regular expression of one benchmark with its parameters."""
    import re

    name = re.escape(finding.benchmark)
    return f"^{name}" + (rf"\({re.escape(finding.parameters)}\)$" if finding.parameters else "$")


def table(findings: Iterable[Finding]) -> str:
    """Return findings as lines, the worst first."""
    ordered = sorted(findings, key=lambda each: -each.ratio)
    rows = [
        f"{each.ratio:8.3f}  {each.base:11.4g} {each.new:11.4g}  {each.benchmark}({each.parameters})"
        for each in ordered
    ]
    return "\n".join(["   ratio         base         new", *rows])


def false_alarms(findings: Sequence[Finding]) -> str:
    """Return, of one revision compared with itself, how many would be alarms at some factors, either way round."""
    lines = []
    for kind in sorted({each.kind for each in findings}):
        ratios = [each.ratio for each in findings if each.kind == kind and each.ratio > 0]
        ratios = sorted([max(ratio, 1 / ratio) for ratio in ratios])
        lines.append(
            f"{kind}: {len(ratios)} benchmarks; the largest factors: {', '.join(f'{r:.3f}' for r in ratios[-5:])}"
        )
        for factor in (1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5):
            # A ratio and its inverse are as likely here, so half of them would be alarms.
            share = sum(ratio > factor for ratio in ratios) / (2 * len(ratios))
            lines.append(
                f"  factor {factor:.2f}: {share:6.2%} false alarms; {share * share:.2%} if they come twice by chance"
            )
        allowed = int(2 * FALSE_ALARMS * len(ratios))
        lines.append(f"  least factor with at most {FALSE_ALARMS:.0%} in one pass: {ratios[-1 - allowed]:.3f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a revision, as git names it")
    parser.add_argument("new", nargs="?", default="HEAD", help="another one; by default HEAD")
    parser.add_argument("--bench", action="append", help="regular expressions of benchmarks; by default a selection")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", default="quick", help="quick, regular or full")
    parser.add_argument(
        "--factor", type=float, default=FACTORS["time"], help="of times: how many times as long is worse"
    )
    parser.add_argument("--isolated", action="store_true", help="install all dependencies of both revisions anew")
    parser.add_argument("--calibrate", action="store_true", help="compare BASE with itself, and show the false alarms")
    parser.add_argument("--scratch", type=Path, help="where checkouts and environments are made; kept afterwards")
    given = parser.parse_args(arguments)
    revisions = [given.base, given.base if given.calibrate else given.new]
    factors = {**FACTORS, "time": given.factor}
    with TemporaryDirectory(prefix="fastgd-compare-") as temporary:
        scratch = given.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        trees = []
        for which, revision in zip(("base", "new"), revisions, strict=True):
            folder = checkout(revision, scratch, which)
            trees.append(Tree(f"{which} ({revision})", folder, environment(folder, given.isolated)))
        asked = given.bench or SELECTED
        if given.calibrate:
            findings = alternate(*trees, scratch, asked, given.rounds, given.profile)
            print(table(findings), false_alarms(findings), sep="\n\n")
            return 0
        findings, worse = judge(*trees, scratch, asked, given.rounds, given.profile, factors)
    print(table(findings))
    if worse:
        print(f"\nworse in both passes (times by more than {given.factor}):", table(worse), sep="\n")
    else:
        print(f"\nnothing is worse (times by more than {given.factor}), of {len(findings)} values")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
