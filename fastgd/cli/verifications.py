"""`fastgd verify`: checks a results folder, and shows what is wrong as a table."""

from dataclasses import asdict
from pathlib import Path

from fastgd.cli.consoles import show, show_json, table
from fastgd.store.findings import Finding
from fastgd.store.verification import Verification, verify

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
            cells = [(finding.file, finding.problem, _trials(finding)) for finding in rows]
            show(table(title, ["file", "what", "trials"], cells))
    counts = f"{found.files:,} files with {found.trials:,} trials"
    if found.ok:
        show(f"{found.path}: {counts}, and all bytes are those that were written")
        return
    show(f"{found.path}: {counts} are good")
    if found.aside:
        show(f"what is damaged was moved to {found.aside}")
    if found.left:
        show(table("left to you", ["file", "what", "trials"], [(e.file, e.problem, _trials(e)) for e in found.left]))
    many = f"{len(found.again):,} trials" if found.again else "what is missing"
    way = (
        "run the study again" if found.repaired else "`--repair` moves what is damaged aside; then run the study again"
    )
    show(f"{way}: it computes {many}")


def _trials(finding: Finding) -> str:
    rest = len(finding.trials) - SHOWN
    return ", ".join(finding.trials[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")
