"""`fastgd verify`: checks whether a results folder is what was written, and repairs it if asked.

An inspection (`store/verifying/inspection.py`) reads all bytes and goes on where a reader would stop. A curve is whole
if it begins at step 0, rises, reaches its trial's end, and does not stand on both sides of rows that cannot be read.
What is good is written as the next generation, by the same function as any compaction (`rewrite`); bad files get a
second name in `damaged/` before, and lose the first one after. The footers repeat what the manifest says of versions
and the machine, so that it can be written again. Results of versions before have no seals: they are read, and `verify`
says so. Snapshots stay, with their rows: what had been saved of units on their way is as good as before.
"""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.store.compaction import rewrite
from fastgd.store.contents import Contents
from fastgd.store.disk.checked_reading import foreign_file, read_footer
from fastgd.store.disk.files import make_folders, remove, writing
from fastgd.store.disk.new_files import give_second_name
from fastgd.store.folder import DAMAGED, lock, refuse_links
from fastgd.store.manifest import SCHEMA, Manifest
from fastgd.store.snapshots import Snapshots
from fastgd.store.verifying.findings import Finding
from fastgd.store.verifying.inspection import Inspection


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes
    ----------
    path : Path
        The folder.
    findings : tuple of Finding
        What is wrong: of each the file, the problem, and the trials that it costs.
    remarks : tuple of Finding
        What is not wrong but worth saying, such as files of others and files of earlier versions without checksums.
    files, trials : int
        How many files count, and how many good trials they hold.
    again : tuple of str
        The trials that are lost, which the next run of the study computes again.
    repaired : bool
        Whether it was repaired.
    aside : Path or None
        The folder that a repair moved bad files to, if there were any.
    left : tuple of Finding
        What is still wrong after a repair.
    """

    path: Path
    findings: tuple[Finding, ...]
    remarks: tuple[Finding, ...]
    files: int
    trials: int
    again: tuple[str, ...]
    repaired: bool = False
    aside: Path | None = None
    left: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.findings


def verify(path: str | Path, repair: bool = False) -> Verification:
    """Check every byte of a results folder, and whether its files fit together.

    Parameters
    ----------
    path : path
        The folder that `fastgd.run` wrote to.
    repair : bool
        Move damaged files to `damaged/<UTC time>` in the folder, and write the rest anew without the trials that have
        lost something, so that the next run of the study computes exactly these again.

    Returns
    -------
    Verification

    Raises
    ------
    InputError
        The folder holds no results, or another process writes to it; it cannot be repaired.
    """
    path = expanded(path).absolute()
    if not repair:
        return _verification(_inspected(path))
    with ExitStack() as stack, writing(path):
        if not any((path / "trials").glob("*.parquet")):
            Manifest.read(path)  # which says what is there instead: there is nothing to lock
        lock(path, stack)
        refuse_links(path)
        found = Inspection(path)
        if not found.report.findings:
            return _verification(found)
        aside = _repair(found)
        left = tuple(Inspection(path).report.findings)
        return replace(_verification(found), repaired=True, aside=aside, left=left)


def _inspected(path: Path) -> Inspection:
    """Inspect a folder that another process may write to: findings count only if a second look has the same."""
    before = None
    for _ in range(4):
        with suppress(FileNotFoundError):  # compacted away
            found = Inspection(path)
            findings = found.report.findings
            if not findings or findings == before:
                return found
            before = findings
    raise InputError(f"another process changes {path}: wait for it, and verify again")


def _verification(found: Inspection) -> Verification:
    lost = found.names(found.trials[found.trials["lost"]])
    named = [trial for finding in found.report.findings for trial in finding.trials]
    return Verification(
        path=found.files.path,
        findings=tuple(found.report.findings),
        remarks=tuple(found.report.remarks),
        files=len(found.files.counting),
        trials=int((~found.trials["lost"]).sum()),
        again=tuple(dict.fromkeys([*lost, *named])),
    )


# --- repair -----------------------------------------------------------------------------------------------------------


def _repair(found: Inspection) -> Path | None:
    """Move bad files aside, and write the rest anew; return the folder of the bad files, if there are any.

    Bad files get a second name before anything is written, and lose the first when all is: a crash loses none of them.
    """
    files = found.files
    path, bad = files.path, [*files.set_aside, *found.bad_groups]
    for file in files.foreign:  # before anything is changed: only the user can move it
        raise foreign_file(file)
    for file in filter(lambda file: file.is_symlink(), bad):
        raise InputError(f"{file} is a symbolic link: restore what it leads to, or remove it, and repair again")
    parts = [file for file in files.set_aside if file.suffix == ".parquet"]
    manifest = files.manifest or _manifest_of_footers([*parts, *files.records])
    if manifest is None:
        lost = path / "manifest.json"
        raise InputError(f"{lost} cannot be restored, no file repeats it: move the folder away, and run the study anew")
    if manifest.schema != SCHEMA:
        raise InputError(f"{path} has schema {manifest.schema}, which is only read: restore what is damaged")
    place = path / DAMAGED / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}" if bad else None
    if place:
        _keep(bad, path, place)
    if found.must_be_rewritten:
        contents = files.contents
        without = _rows_of_no_good_trial(found)
        rewrite(contents, contents.columns, manifest.footer(), without=without, bad=found.bad_groups)
    remove(file for file in bad if file.name != "manifest.json")
    manifest = replace(manifest, ended=None, parts={})
    manifest.write(path)
    contents = Contents.read(path)
    replace(manifest, parts=contents.parts).write(path)
    contents.sweep(Snapshots(path, {}).rows())  # the next run goes on from these
    return place


def _manifest_of_footers(paths: Iterable[Path]) -> Manifest | None:
    """Return the manifest that the last of some parts repeats in its footer; None: none does."""
    found = None
    for path in paths:
        with suppress(InputError):
            if text := read_footer(path).entry(b"fastgd.manifest"):
                found = Manifest.from_footer(text, path)
    return found


def _keep(files: Iterable[Path], path: Path, place: Path) -> None:
    """Give files a second name in another folder, or a copy there where the file system has no links."""
    make_folders(place.parent)
    make_folders(place)
    for file in files:
        target = place / file.relative_to(path)
        make_folders(target.parent)
        give_second_name(file, target)


def _rows_of_no_good_trial(found: Inspection) -> Any:
    """Return a function that says which rows of a table go: those of lost trials, and of trials that are not stored."""
    good = np.append(~found.trials["lost"].to_numpy(bool), False)  # the last: of rows without a trial, at -1
    return lambda table: pa.array(~good[found.places.of(table)])
