"""Files on their way: written under a temporary name, and published whole under their own.

On a disk the temporary name is hidden, in the file's folder: publishing is fsync, rename, fsync of the folder. A store
of objects has no rename, and shows an object when all of it has been sent: there the file grows on a disk of this
machine, among the temporary ones, and publishing uploads it. What is to stay before it is published, as rows that a
snapshot goes on from, takes a hidden name in either.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from fastgd.common.remote import RemotePath


class NewFile(Protocol):
    """A file that is being written.

    Attributes
    ----------
    stream : BinaryIO
        What it is written to, and read back.
    """

    stream: BinaryIO

    def complete(self) -> None:
        """Close the stream: nothing more comes."""

    def keep(self, hidden: Path) -> None:
        """Make a complete file durable under a hidden name, from which it may be published, or never be."""

    def publish(self) -> None:
        """Make a complete file durable under its own name, in place of an older one."""

    def discard(self) -> None:
        """Delete a file that was not published."""


def new_file(target: Path) -> NewFile:
    """Begin a file."""
    return NewObject(cast(RemotePath, target)) if isinstance(target, RemotePath) else NewLocalFile(target)


def temporary(target: Path) -> Path:
    """Return the name under which a file is written: hidden, so that every reader of Parquet folders skips it."""
    return target.with_name("." + target.name)


def create(path: Path) -> BinaryIO:
    """Create a file in place of one that a killed process may have left there; a link is replaced, not followed."""
    path.unlink(missing_ok=True)
    return path.open("x+b")


class NewLocalFile:
    """A file on a disk, under its temporary name until it is published."""

    def __init__(self, target: Path) -> None:
        self._target, self._place = target, temporary(target)
        self.stream = create(self._place)

    def complete(self) -> None:
        """Close the stream durably."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()

    def keep(self, hidden: Path) -> None:
        """Give the file a hidden name, if it is not the one that it has."""
        if hidden != self._place:
            self._place.rename(hidden)
            fsync_folder(hidden.parent)
            self._place = hidden

    def publish(self) -> None:
        """Give the file its own name."""
        os.replace(self._place, self._target)
        fsync_folder(self._target.parent)

    def discard(self) -> None:
        """Delete the file."""
        self._place.unlink(missing_ok=True)


class NewObject:
    """An object of a store, in a file of this machine until it is published."""

    def __init__(self, target: RemotePath) -> None:
        self._target = target
        self._kept: RemotePath | None = None
        handle, name = tempfile.mkstemp(prefix="fastgd-", suffix=target.suffix)
        self._spool = Path(name)
        self._delete = weakref.finalize(self, self._spool.unlink, missing_ok=True)
        self.stream: BinaryIO = os.fdopen(handle, "w+b")

    def complete(self) -> None:
        """Close the stream."""
        self.stream.close()

    def keep(self, hidden: Path) -> None:
        """Upload the file under a hidden name."""
        self._kept = cast(RemotePath, hidden)
        self._kept.upload(self._spool)
        self._delete()

    def publish(self) -> None:
        """Upload the file, or copy what was uploaded under its hidden name."""
        if self._kept is not None:
            self._kept.rename(self._target)
        else:
            self._target.upload(self._spool)
            self._delete()

    def discard(self) -> None:
        """Delete the file, and leave what was uploaded."""
        self._delete()


@contextmanager
def on_this_machine(target: Path) -> Iterator[Path]:
    """Give the path for a library that writes to paths: the file's own, or one whose file is uploaded afterwards."""
    if not isinstance(target, RemotePath):
        yield target
        return
    with tempfile.TemporaryDirectory(prefix="fastgd-") as folder:
        file = Path(folder, target.name)
        yield file
        target.upload(file)


def give_second_name(file: Path, target: Path) -> None:
    """Give a file a second name, or make a copy where the file system has no links, or the store none."""
    if isinstance(file, RemotePath):
        file.copy_to(cast(RemotePath, target))
        return
    try:
        os.link(file, target, follow_symlinks=False)
    except (OSError, NotImplementedError):  # the latter: the platform cannot link to a link itself
        shutil.copy2(file, target, follow_symlinks=False)
        with target.open("rb") as copy:
            os.fsync(copy.fileno())
    fsync_folder(target.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and deletions in a folder durable; those in an object store are."""
    if os.name == "posix" and not isinstance(folder, RemotePath):  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
