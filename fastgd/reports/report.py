"""`fastgd.report`: folders of results become one page of HTML."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path, PurePath

from fastgd.analysis import Results, load
from fastgd.common.errors import InputError
from fastgd.common.folders import expanded

NEEDED = ("jinja2", "plotly")
INSTALL = 'pip install "fastgd[report]"'


def is_possible() -> bool:
    """Whether the packages of the extra `report` are installed."""
    return all(find_spec(name) is not None for name in NEEDED)


def report(results: Results | str | Path | Sequence[Results | str | Path], path: str | Path = "report.html") -> Path:
    """Write a report: one file of HTML with the findings, tables, curves and provenance of one study or several.

    The file needs nothing else, and loads nothing: a browser opens it without a network. The same results give the same
    bytes. Large studies are thinned to what a page can show, and the page says what it leaves out.

    Parameters
    ----------
    results : Results, path, or a sequence of them
        Results, or the folders that hold them. Several studies stand one below the other, after a table that sets them
        side by side.
    path : path
        The file to write; it ends in .html.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        The packages of the extra `report` are not installed, a folder holds no results or none of its study yet, or the
        file cannot be written.
    """
    target = expanded(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write {target}: a report is a page of HTML, and its name ends in .html")
    if not is_possible():
        raise InputError(f"a report needs {' and '.join(NEEDED)}, of the extra `report`: {INSTALL}")
    from fastgd.reports.page import page
    from fastgd.store.disk.files import write_text

    given = [results] if isinstance(results, Results | str | PurePath) else list(results)
    if not given:
        raise InputError("a report needs the results of at least one study")
    found = [each if isinstance(each, Results) else load(each) for each in given]
    write_text(target, page(found))
    return target
