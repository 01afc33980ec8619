"""Makes the whole campaign: `python -m campaign [--seed 0] [--scale 1] [--only NAME]`."""

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from campaign.all_attacks import ATTACKS
from campaign.attack import PACKAGE, Attack, Found

PAGE = PACKAGE / "docs" / "reliability.md"
START, END = "<!-- campaign -->", "<!-- end of campaign -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="this share of the tries; less leaves the page alone")
    parser.add_argument("--only", help="the attacks whose name holds this")
    options = parser.parse_args()
    rows, failures = [], []
    for attack in ATTACKS:
        if options.only and options.only not in attack.name:
            continue
        found, seconds = _made(attack, options.seed, max(1, round(options.scale * attack.tries)))
        sys.stdout.write(f"{attack.name:24} {found.tries:6} tries {len(found.failures):4} failures {seconds:6.0f} s\n")
        sys.stdout.writelines(f"  {failure}\n" for failure in found.failures)
        sys.stdout.flush()
        rows.append(_row(attack, found))
        failures += found.failures
    if not options.only and options.scale >= 1:
        _write(rows, options.seed)
    return bool(failures)


def _made(attack: Attack, seed: int, tries: int) -> tuple[Found, float]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fastgd-campaign-") as folder:
        found = attack.make(np.random.default_rng([seed, *attack.name.encode()]), tries, Path(folder))
    return found, time.monotonic() - start


def _row(attack: Attack, found: Found) -> str:
    beyond = attack.beyond or "-"
    return (
        f"| {attack.name} | {found.tries:,} | {len(found.failures)} | {attack.promise} | `{attack.test}` | {beyond} |"
    )


def _write(rows: list[str], seed: int) -> None:
    head = "| attack | tries | failures | promise | test | not covered |\n| --- | ---: | ---: | --- | --- | --- |"
    table = "\n".join([START, f"With seed {seed}:", "", head, *rows, END])
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{START}.*{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
