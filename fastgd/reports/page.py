"""Renders the page: templates with what they show, its scripts and styles, and what it may load: nothing."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fastgd.analysis import Results
from fastgd.reports.sections import section, summary, title_of
from fastgd.reports.selection import select
from fastgd.reports.study_data import study_data

SCRIPTS = ("data.js", "filters.js", "tables.js", "charts.js", "page.js")
STYLE = "report.css"


def page(results: Sequence[Results]) -> str:
    """Return the report of one study or several, as HTML."""
    selections = [select(each) for each in results]
    data = [study_data(selection) for selection in selections]
    environment = Environment(
        loader=PackageLoader("fastgd.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [_safe(get_plotlyjs()), "\n".join(_text(name) for name in SCRIPTS)]
    return environment.get_template("page.html").render(
        title=title_of(selections),
        studies=[section(*each) for each in zip(selections, data, range(len(data)), strict=True)],
        summary=summary(selections) if len(selections) > 1 else None,
        data=Markup(_json(data)),
        style=Markup(_text(STYLE)),
        scripts=list(map(Markup, scripts)),
        policy=_policy(scripts),
    )


def _policy(scripts: Sequence[str]) -> str:
    """Return the Content-Security-Policy: nothing is loaded, and no script runs but those that the page embeds."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _text(name: str) -> str:
    return (files("fastgd.reports") / "templates" / name).read_text(encoding="utf-8")


def _safe(script: str) -> str:
    r"""Return a script that does not end the element it stands in: `</script` can only be within a text, as `<\/`."""
    return script.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _json(value: Any) -> str:
    """Return JSON that can stand within an element of HTML: letters that mean something there are escapes."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
