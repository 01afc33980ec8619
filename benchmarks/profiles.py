"""How large the benchmarks are: `FASTGD_BENCH` is `quick`, `regular` (the default) or `full`.

`quick` shows that they run, in minutes; `regular` is for every commit, and `full` is of the size of real studies. The
size that a profile changes is a parameter of the benchmark, so that results of several profiles stand side by side and
are never compared with each other.
"""

import os
from typing import TypeVar

T = TypeVar("T")
PROFILES = ("quick", "regular", "full")
OLD_NAMES = {"small": "quick"}
_asked = os.environ.get("FASTGD_BENCH", "regular")
PROFILE = OLD_NAMES.get(_asked, _asked)
if PROFILE not in PROFILES:
    raise ValueError(f"FASTGD_BENCH is {_asked!r}; valid: {', '.join(PROFILES)}")


def sized(quick: T, regular: T, full: T) -> T:
    """Return the one of three sizes that the profile asks for."""
    return {"quick": quick, "regular": regular, "full": full}[PROFILE]
