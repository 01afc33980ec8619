"""What the system gives this process: folders, locks between processes, processors and memory."""

import errno
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

from fastgd._errors import InputError

ROOT = Path("/")
WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}  # what such a file system says
UNKNOWN_MEMORY = 16 << 30  # bytes, where the platform does not tell


# --- folders ----------------------------------------------------------------------------------------------------------


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with "~" replaced by the home folder.

    Raises
    ------
    InputError
        There is none: HOME is not set, or the system does not know the user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        name = Path(path).parts[0]
        why = "HOME is not set" if name == "~" else f"there is no user {name[1:]!r}"
        raise InputError(f'{path}: "{name}" stands for no folder: {why}; write the folder out') from None


def temporary_folder() -> Path:
    """Return the path of a folder of this user's own among the temporary ones; OSError where there are none."""
    return Path(tempfile.gettempdir()) / f"fastgd-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


# --- locks ------------------------------------------------------------------------------------------------------------


def knows_locks(folder: Path) -> bool:
    """Whether files of a folder can be locked: some network file systems cannot."""
    try:
        import fcntl
    except ImportError:  # Windows, which locks in another way
        return True
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in WITHOUT_LOCKS
    return True


def lock_of(path: Path) -> BaseFileLock:
    """Return the lock between processes that a file stands for; it is not taken yet.

    Where files cannot be locked, a second file stands for the lock as long as it exists.
    """
    return FileLock(path) if knows_locks(path.parent) else SoftFileLock(path.with_name(f"{path.name}.held"))


# --- processors and memory --------------------------------------------------------------------------------------------


def processors(root: Path = ROOT) -> int:
    """Return how many processors this process may use: by its affinity, and by the quotas of its control groups.

    A quota of one processor and a half is two: a thread more waits, one less leaves a part of the quota unused.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota / period for quota, period in _cpu_quotas(root) if quota > 0 and period > 0]
    return max(1, min([count, *(math.ceil(quota) for quota in quotas)]))


def memory(root: Path = ROOT) -> int:
    """Return how many bytes this process may use: the machine's, or a limit of its control groups or its own."""
    return min([_physical_memory(), *_memory_limits(root), *_own_limits()])


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MEMORY


def _own_limits() -> Iterator[int]:
    """The limits of the process's address space and of its data; none is infinite."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    yield from (limit for limit in limits if limit != resource.RLIM_INFINITY)


def _cpu_quotas(root: Path) -> Iterator[tuple[int, int]]:
    """The microseconds that may be computed, and of which period; without a limit -1, or nothing."""
    for folder in _groups(root, "cpu"):
        quota, *period = _numbers(folder / "cpu.max") or _numbers(folder / "cpu.cfs_quota_us") or [-1]
        yield quota, (period or _numbers(folder / "cpu.cfs_period_us") or [100_000])[0]


def _memory_limits(root: Path) -> Iterator[int]:
    for folder in _groups(root, "memory"):
        yield from _numbers(folder / "memory.max") or _numbers(folder / "memory.limit_in_bytes")


def _numbers(file: Path) -> list[int]:
    """The numbers of a control group's file; none where it is not there, or says "max"."""
    try:
        return [int(word) for word in file.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, with all that lie around them.

    Of version 2 all controllers share one tree; of version 1 each has its own. A container sees a part of the tree,
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
    """Controllers (version 2: "") and the path of this process in their tree: lines like `4:cpu,cpuacct:/a/b`."""
    for line in _lines(root / "proc/self/cgroup"):
        fields = line.split(":", 2)
        if len(fields) == 3:  # a sandbox may write lines of another form
            yield from ((kind, fields[2]) for kind in fields[1].split(","))


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, str, Path]]:
    """The trees of a controller: it (version 2: ""), which part of the tree is mounted, and where.

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
