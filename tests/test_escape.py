"""Text from files, where it is shown."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import cbook
from matplotlib.figure import Figure
from small_studies import run

from fastgd import plots
from fastgd.cli.answers import rankings
from fastgd.common.escape import for_picture, for_terminal
from fastgd.plots.pages import note, notes_of
from fastgd.runs.reporting.display import Reporter, console
from fastgd.runs.reporting.events import Loading

NASTY = "\x1b[31mred\u202e [red]x[/] \n$\\frac{a$"


@given(st.text())
def test_a_line_prints_as_it_is_seen(text):
    assert for_terminal(text).isprintable()
    if text.isprintable():
        assert for_terminal(text) == text


def test_what_does_not_print_is_escaped():
    assert for_terminal("a\x1b[0m\n\u202eb\ud800é") == "a\\x1b[0m\\n\\u202eb\\ud800é"


@given(st.text())
def test_no_text_of_a_picture_is_a_formula(text):
    assert not cbook.is_math_text(for_picture(text))
    assert for_picture(text).replace(r"\$", "$") == for_terminal(text)


def test_tables_and_lines_of_the_command_line(capsys):
    from fastgd.cli.output.consoles import show, table

    show(NASTY, table(NASTY, ["a"], [[NASTY]]))
    found = capsys.readouterr().out
    assert "\\x1b[31mred\\u202e [red]x[/] \\n$\\frac{a$" in found
    assert all(letter.isprintable() for letter in found.replace("\n", ""))


@pytest.mark.parametrize("terminal", [False, True])
def test_progress(terminal):
    where = console()
    where.file, where.width = io.StringIO(), 200
    where._force_terminal = where.is_interactive = terminal
    with Reporter(where) as reporter:
        reporter(Loading(NASTY))
        reporter._live.refresh()
    assert "\x1b[31mred" not in where.file.getvalue()
    assert "\\x1b[31mred\\u202e [red]x[/] \\n" in where.file.getvalue()


def test_pictures_of_problems_with_any_name(tmp_path):
    problem = {"loss": "logistic", "synthetic": {"n": 60, "d": 2}}
    results = run(tmp_path / "r", problem=[{**problem, "name": NASTY}, {**problem, "l2": 0.1, "name": "$x_1$ $"}])
    for kind in ("curves", "sensitivity", "schedule"):
        plots.save(plots.plot(results, kind), tmp_path / f"{kind}.svg")
    assert rankings.remarks(results, results.best())


def test_notes_are_told_as_they_are():
    figure = Figure()
    note(figure, "it costs $5 and $6")
    assert notes_of(figure) == ["it costs $5 and $6"]
