"""The generated pages are those that the package describes now."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("generator", sorted(DOCS.glob("list_*.py")), ids=lambda path: path.stem)
def test_no_page_is_stale(generator):
    made = runpy.run_path(str(generator))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "run `make docs`"


def test_every_file_states_its_purpose():
    page = runpy.run_path(str(DOCS / "list_files.py"))["page"]()
    assert not [line for line in page.splitlines() if line.endswith("|  |")]
