"""The generated pages are those that the package describes now."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_list_of_files_is_not_stale():
    page = runpy.run_path(str(DOCS / "list_files.py"))["page"]()
    assert (DOCS / "files.md").read_text(encoding="utf-8") == page, "run `make docs`"


def test_every_file_states_its_purpose():
    page = runpy.run_path(str(DOCS / "list_files.py"))["page"]()
    assert not [line for line in page.splitlines() if line.endswith("|  |")]
