"""Folders of the user, those of caches among them, and locks between processes that files in them stand for."""

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

from fastgd.common.errors import InputError
from fastgd.common.remote import parsed

# The errors of file systems that cannot lock files.
WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with "~" replaced by the home folder; a URL, such as s3://bucket/x, is a path in an object store.

    Raises
    ------
    InputError
        There is none: HOME is not set, or the system does not know the user.
    """
    if (remote := parsed(os.fspath(path))) is not None:
        return remote
    try:
        return Path(path).expanduser()
    except RuntimeError:
        name = Path(path).parts[0]
        why = "HOME is not set" if name == "~" else f"there is no user {name[1:]!r}"
        raise InputError(f'{path}: "{name}" stands for no folder: {why}; write the folder out') from None


def temporary_folder() -> Path:
    """Return the path of a folder of this user's own among the temporary ones; OSError where there are none."""
    return Path(tempfile.gettempdir()) / f"fastgd-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def cache_folder(name: str) -> Path | None:
    """Return a folder of this name among the caches, where only this user may write; None: there is no such place."""
    for candidate in _candidates():
        # no home folder, no temporary one, no right to write there: each is a reason to try the next
        with suppress(OSError, InputError):
            folder = private(candidate().absolute() / name)
            if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                return folder
    return None


def _candidates() -> Iterator[Callable[[], Path]]:
    if chosen := os.environ.get("FASTGD_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR"):
        yield lambda: expanded(chosen)
    elif sys.platform == "win32":
        yield lambda: expanded(os.environ.get("LOCALAPPDATA", "~")) / "fastgd"
    elif sys.platform == "darwin":
        yield lambda: expanded("~/Library/Caches/fastgd")
    else:
        yield lambda: expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fastgd"
    yield lambda: private(temporary_folder())


def private(folder: Path) -> Path:
    """Return a folder, made if need be, that nobody but its owner can write to: this user, or the system's.

    Raises
    ------
    OSError
        It cannot be made, is a link, or belongs to somebody else, others may write there, or may put another in its
        place.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "geteuid"):  # elsewhere a user's folders are that user's alone
        found, around = folder.lstat(), folder.parent.stat()
        if not stat.S_ISDIR(found.st_mode) or not _is_ours(found) or not (_is_ours(around) or _is_sticky(around)):
            raise PermissionError(f"{folder} is not this user's alone")
    return folder


def _is_ours(folder: os.stat_result) -> bool:
    return folder.st_uid in (os.geteuid(), 0) and not folder.st_mode & 0o022


def _is_sticky(folder: os.stat_result) -> bool:
    """Whether it is as the temporary folder is: everybody makes folders there, and moves none but their own."""
    return folder.st_uid in (os.geteuid(), 0) and bool(folder.st_mode & stat.S_ISVTX)


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
