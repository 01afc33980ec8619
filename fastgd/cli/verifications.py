"""`fastgd verify`: checks a results folder, and shows what is wrong as a table."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from fastgd.cli.output.consoles import show, show_json, table
from fastgd.store.verifying.findings import Finding
from fastgd.store.verifying.verification import Verification, verify

SHOWN = 3  # names of trials that are printed for each file


def command(folder: Path, repair: bool, as_json: bool) -> bool:
    """Check a folder, print what was found, and return whether all is well."""
    found = verify(folder, repair)
    if as_json:
        show_json({**asdict(found), "path": str(found.path), "aside": found.aside and str(found.aside), "ok": found.ok})
    else:
        _print(found)
    return found.ok


def _print(found: Verification) -> None:
    for title, rows in (("wrong", found.findings), ("to be noted", found.remarks)):
        if rows:
            show(_table(title, rows))
    counts = f"{found.files:,} files with {found.trials:,} trials"
    if found.ok:
        show(f"{found.path}: {counts}, and all bytes are those that were written")
        return
    show(f"{found.path}: {counts} are good")
    if found.aside:
        show(f"what is damaged was moved to {found.aside}")
    if found.left:
        show(_table("left to you", found.left))
    many = f"{len(found.again):,} trials" if found.again else "what is missing"
    aside = "" if found.repaired else "`--repair` moves what is damaged aside; then "
    show(f"{aside}run the study again: it computes {many}")


def _table(title: str, found: Sequence[Finding]) -> Table:
    columns = ("file", "what", "trials")
    return table(title, columns, ((each.file, each.problem, _trials(each)) for each in found), columns)


def _trials(finding: Finding) -> str:
    rest = len(finding.trials) - SHOWN
    return ", ".join(finding.trials[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
