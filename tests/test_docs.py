"""The generated pages are those that the package describes now."""

import runpy
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from fastgd.datasets import Synthetic
from fastgd.study.config import Problem, Record, Starts, Stop, Study
from fastgd.study.fields import Block, NonNegative, Rows, Seed, Several, described
from fastgd.study.keys import keys, keys_of, words
from fastgd.study.search_block import SearchBlock
from fastgd.study.surface_block import SurfaceBlock

DOCS = Path(__file__).parent.parent / "docs"
PACKAGE = DOCS.parent / "fastgd"


@pytest.mark.parametrize("generator", sorted(DOCS.glob("list_*.py")), ids=lambda path: path.stem)
def test_no_page_is_stale(generator):
    made = runpy.run_path(str(generator))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "run `make docs`"


@pytest.mark.parametrize("key", keys(), ids=lambda key: f"{key.table}: {key.name}")
def test_every_key_of_the_study_file_has_a_meaning(key):
    assert key.meaning.endswith("."), (
        "describe it: `described(...)` in fastgd/study, or MEANINGS in fastgd/study/keys.py"
    )
    assert key.type, "say how its value is written: `Written(...)`, or `Table(model)`, in its type"


def test_every_field_of_every_table_is_a_key():
    """What a model reads is what the reference shows: no key is left out."""
    shown = {(key.table, key.name) for key in keys()}
    for table, model in {
        "study": Study,
        "search": SearchBlock,
        "stop": Stop,
        "record": Record,
        "starts": Starts,
        "surface": SurfaceBlock,
    }.items():
        assert {(table, name) for name in model.model_fields} <= shown
    assert {("problem, of data", name) for name in Problem.model_fields} <= shown
    assert {("problem.synthetic", name) for name in Synthetic.model_fields} <= shown
    assert {("optimizer.line_search", "rates"), ("optimizer.clip", "norm"), ("schedule", "then")} <= shown


def test_a_key_without_a_meaning_is_seen():
    class Table(Block):
        told: int = described("What it says.", 3, goes_with="nothing", otherwise="four")
        untold: Annotated[float, Field(gt=0, le=1)] | None = None

    one, other = keys_of("table", Table)
    assert (one.type, one.default, one.meaning, one.goes_with) == ("a whole number", "four", "What it says.", "nothing")
    assert (other.type, other.default, other.meaning) == ("a number > 0 and <= 1", "", "")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Literal["a", "b", "c"], '`"a"`, `"b"` or `"c"`'),
        (Seed, "a whole number >= 0"),
        (Several[NonNegative], "a number >= 0, or several"),
        (Several[Rows], 'a whole number from 1, or `"full"`, or several'),
        (list[Problem], "a table, or several"),
        (str | None, "text"),
    ],
)
def test_types_in_words(kind, text):
    assert words(kind) == text


def test_every_file_states_its_purpose():
    page = runpy.run_path(str(DOCS / "list_files.py"))["page"]()
    assert not [line for line in page.splitlines() if line.endswith("|  |")]


def test_a_room_holds_about_a_dozen_files():
    """Whoever looks for something reads a list that fits into one look."""
    rooms = {file.parent for file in PACKAGE.rglob("*.py")}
    assert {room.name: count for room in rooms if (count := len(list(room.glob("*.py")))) > 14} == {}
