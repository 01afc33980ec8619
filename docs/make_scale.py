"""Writes what the blocks of scale.md print beneath them, where a block of text follows: `python docs/make_scale.py`."""

import io
import re
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PAGE = Path(__file__).parent / "scale.md"
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?P<shown>\n```text\n(?P<text>.*?)```\n)?", re.DOTALL)


def page() -> str:
    """Return the page with what its blocks print now, which write their results into a folder that is deleted."""
    namespace: dict[str, Any] = {"__name__": "scale"}

    def printed(block: re.Match[str]) -> str:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(block["code"], namespace)
        shown = f"\n```text\n{out.getvalue()}```\n" if block["shown"] else ""
        return f"```python\n{block['code']}```\n{shown}"

    with TemporaryDirectory() as folder, chdir(folder):
        return BLOCK.sub(printed, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
