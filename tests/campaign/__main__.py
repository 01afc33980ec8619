"""Makes the whole campaign: `python -m campaign [--seed 0] [--scale 1] [--only NAME] [--jobs 2]`."""

import argparse
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from campaign.all_attacks import ATTACKS, made
from campaign.attack import PACKAGE, Found

PAGE = PACKAGE / "docs" / "reliability.md"
START, END = "<!-- campaign -->", "<!-- end of campaign -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="this share of the tries; less leaves the page alone")
    parser.add_argument("--only", help="the attacks whose name holds this")
    parser.add_argument("--jobs", type=int, default=2, help="how many attacks are made side by side")
    options = parser.parse_args()
    chosen = [index for index, attack in enumerate(ATTACKS) if (options.only or "") in attack.name]
    found: dict[int, Found] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        making = {pool.submit(made, index, options.seed, options.scale): index for index in chosen}
        for done in as_completed(making):
            index = making[done]
            found[index], seconds = done.result()
            _tell(index, found[index], seconds)
    if len(chosen) == len(ATTACKS) and options.scale >= 1:
        _write(found, options.seed)
    return int(any(each.failures for each in found.values()))


def _tell(index: int, found: Found, seconds: float) -> None:
    counts = f"{found.tries:6} tries {len(found.failures):4} failures {seconds:6.0f} s"
    sys.stdout.write(f"{ATTACKS[index].name:24} {counts}\n")
    sys.stdout.writelines(f"  {failure}\n" for failure in found.failures)
    sys.stdout.flush()


def _write(found: dict[int, Found], seed: int) -> None:
    head = "| attack | tries | failures | promise | test | not covered |\n| --- | ---: | ---: | --- | --- | --- |"
    rows = (_row(index, found[index]) for index in range(len(ATTACKS)))
    table = "\n".join([START, f"With seed {seed}:", "", head, *rows, END])
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{START}.*{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def _row(index: int, found: Found) -> str:
    attack = ATTACKS[index]
    counts = (f"{found.tries:,}", str(len(found.failures)))
    return f"| {' | '.join((attack.name, *counts, attack.promise, f'`{attack.test}`', attack.beyond or '-'))} |"


if __name__ == "__main__":
    sys.exit(main())
