"""`fastgd report`: writes the page of one study or several, and prints its name."""

from collections.abc import Sequence
from pathlib import Path

from fastgd import reports
from fastgd.cli.output.consoles import show
from fastgd.common.folders import expanded

PAGE = "report.html"


def report(folders: Sequence[Path], output: Path | None) -> None:
    """Write the report of these folders, and print where it is."""
    folders = [expanded(folder) for folder in folders]
    chosen = output or (folders[0] / PAGE if len(folders) == 1 else Path(PAGE))
    show(f"report: {reports.report(folders, chosen)}")


def report_of_demo(folder: Path) -> None:
    """Write the report of the demo, or say what is missing for one."""
    if reports.is_possible():
        report([folder], None)
    else:
        show(f"no report: {reports.INSTALL}, then `fastgd report {folder}`")
