"""Write docs/files.md: each file of the package with its one purpose, the first paragraph of its docstring."""

import ast
from pathlib import Path

PAGE = Path(__file__).with_name("files.md")
PACKAGE = PAGE.parent.parent / "fastgd"
HEAD = """# Files

Each file of `fastgd/` and its one purpose, as its docstring says it. `make docs` writes this page. Its words (lane,
cohort, tile, swarm, coast) are those of [architecture.md](architecture.md).

| file | purpose |
| --- | --- |
"""


def page() -> str:
    """Return the page."""
    rows = []
    for file in sorted(PACKAGE.rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        purpose = " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
        rows.append(f"| `{file.relative_to(PACKAGE).as_posix()}` | {purpose} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
