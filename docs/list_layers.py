"""Draws the packages of fastgd and the imports between them, as they are in the code: pictures/layers.svg."""

import ast
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "pictures" / "layers.svg"
WIDTH, HEIGHT, BOX, GAP = 900, 62, 186, 24  # of the picture, a layer, a box, and between boxes
LINE = "#b8c0cc"
MOST_LETTERS = 32  # in a box


def layers() -> list[list[str]]:
    """Return the packages of each layer, the highest first, as import-linter checks them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    return [[name.strip() for name in layer.replace(":", "|").split("|")] for layer in contract["layers"]]


def imports() -> Counter[tuple[str, str]]:
    """Return how many modules of each package import another package."""
    found: Counter[tuple[str, str]] = Counter()
    for file in sorted((ROOT / "fastgd").rglob("*.py")):
        own = file.relative_to(ROOT / "fastgd").parts[0].removesuffix(".py")
        names: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        packages = {name.split(".")[1] for name in names if name.startswith("fastgd.")}
        found.update((own, other) for other in packages - {own})
    return found


def purpose(package: str) -> str:
    """Return what a package is, by the beginning of its docstring."""
    text = ast.get_docstring(ast.parse((ROOT / "fastgd" / package / "__init__.py").read_text(encoding="utf-8"))) or ""
    words, found = text.split(":")[0].split(".")[0].split(",")[0].split(), ""
    while words and len(found) + len(words[0]) < MOST_LETTERS:
        found += f" {words.pop(0)}"
    return found.strip() + (" ..." if words else "")


def page() -> str:
    """Return the picture as SVG."""
    rows = layers()
    places: dict[str, tuple[float, float]] = {}
    for depth, row in enumerate(rows):
        left = (WIDTH - len(row) * BOX - (len(row) - 1) * GAP) / 2
        places |= {name: (left + at * (BOX + GAP), depth * HEIGHT + 10) for at, name in enumerate(row)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {len(rows) * HEIGHT + 10}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{len(rows) * HEIGHT + 10}" fill="white"/>',
    ]
    for (one, other), count in sorted(imports().items()):
        if one in places and other in places:
            (x, y), (to_x, to_y) = places[one], places[other]
            ends = f'x1="{x + BOX / 2:g}" y1="{y + 36:g}" x2="{to_x + BOX / 2:g}" y2="{to_y:g}"'
            parts.append(f'<line {ends} stroke="{LINE}" stroke-width="{min(4, 0.6 + count / 6):.2g}"/>')
    for name, (x, y) in places.items():
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="{BOX}" height="36" rx="5" fill="#eef3fb" stroke="#4a6fa5"/>')
        parts.append(f'<text x="{x + BOX / 2:g}" y="{y + 15:g}" text-anchor="middle" font-weight="bold">{name}</text>')
        text = f'<text x="{x + BOX / 2:g}" y="{y + 29:g}" text-anchor="middle" font-size="9" fill="#445">'
        parts.append(f"{text}{purpose(name)}</text>")
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
