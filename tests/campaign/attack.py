"""What an attack is, and what comes of it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastgd

PACKAGE = Path(fastgd.__file__).parent.parent
STALL = 5.0  # seconds that nothing may take without a word


class Found(NamedTuple):
    """What an attack found: how often it was tried, and what of it broke the promise, each with how to see it again."""

    tries: int
    failures: list[str]


class Attack(NamedTuple):
    """One kind of attack.

    name: of the table's row; promise: what holds whatever comes; test: the file with the tests that hold it;
    make: makes so many tries, drawn by the generator, with files in the folder; tries, few: how many a campaign and
    the tests make; beyond: what the promise does not cover, if there is something to say.
    """

    name: str
    promise: str
    test: str
    make: Callable[[np.random.Generator, int, Path], Found]
    tries: int
    few: int
    beyond: str = ""


def python(*arguments: str, cwd: Path, timeout: float = 120.0, **environment: str) -> subprocess.CompletedProcess:
    """Run Python with this fastgd in a process of its own, with another working folder."""
    path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
