"""How many processors and how much memory the system gives this process."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fastgd.common.errors import InputError

ROOT = Path("/")
UNKNOWN_MEMORY = 16 << 30  # bytes, where the platform does not tell
# Bytes that importing NumPy, SciPy, pandas, Arrow and Numba takes, of address space and of data; and what each of
# their threads takes.
LIBRARIES = {"RLIMIT_AS": 720e6, "RLIMIT_DATA": 280e6}
THREAD = 20_000_000
_budget: int | None = None  # bytes that a run may use, where its user says it
_freed_soon = 0  # bytes that are taken, and will be free when what is planned begins
OF_THE_RUN = "the run's"  # the name of that limit
SET_BY = {"RLIMIT_AS": "ulimit -v", "RLIMIT_DATA": "ulimit -d", OF_THE_RUN: "--memory"}  # limits, by their names
LAST = 5  # added to the niceness: a thread of the usual niceness gets three times as much of a processor


def processors(root: Path = ROOT) -> int:
    """Return how many processors this process may use: by its affinity, and by the quotas of its control groups.

    A quota of 1.5 processors counts as two: one thread would leave a third of the quota unused.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota / period for quota, period in _cpu_quotas(root) if quota > 0 and period > 0]
    return max(1, min([count, *(math.ceil(quota) for quota in quotas)]))


def go_last() -> None:
    """Let other threads run before this one, where they need the processors: on Linux, which counts by thread."""
    if sys.platform == "linux":
        os.nice(LAST)


class MemoryUse(NamedTuple):
    """Bytes of memory that this process uses.

    Attributes
    ----------
    resident, peak : int
        What is in memory, now and at the most.
    addresses, data : int
        The address space, and data in that space.
    own : int
        What is in memory but for the pages of mapped files, which the system takes back where it needs them.
    """

    resident: int
    peak: int
    addresses: int
    data: int
    own: int = 0


class MemoryLimit(NamedTuple):
    """A limit to the memory of this process: its name, bytes, and how many of them are taken."""

    name: str
    most: int
    taken: int

    @property
    def left(self) -> int:
        """The bytes that this process may still take."""
        return max(0, self.most - self.taken)

    @property
    def words(self) -> str:
        """What messages call it: with how it is set, where the user does that."""
        name = f"{self.name} limit" if self.name.endswith("'s") else f"the limit {self.name}"
        return f"{name} ({SET_BY[self.name]})" if self.name in SET_BY else name


def memory_use(root: Path = ROOT) -> MemoryUse:
    """Return how much memory this process has; zeros where the platform does not tell."""
    lines = (line.split() for line in _lines(root / "proc/self/status"))
    sizes = {words[0]: 1024 * int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
    resident, peak, addresses, data = (sizes.get(f"{name}:", 0) for name in ("VmRSS", "VmHWM", "VmSize", "VmData"))
    own = [sizes[f"Rss{kind}:"] for kind in ("Anon", "Shmem") if f"Rss{kind}:" in sizes]
    return MemoryUse(resident, max(resident, peak), addresses, data, sum(own) if own else resident)


def memory_limits(root: Path = ROOT) -> list[MemoryLimit]:
    """Return the limits to this process's memory: the machine's, those of its control groups, its own, and the run's.

    The process's own limits (`ulimit`) count its address space, whether or not anything has been written there. The
    others count no pages of mapped files, which the system takes back.
    """
    use = memory_use(root)
    use = use._replace(**{name: max(0, getattr(use, name) - _freed_soon) for name in ("own", "addresses", "data")})
    groups = (MemoryLimit("its control group's", most, use.own) for most in _memory_limits(root))
    taken = {"RLIMIT_AS": use.addresses, "RLIMIT_DATA": use.data}
    own = (MemoryLimit(name, most, taken[name]) for name, most in _own_limits())
    budget = [MemoryLimit(OF_THE_RUN, _budget, use.own)] if _budget is not None else []
    return [MemoryLimit("the machine's", _physical_memory(), use.own), *groups, *own, *budget]


@contextmanager
def memory_budget(most: int | None) -> Iterator[None]:
    """Limit what this process may use within this block to so many bytes; None: it is limited as it was."""
    global _budget
    before = _budget
    _budget = before if most is None else most
    try:
        yield
    finally:
        _budget = before


@contextmanager
def memory_to_be_freed(size: int) -> Iterator[None]:
    """Count so many bytes within this block as free that will be so when what is planned there begins."""
    global _freed_soon
    before = _freed_soon
    _freed_soon = size
    try:
        yield
    finally:
        _freed_soon = before


def memory(root: Path = ROOT) -> int:
    """Return how many bytes this process may use: the machine's, or a limit of its control groups or its own."""
    return min(limit.most for limit in memory_limits(root))


def make_room() -> None:
    """Make sure that the libraries load where this process's memory is limited (`ulimit`); see `LIBRARIES`.

    Call it before they are imported: without memory, some abort and others hang. Arrow's usual allocator would reserve
    1 GB of address space at once, which then counts against the limit.

    Raises
    ------
    InputError
        The limits leave too little memory for them.
    """
    own = [limit for limit in memory_limits() if limit.name in LIBRARIES]
    if own and "pyarrow" not in sys.modules:
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    missing = {name for name in ("numpy", "scipy", "llvmlite", "pyarrow") if name not in sys.modules}
    for limit in own:
        needed = int(LIBRARIES[limit.name] * len(missing) / 4) + THREAD * (os.cpu_count() or 1)
        if limit.left < needed:
            raise InputError(
                f"the libraries that fastgd uses need {needed / 1e6:,.0f} MB of addresses, and {limit.name} = "
                f"{limit.most / 1e6:,.0f} MB leaves {limit.left / 1e6:,.0f} MB: raise it (see ulimit -v and -d)"
            )


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MEMORY


def _own_limits() -> Iterator[tuple[str, int]]:
    """Yield the limits of the process's address space and of its data, if it has any."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = ((name, resource.getrlimit(getattr(resource, name))[0]) for name in ("RLIMIT_AS", "RLIMIT_DATA"))
    yield from ((name, limit) for name, limit in limits if limit != resource.RLIM_INFINITY)


def _cpu_quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Yield quota and period in microseconds, how long the process may compute in each period; -1 is no quota."""
    for folder in _groups(root, "cpu"):
        quota, *period = _numbers(folder / "cpu.max") or _numbers(folder / "cpu.cfs_quota_us") or [-1]
        yield quota, (period or _numbers(folder / "cpu.cfs_period_us") or [100_000])[0]


def _memory_limits(root: Path) -> Iterator[int]:
    for folder in _groups(root, "memory"):
        yield from _numbers(folder / "memory.max") or _numbers(folder / "memory.limit_in_bytes")


def _numbers(file: Path) -> list[int]:
    """Return the numbers in a control group's file; none where there is no such file, or it says "max"."""
    try:
        return [int(word) for word in file.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, and of the groups around these.

    In version 2 all controllers share one tree; in version 1 each has its own. A container sees a part of the tree,
    mounted as if it were the whole; where its own path is not below the mount's, the mount is its group.
    """
    paths = {kind: path for kind, path in _memberships(root) if kind in ("", controller)}
    for kind, top, mount in _mounts(root, controller):
        if kind not in paths:
            continue
        inner = Path(paths[kind])
        below = inner.relative_to(top) if inner.is_relative_to(top) else Path()
        yield mount / below
        yield from (mount / each for each in below.parents)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """Yield controllers (version 2: "") and this process's path in their tree, from lines `4:cpu,cpuacct:/a/b`."""
    for line in _lines(root / "proc/self/cgroup"):
        fields = line.split(":", 2)
        if len(fields) == 3:  # a sandbox may write lines of another form
            yield from ((kind, fields[2]) for kind in fields[1].split(","))


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, str, Path]]:
    """Yield the mounted trees of a controller: its name (version 2: ""), the part that is mounted, and where.

    A line is `31 23 0:28 /part /mount/point options - cgroup2 source options`.
    """
    for line in _lines(root / "proc/self/mountinfo"):
        about, _, kind = line.partition(" - ")
        fields, words = about.split(), kind.split()
        if len(fields) < 5 or not words:
            continue
        if words[0] == "cgroup2":
            yield "", fields[3], root / fields[4].lstrip("/")
        elif words[0] == "cgroup" and controller in words[-1].split(","):
            yield controller, fields[3], root / fields[4].lstrip("/")
