"""Write docs/gallery.md and its pictures: run the lectures' studies, measure what they show, and check it.

The texts are those of gallery.toml, the checks those of studies/lectures/lecture_checks, which the tests assert too.
`make gallery` runs it: some six minutes from a clean clone, half of which is the homework on California housing;
scikit-learn downloads its data once. `make_gallery.py STUDY ...` runs these anew, and what is missing of the others.
"""

import json
import shlex
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import fastgd
from fastgd.common.errors import nearest

DOCS = Path(__file__).parent
STUDIES = DOCS.parent / "studies" / "lectures"
RESULTS = DOCS.parent / "results" / "lectures"
PICTURES = DOCS / "pictures" / "gallery"
sys.path[:0] = [str(DOCS), str(STUDIES)]

from gallery_pictures import HERE, draw  # noqa: E402
from lecture_checks import CHECKS, Found  # noqa: E402

HEAD = """# The lectures' observations, measured

Five lectures on gradient descent started this project. What they observed in pictures is here in numbers: each section
is a study of seconds in [`studies/lectures`](../studies/lectures/README.md) (the homework takes minutes), with a check
of what it must show that the tests assert too. `make gallery` runs all of them and writes this page; where an
observation holds only with other values than the lecture names, or in part, the section says so.

Unless a section says otherwise, the landscape is the lectures' toy neuron, one sigmoid(w x + b) on the points
(0.5, 0.2) and (2.5, 0.9), from (w, b) = (-2, -2), with eta (the rate) = 1 and
gamma (the momentum) = 0.9, in the lectures' forms of the rules.

| observation | study | holds |
| --- | --- | --- |
"""
FOOT = """
## Searching for a learning rate

The lectures end with advice: try rates from 1e-4 to 1 for a few epochs each, then search more finely around the best.
That is a command of its own, `fastgd tune STUDY.toml`: [docs/tuning.md](tuning.md).
"""


def sections() -> list[dict[str, Any]]:
    """Return the sections of the page."""
    return tomllib.loads((DOCS / "gallery.toml").read_text(encoding="utf-8"))["section"]


def run(name: str, *, fresh: bool) -> fastgd.Results:
    """Run a study anew, or what of it has not run yet."""
    return fastgd.run(fastgd.Study.from_toml(STUDIES / f"{name}.toml"), RESULTS / name, fresh=fresh)


def page(found: Mapping[str, Found]) -> str:
    """Return the page, with what the checks found."""
    overview = "".join(_line(section, found[section["study"]]) for section in sections())
    body = "".join(_section(section, found[section["study"]]) for section in sections())
    return HEAD + overview + body + FOOT


def _line(section: Mapping[str, Any], found: Found) -> str:
    holds = ("yes" if all(found.seen.values()) else "in part") if all(found.holds.values()) else "**no**"
    return f"| [{section['title']}](#{_anchor(section)}) | `{section['study']}.toml` | {holds} |\n"


def _title(section: Mapping[str, Any]) -> str:
    number = section.get("number")
    return f"{number}. {section['title']}" if number else section["title"]


def _anchor(section: Mapping[str, Any]) -> str:
    kept = (letter for letter in _title(section).lower() if letter.isalnum() or letter in " -")
    return "".join(kept).replace(" ", "-")


def _section(section: Mapping[str, Any], found: Found) -> str:
    checked = "; ".join(f"{'' if holds else '**not** '}{statement}" for statement, holds in found.holds.items())
    seen = "; ".join(f"{statement}: {'so here' if so else '**not here**'}" for statement, so in found.seen.items())
    pictures = (f"![{picture['alt']}](pictures/gallery/{_file(picture)})" for picture in section["picture"])
    commands = "\n".join(_commands(section))
    parts = [
        f"## {_title(section)}", section["said"], *pictures, section["found"].strip(), table(found.numbers),
        seen and f"Seen in the lecturer's run: {seen}.", f"Checked: {checked}.", f"```sh\n{commands}\n```",
    ]  # fmt: skip
    return "\n" + "\n\n".join(filter(None, parts)) + "\n"


def _file(picture: Mapping[str, Any]) -> str:
    return picture["file"] + (".gif" if picture["kind"] == "animate" else ".png")


def _commands(section: Mapping[str, Any]) -> Iterable[str]:
    name = section["study"]
    yield f"fastgd run studies/lectures/{name}.toml"
    for picture in section["picture"]:
        if picture["kind"] not in HERE and "panels" not in picture:
            options = "".join(f" --set {key}={_argument(value)}" for key, value in picture.get("options", {}).items())
            yield f"fastgd plot results/{picture.get('study', name)} --kind {picture['kind']}{options}"


def _argument(value: Any) -> str:
    return shlex.quote(json.dumps(value, separators=(",", ":")).strip('"'))


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a table in Markdown."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([_shown(row.get(key)) for key in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    if value is None or value != value:  # nan is not itself
        return ""
    if isinstance(value, float) and 0 < abs(value) < 1e-12:
        return "< 1e-12"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run everything, or the studies that the command names anew, and say which checks fail."""
    names, anew = list(dict.fromkeys(section["study"] for section in sections())), sys.argv[1:]
    if unknown := [name for name in anew if name not in names]:
        sys.exit(f"there is no study {unknown[0]!r} in the gallery; {nearest(unknown[0], names)}")
    try:  # the homework first, whose data may have to be downloaded, and cannot be
        order = sorted(names, key=lambda name: name != "california")
        results = {name: run(name, fresh=not anew or name in anew) for name in order}
    except fastgd.InputError as error:
        sys.exit(str(error))
    found = {name: CHECKS[name](results[name]) for name in names}
    PICTURES.mkdir(parents=True, exist_ok=True)
    for section in sections():
        for picture in section["picture"]:
            name = picture.get("study", section["study"])
            draw(results[name], found[name].numbers, picture, PICTURES / _file(picture))
    (DOCS / "gallery.md").write_text(page(found), encoding="utf-8")
    missed = [f"{name}: {text}" for name in names for text, holds in found[name].holds.items() if not holds]
    if missed:
        sys.exit("does not hold: " + "; ".join(missed))


if __name__ == "__main__":
    main()
