"""A results folder open for writing: created or extended under a lock, refused where it would mix what must not mix."""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

from filelock import Timeout

from fastgd.common.errors import InputError, InUseError
from fastgd.common.folders import expanded, lock_of
from fastgd.common.remote import RemotePath
from fastgd.store.compaction import Names, Part, compact, drop, replace_trials
from fastgd.store.contents import KINDS, Contents
from fastgd.store.disk.files import make_folders, write_text, writing
from fastgd.store.disk.new_files import fsync_folder
from fastgd.store.disk.object_lock import ObjectLock
from fastgd.store.manifest import SCHEMA, Manifest
from fastgd.store.optima import FOLDER as OPTIMA
from fastgd.store.schema import FAILED, Columns
from fastgd.store.surface_files import FOLDER as SURFACES
from fastgd.store.surface_files import own_surfaces
from fastgd.store.trial_surfaces import FOLDER as TRIAL_SURFACES
from fastgd.store.writer import Commit, PartWriter, Place

LOCKS = (".lock", ".lock.held")  # the second one where files cannot be locked
DAMAGED = "damaged"  # the folder in a results folder that takes what `fastgd verify --repair` sets aside


class Folder:
    """A results folder that this process writes to; a context manager, see `Folder.open`.

    Attributes
    ----------
    path : Path
        The folder.
    manifest : Manifest
        The manifest of the study as it is now.
    columns : Columns
        The union of the columns that are stored and those that the study asks for.
    generation : int
        The generation of the parts that count.
    kept : set of Path
        Rotated files of parts that go on, which are not swept.
    """

    def __init__(
        self, path: Path, manifest: Manifest, columns: Columns, held: ExitStack, confirm: Callable[[], None]
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.columns = columns
        self.kept: set[Path] = set()
        self._held, self._confirm = held, confirm
        self._manifest_is_written = False
        self._committed: set[str] = set()
        self._unfinished: set[str] = set()
        self.generation = self._next_number = 0

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        manifest: Manifest,
        study_toml: str,
        columns: Columns,
        fresh: bool = False,
        allow_mixed: bool = False,
        keep: Callable[[Path], Iterable[Path]] = lambda _: (),
    ) -> Self:
        """Create a results folder, or extend the one that stands there, and lock it.

        What an interrupted run left behind without committing it is swept.

        Parameters
        ----------
        path : path
            The folder.
        manifest : Manifest
            The study, its data and this machine.
        study_toml : str
            The normalised study file.
        columns : Columns
            Those that the study asks for.
        fresh : bool
            Move the results that stand there aside, to `<path>.<UTC time>`, and start anew.
        allow_mixed : bool
            Extend results that another fastgd, Numba or CPU model computed.
        keep : callable
            `keep(path)` gives the rotated files of parts that go on; it is asked when the folder is locked.

        Raises
        ------
        InUseError
            Another process writes to the folder.
        InputError
            The folder holds another study, other data or something else; it cannot be written to.
        """
        path = expanded(path).absolute()
        with ExitStack() as stack, writing(path):
            if fresh and (path / "manifest.json").exists():
                _move_aside(path, stack)
            refuse_foreign(path)
            path.mkdir(parents=True, exist_ok=True)
            confirm = lock(path, stack)
            refuse_links(path)
            if (path / "manifest.json").exists():
                previous = Manifest.read(path)
                manifest = manifest.extending(previous, path, allow_mixed)
            else:
                previous = None
                manifest = replace(manifest, folder=uuid.uuid4().hex)
            contents = Contents.read(path)
            contents.require_single()
            folder = cls(path, manifest, contents.columns | columns, stack.pop_all(), confirm)
        try:
            folder.kept.update(keep(path))
            folder._prepare(previous, study_toml, contents)
        except BaseException:
            folder.close()
            raise
        return folder

    def _prepare(self, previous: Manifest | None, study_toml: str, contents: Contents) -> None:
        """Write the manifest and the study file, and delete what an interrupted run left."""
        with writing(self.path):
            if previous and not previous.folder:  # an earlier version wrote it: its files name the folder from here on
                previous = replace(previous, folder=uuid.uuid4().hex)
                previous.write(self.path)
                self.manifest = replace(self.manifest, folder=previous.folder)
            # The manifest of a run that ended stands until another one computes something.
            if previous is None or not previous.ended or _study(previous) != _study(self.manifest):
                self._write_manifest()
            write_text(self.path / "study.toml", study_toml)
            make_folders(self.path / "trials", self.path / "curves")
            contents.sweep(self.kept)
            self._committed, self._unfinished = contents.trial_ids(), contents.unfinished
            self.generation, self._next_number = contents.generation, contents.next_number

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock."""
        self._held.close()

    def committed(self) -> set[str]:
        """Return the ids of the trials whose results are stored."""
        return set(self._committed)

    def unfinished(self) -> set[str]:
        """Return the ids of those that may go on, which may be committed again."""
        return set(self._unfinished)

    def note(self, text: str) -> None:
        """Add a note to the manifest."""
        if text not in self.manifest.notes:
            self.manifest = replace(self.manifest, notes=(*self.manifest.notes, text))
            self._write_manifest()

    def left_unfinished(self, trial_ids: Collection[str]) -> None:
        """Note trials that have been committed as they are, to go on later."""
        self._unfinished.update(trial_ids)

    def writer(self, *, in_thread: bool = False, parameters_only: bool = False) -> PartWriter:
        """Return a writer for the next part; see `PartWriter`."""
        footer, number = self.manifest.footer(), self._next_number
        self._next_number += 1
        place = Place(self.path, self.generation, number, self.columns, footer, self._committing, self._confirm)
        return PartWriter(place, in_thread=in_thread, parameters_only=parameters_only)

    @contextmanager
    def _committing(self, trial_ids: Sequence[str]) -> Iterator[Commit]:
        """Note trials as committed when the block has committed them; see `Place`."""
        again = self._unfinished.intersection(trial_ids)
        if len(new := set(trial_ids) - again) != len(trial_ids) - len(again) or not self._committed.isdisjoint(new):
            raise ValueError("a trial can be committed only once")
        self._confirm()
        self.begin()
        yield Commit(self.generation, partial(self._replace, again) if again else None)
        self._unfinished -= again
        self._committed.update(trial_ids)

    def begin(self) -> None:
        """Write the manifest of a run that is about to store something."""
        if not self._manifest_is_written:
            self._write_manifest()

    def _replace(self, trial_ids: set[str], part: Part) -> None:
        """Commit a part in place of the results of unfinished trials: at every moment the old or the new ones count."""
        replace_trials(Contents.read(self.path), self.columns, trial_ids, part, self.manifest.footer())
        self.generation = Contents.read(self.path).generation

    def drop_failed(self, trial_ids: Collection[str]) -> None:
        """Drop what is stored of those of the trials that failed, which is why: they are about to run again."""
        contents = Contents.read(self.path)
        if failed := contents.trial_ids(FAILED).intersection(trial_ids):
            self.begin()
            drop(contents, self.columns, failed, FAILED, self.manifest.footer())
            self.generation = Contents.read(self.path).generation
            self._committed -= failed

    def finish(
        self,
        in_study: Collection[str],
        *,
        names: Names | None = None,
        ended: datetime | None = None,
        timings: Callable[[], dict[str, float]] = dict,
    ) -> None:
        """Compact the parts, set `in_study`, and complete the manifest.

        Where nothing was computed since the last run that ended, the manifest stays as that run left it.

        Parameters
        ----------
        in_study : collection of str
            The ids of the study's trials; all others that are stored stay with `in_study = false`. On landscapes, a
            mapping from its configurations to the number of their starts.
        names : mapping of str to mapping of str to str, optional
            What the study calls the trials' problems and datasets now, by column and id: not part of what they are.
        ended : datetime, optional
            When the run ended: now, by default.
        timings : callable
            Gives the seconds of the run's stages; called when all but the manifest is stored.
        """
        self.settle(in_study, names)
        if self._manifest_is_written:
            ended = (ended or datetime.now(UTC)).astimezone(UTC)
            self.manifest = replace(
                self.manifest,
                ended=ended.isoformat(),
                timings=timings(),
                parts=Contents.read(self.path).parts,
                surfaces=own_surfaces(self.path, self.manifest.folder),
            )
            self._write_manifest()

    def settle(self, in_study: Collection[str], names: Names | None = None) -> None:
        """Compact the parts and set `in_study`, as `finish` does, of a run that goes on."""
        self._confirm()
        with writing(self.path):
            wanted = in_study if isinstance(in_study, Mapping) else set(in_study)
            contents = Contents.read(self.path)
            if compact(contents, self.columns, wanted, names or {}, self.manifest.footer()):
                contents = Contents.read(self.path)
            contents.sweep(self.kept)
            self.generation, self._next_number = contents.generation, contents.next_number

    def _write_manifest(self) -> None:
        self.manifest.write(self.path)
        self._manifest_is_written = True


def _study(manifest: Manifest) -> tuple[object, ...]:
    return manifest.study_hash, manifest.fingerprints, manifest.notes


def lock(path: Path, stack: ExitStack) -> Callable[[], None]:
    """Lock a results folder until the stack is closed; InUseError where another process holds it.

    What it returns raises InputError where the lock may have been lost since, as only one in an object store can be.
    """
    if isinstance(path, RemotePath):
        held = ObjectLock(path / ".lock")
        held.acquire()
        stack.callback(held.release)
        return held.confirm
    if (path / ".lock").is_symlink():
        raise InputError(f"{path / '.lock'} is a symbolic link, which fastgd does not write through: remove it")
    file_lock = lock_of(path / ".lock")
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        name = Path(file_lock.lock_file).name
        killed = "" if name == ".lock" else f"if no process does, one was killed: delete {name} there"
        raise InUseError(path, killed=killed) from None
    stack.callback(file_lock.release)
    return lambda: None


def require_free(path: Path) -> None:
    """Raise InUseError where another process writes to a results folder; nothing is left there, also no lock."""
    if isinstance(path, RemotePath):
        ObjectLock(path / ".lock").require_free()
    elif any((path / name).exists() for name in LOCKS):
        with writing(path), suppress(FileNotFoundError), ExitStack() as briefly:  # --fresh may move it aside just now
            lock(path, briefly)  # only who tries it sees that a process was killed


@contextmanager
def extending(path: Path) -> Iterator[None]:
    """Hold the lock of a results folder in a block that adds files to it; InputError where they cannot be added."""
    with ExitStack() as stack:
        with writing(path):
            if (found := Manifest.read(path).schema) != SCHEMA:
                raise InputError(f"{path} has schema {found}, which is only read: run the study in another folder")
            lock(path, stack)
            refuse_links(path)
        yield


def _move_aside(path: Path, stack: ExitStack) -> None:
    aside = path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    if isinstance(path, RemotePath):
        with ExitStack() as brief:
            lock(path, brief)
            path.rename(aside)
            (aside / ".lock").unlink(missing_ok=True)
        return
    lock(path, stack)  # and keep the lock: nobody is to write to the folder under its old name
    path.rename(aside)
    fsync_folder(path.parent)


def refuse_links(path: Path) -> None:
    """Raise InputError where a folder of the results is a link: files would be written and swept somewhere else."""
    for name in (*KINDS, SURFACES, TRIAL_SURFACES, OPTIMA, DAMAGED):
        if (path / name).is_symlink():
            raise InputError(
                f"{path / name} is a symbolic link, and fastgd writes and deletes only in folders of its own: "
                f"remove it. The results folder as a whole may be a link"
            )


def refuse_foreign(path: Path) -> None:
    """Raise InputError where the folder holds something else than results."""
    if not path.exists() or (path / "manifest.json").exists():
        return
    if any((path / "trials").glob("*.parquet")):
        Manifest.read(path)  # which says how to get it back
    if any(entry.name not in (*LOCKS, ".manifest.json", DAMAGED) for entry in path.iterdir()):
        raise InputError(f"{path} is not empty and holds no fastgd results: choose another folder with --out")
