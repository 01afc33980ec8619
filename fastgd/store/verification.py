"""`fastgd verify`: whether a results folder is what was written, and how to go on from it where it is not."""

import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fastgd.common.errors import InputError
from fastgd.common.system import expanded
from fastgd.store.compaction import rewrite
from fastgd.store.contents import Contents
from fastgd.store.files import fsync_folder, make_folders, remove, writing
from fastgd.store.folder import DAMAGED, lock, refuse_links
from fastgd.store.inspection import Finding, Inspection, footer_manifest
from fastgd.store.manifest import SCHEMA, Manifest
from fastgd.store.tables import unmarked


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
        What is not wrong: files of others, files of earlier versions, which have no checksums.
    files, trials : int
        How many files count, and how many trials they hold.
    again : tuple of str
        The trials that are lost: the next run of the study computes them.
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
        Move what is damaged aside, to `damaged/<UTC time>` in the folder, and write what is good anew, so that the next
        run of the study computes exactly the trials again that lost something. Damaged files are kept there whole; what
        good files hold of these trials is not kept.

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
        return _found(_inspected(path))
    with ExitStack() as stack, writing(path):
        if not any((path / "trials").glob("*.parquet")):
            Manifest.read(path)  # which says what is there instead: there is nothing to lock
        lock(path, stack)
        refuse_links(path)
        found = Inspection(path)
        if not found.findings:
            return _found(found)
        aside = _repair(found)
        return replace(_found(found), repaired=True, aside=aside, left=tuple(Inspection(path).findings))


def _inspected(path: Path) -> Inspection:
    """Inspect a folder that another process may write to: only what is found twice is wrong."""
    before = None
    for _ in range(4):
        with suppress(FileNotFoundError):  # compacted away
            found = Inspection(path)
            if not found.findings or (before and before.findings == found.findings):
                return found
            before = found
    raise InputError(f"another process changes {path}: wait for it, and verify again")


def _found(found: Inspection) -> Verification:
    lost = found.names(found.trials[found.trials["lost"]])
    unnamed = [trial for each in found.findings for trial in each.trials]
    return Verification(
        path=found.path,
        findings=tuple(found.findings),
        remarks=tuple(found.remarks),
        files=len(found.counting),
        trials=int((~found.trials["lost"]).sum()),
        again=tuple(dict.fromkeys([*lost, *unnamed])),
    )


def _repair(found: Inspection) -> Path | None:
    """Move bad files aside, and write the rest anew.

    Bad files get a second name before anything is written, and lose the first when all is: a crash loses none of them.
    """
    path, bad = found.path, [*found.aside, *found.bad]
    for file in found.foreign:  # before anything is changed: what is the user's to move
        raise unmarked(file)
    for file in filter(Path.is_symlink, bad):
        raise InputError(f"{file} is a symbolic link: restore what it leads to, or remove it, and repair again")
    manifest = found.manifest or footer_manifest([*found.aside_parts, *found.records])
    if manifest is None:
        lost = path / "manifest.json"
        raise InputError(f"{lost} cannot be restored, no file repeats it: move the folder away, and run the study anew")
    if manifest.schema != SCHEMA:
        raise InputError(f"{path} has schema {manifest.schema}, which is only read: restore what is damaged")
    place = path / DAMAGED / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}" if bad else None
    if place:
        _keep(bad, path, place)
    if found.to_be_rewritten:
        contents = found.contents
        rewrite(contents, contents.columns, manifest.footer(), without=_without(found), bad=found.bad)
    remove(file for file in bad if file.name != "manifest.json")
    manifest = replace(manifest, ended=None, parts={})
    manifest.write(path)
    contents = Contents.read(path)
    replace(manifest, parts=contents.parts).write(path)
    contents.sweep()
    return place


def _keep(files: Iterable[Path], path: Path, place: Path) -> None:
    """Give files a second name in another folder, or a copy there where the file system has no links."""
    make_folders(place.parent)
    make_folders(place)
    for file in files:
        target = place / file.relative_to(path)
        make_folders(target.parent)
        try:
            os.link(file, target, follow_symlinks=False)
        except (OSError, NotImplementedError):  # the latter: the platform cannot link to a link itself
            shutil.copy2(file, target, follow_symlinks=False)
            with target.open("rb") as copy:
                os.fsync(copy.fileno())
        fsync_folder(target.parent)


def _without(found: Inspection) -> Any:
    """Return which rows of a table go: those of trials that are lost, or of none that is stored."""
    good = np.append(~found.trials["lost"].to_numpy(bool), False)  # the last: of no trial
    return lambda table: pa.array(~good[found.keys.places(table)])
