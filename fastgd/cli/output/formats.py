"""Answers as text, JSON, CSV, Markdown or LaTeX on standard output."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastgd.cli.choices import FORMATS, chosen
from fastgd.cli.output.consoles import cell, show, show_json, table, whole

if TYPE_CHECKING:
    import pandas as pd

_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Cells:
    """A table for people: the texts of its cells.

    Parameters
    ----------
    title : str
        What it answers.
    columns : sequence of str
        The headers; underscores are shown as spaces.
    rows : sequence of sequences of str
        The cells.
    texts : sequence of str
        The columns that are aligned at the left.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[str] = ()

    @classmethod
    def of(cls, title: str, frame: "pd.DataFrame", digits: int = 4) -> "Cells":
        """Return the cells of a frame; a missing value is empty, and truth is "yes" or "no"."""
        texts = [str(name) for name in frame if frame[name].dtype.kind not in "iufb"]
        rows = [[_words(value, digits) for value in row] for row in frame.astype(object).to_numpy().tolist()]
        return cls(title, [str(name) for name in frame], rows, texts)

    @property
    def headers(self) -> list[str]:
        """The headers as people read them."""
        return [column.replace("_", " ") for column in self.columns]

    def markdown(self) -> str:
        """Return a table in GitHub's Markdown."""
        rule = ["---" if column in self.texts else "---:" for column in self.columns]
        lines = [self.headers, rule, *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)

    def latex(self) -> str:
        """Return a `tabular` with the rules of the package booktabs."""
        places = "".join("l" if column in self.texts else "r" for column in self.columns)
        head, *body = (
            " & ".join("".join(_LATEX.get(letter, letter) for letter in cell) for cell in line) + r" \\"
            for line in [self.headers, *self.rows]
        )
        lines = [r"\begin{tabular}{" + places + "}", r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
        return "\n".join([*lines, r"\end{tabular}"])


def is_text(form: str) -> bool:
    """Return whether an answer is text for the terminal; raise InputError if there is no such format."""
    return chosen(form, FORMATS, "--format") == "text"


def show_cells(cells: Cells, form: str, remarks: Sequence[str] = ()) -> None:
    """Print a table for people: as text with its title and remarks, or as Markdown or LaTeX alone."""
    if form == "text":
        show(table(cells.title, cells.columns, cells.rows, cells.texts), *remarks)
    else:
        sys.stdout.write((cells.markdown() if form == "markdown" else cells.latex()) + "\n")


def show_answer(
    frame: "pd.DataFrame", form: str, cells: Cells, remarks: Sequence[str] = (), settings: Sequence[str] = ()
) -> None:
    """Print an answer: all of it as JSON or CSV, or its table for people.

    JSON is an object with `about`, what the answer depends on, and `rows`.
    """
    if form == "json":
        show_json({"about": frame.attrs, "rows": records(frame, settings)})
    elif form == "csv":
        frame.to_csv(sys.stdout, index=False)
    else:
        show_cells(cells, form, remarks)


def records(frame: "pd.DataFrame", settings: Sequence[str]) -> list[dict[Any, Any]]:
    """Return the rows of a frame for JSON, with None for what is missing."""
    return whole(frame.astype(object).where(frame.notna(), None).to_dict("records"), settings)


def _words(value: Any, digits: int) -> str:
    if value is True or value is False:
        return "yes" if value else "no"
    missing = value is None or value is not value or (isinstance(value, float) and value != value)
    return "" if missing or type(value).__name__ == "NAType" else cell(value, digits)
