"""Are regressions caught? `python -m benchmarks.planted` plants two into scratch copies, and looks.

A cohort that takes 20 % longer must be found by `benchmarks.compare_revisions`, and a wrong sign in Adam's correction
of the bias by `fastgd compare` with the committed reference. The unchanged copy must pass both.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.compare_revisions import FACTORS, ROOT, Tree, environment, judge, table

SLOWDOWN = 0.2
SLOW = f'''

def _slowed(advance):
    """Make a function take a fifth longer than it does."""
    from time import perf_counter

    def slow(self, steps, *others):
        began = perf_counter()
        advance(self, steps, *others)
        end = began + (1 + {SLOWDOWN}) * (perf_counter() - began)
        while perf_counter() < end:
            pass

    return slow


Cohort.advance = _slowed(Cohort.advance)
'''
COHORT = Path("fastgd", "engine", "rows", "cohort.py")
ADAM = Path("fastgd", "optimizers", "families", "adam.py")
RIGHT = "return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), *rest"
WRONG = "return h.lr / (1 + power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), *rest"
# At the regular size, whose epochs take some 50 ms: shorter ones vary by more than what is planted.
BENCHES = [r"^dense\.DenseGrid\.time_epoch.*'sequential'", r"^networks\.Networks\.time_epoch.*'digits', 'float32'"]
ROUNDS = 5
COPIED = ("fastgd", "benchmarks", "studies", "results/reference", "pyproject.toml")


def copy(scratch: Path, name: str) -> Tree:
    """Copy the program as it stands here, committed or not, and give it an environment."""
    folder = scratch / name
    for each in COPIED:
        source, target = ROOT / each, folder / each
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return Tree(name, folder, environment(folder))


def plant_slowdown(tree: Tree) -> None:
    with (tree.folder / COHORT).open("a", encoding="utf-8") as file:
        file.write(SLOW)


def plant_wrong_sign(tree: Tree) -> None:
    file = tree.folder / ADAM
    text = file.read_text(encoding="utf-8")
    if text.count(RIGHT) != 1:
        raise ValueError(f"{ADAM} does not hold once: {RIGHT}")
    file.write_text(text.replace(RIGHT, WRONG), encoding="utf-8")


def is_slower(base: Tree, new: Tree, scratch: Path) -> bool:
    """Return whether the comparison of revisions says so of any benchmark."""
    findings, worse = judge(base, new, scratch, BENCHES, ROUNDS, "regular", FACTORS)
    print(table(findings), flush=True)
    return bool(worse)


def converges_worse(tree: Tree) -> bool:
    """Return whether `fastgd compare` says so of the dense study, run anew."""
    program = [str(tree.python), "-m", "fastgd"]
    options = {
        "cwd": tree.folder,
        "env": os.environ | {"FASTGD_CACHE_DIR": str(tree.folder / ".cache"), "PYTHONPATH": ""},
    }
    command = [*program, "run", "studies/reference/dense.toml", "--out", "new"]
    subprocess.run(command, check=True, capture_output=True, **options)  # type: ignore[call-overload]
    done = subprocess.run(
        [*program, "compare", "results/reference/dense", "new"], capture_output=True, text=True, check=False, **options
    )  # type: ignore[call-overload]
    print(done.stdout, done.stderr, flush=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"fastgd compare ended with {done.returncode}")
    return bool(done.returncode)


def main() -> int:
    with TemporaryDirectory(prefix="fastgd-planted-") as name:
        scratch = Path(name)
        unchanged, again, slow, wrong = (copy(scratch, each) for each in ("unchanged", "again", "slow", "wrong"))
        plant_slowdown(slow)
        plant_wrong_sign(wrong)
        found = {
            f"a slowdown of {SLOWDOWN:.0%} is caught": is_slower(unchanged, slow, scratch),
            "the same program is not called slower": not is_slower(unchanged, again, scratch),
            "a wrong sign in the correction of Adam's bias is caught": converges_worse(wrong),
            "the same program converges as the reference": not converges_worse(unchanged),
        }
    for what, holds in found.items():
        print(f"{'yes' if holds else 'NO '}  {what}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
