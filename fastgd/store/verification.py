"""`fastgd verify`: checks whether a results folder is what was written, and repairs it if asked."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fastgd.common.errors import InputError
from fastgd.common.system import expanded
from fastgd.store.files import writing
from fastgd.store.findings import Finding
from fastgd.store.folder import lock, refuse_links
from fastgd.store.inspection import Inspection
from fastgd.store.manifest import Manifest
from fastgd.store.repair import repair as repair_folder


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
        aside = repair_folder(found)
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
