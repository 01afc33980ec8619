"""Folders of the user, and locks between processes that files in them stand for."""

import errno
import os
import tempfile
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

from fastgd.common.errors import InputError

# The errors of file systems that cannot lock files.
WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


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
