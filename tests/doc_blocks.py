"""The code blocks of all pages, and the rules by which they are checked.

Every fence names its language. A new page, or a new block, is checked without being named anywhere:

`toml`
    Is read as a study, and planned. What lacks a name, problem or optimizer is a fragment: it takes the place of those
    tables in a minimal study.
`python`
    Runs: the blocks of a page one after another, in one namespace, in a folder that holds the page's studies as
    NAME.toml, those of `studies/`, and small data, all cut to some seconds. Results that a block loads are made
    before. A block that begins with `# name.py` is that file, too.
`python excerpt`
    Stands, line for line, in a file of the package.
`sh`
    Each command is parsed as its program would parse it; files that it reads exist.
`text`
    Is not checked: pictures in letters, and what a command prints.
"""

import re
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "studies", "fastgd", "benchmarks")
# The changelog tells what was; it has no blocks.
PAGES = sorted(
    [
        *(p for p in ROOT.glob("*.md") if p.stem != "CHANGELOG"),
        ROOT / "results" / "README.md",
        *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md")),
    ]
)
LANGUAGES = ("toml", "python", "python excerpt", "sh", "text")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)

MINIMAL: dict[str, Any] = {
    "name": "fragment",
    "epochs": 10,
    "batch_size": 32,
    "problem": {"loss": "logistic", "dataset": "breast_cancer", "validation": 0.2},
    "optimizer": {"name": "momentum", "lr": 0.1},
}
MINIMAL_LANDSCAPE = {
    "name": "fragment",
    "steps": 10,
    "problem": {"landscape": "himmelblau"},
    "optimizer": {"name": "momentum", "lr": 0.01},
}


@dataclass(frozen=True)
class Block:
    """A code block: its page and line, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def module(self) -> str:
        """The name of the module that it is, or nothing."""
        found = re.match(r"# (\w+)\.py\b", self.text) if self.language == "python" else None
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match["language"], textwrap.dedent(match["text"]))
        for match in FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of(*languages: str) -> list[Block]:
    """Return the blocks of these languages."""
    return [block for block in BLOCKS if block.language in languages]


def completed(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a study of what a block of TOML says: itself, or a fragment in the place of a minimal study's tables."""
    problem = fields.get("problem", {})
    minimal = MINIMAL_LANDSCAPE if "starts" in fields or "landscape" in problem else MINIMAL
    if {"epochs", "steps"} & fields.keys():
        minimal = {key: value for key, value in minimal.items() if key not in ("epochs", "steps")}
    return {**minimal, **fields}


def parsed_or_empty(text: str) -> dict[str, Any]:
    """Return what TOML says, and nothing for what is none: that is the finding of a test."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def studies_of(page: Path) -> dict[str, dict[str, Any]]:
    """Return the studies that a page shows, by name: blocks of TOML that need no completion."""
    parsed = [parsed_or_empty(block.text) for block in blocks_of(page) if block.language == "toml"]
    return {fields["name"]: fields for fields in parsed if {"name", "problem", "optimizer"} <= fields.keys()}


def small(fields: Any) -> Any:
    """Return a study cut to a second: 569 rows for larger data, two values of a grid, and the first of lists."""
    if isinstance(fields, list):
        return [small(item) for item in fields]
    if not isinstance(fields, dict):
        return fields
    cut = {key: small(value) for key, value in fields.items()}
    if "num" in cut and {"log", "linear", "loguniform", "uniform"} & cut.keys():
        cut["num"] = 2
    if "draws" in cut:
        cut["draws"] = 2
    if cut.get("dataset", "").startswith("flights"):
        cut["dataset"] = "breast_cancer"
        cut.pop("positive", None)
        cut.pop("target", None)
    if "synthetic" in cut:
        cut["synthetic"] = {**cut["synthetic"], "n": 500, "d": 10}
    crossed = ("seed", "batch_size", "optimizer", "schedule")
    first = {key: cut[key][0] for key in crossed if isinstance(cut.get(key), list)}
    budget = {key: min(cut[key], 5) for key in ("epochs", "steps") if isinstance(cut.get(key), int)}
    return {**cut, **first, **budget}
