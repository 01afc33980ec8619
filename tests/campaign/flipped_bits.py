"""Flipped bits: one bit of one file of a results folder, anywhere."""

import shutil
from pathlib import Path

import numpy as np

from campaign.attack import Attack, Found
from campaign.folders import STUDIES, content, differences, files, finished, footer_size, header_bytes, outcome


def flipped_bits(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Flip a bit, read everything, flip it back."""
    failures = []
    for name in STUDIES:
        shutil.copytree(finished(name)[0], folder / name)
    for _ in range(tries):
        name = str(random.choice(list(STUDIES)))
        path = files(folder / name)[random.integers(len(files(folder / name)))]
        place, bit = _place(random, path), int(random.integers(8))
        good = path.read_bytes()
        bad = bytearray(good)
        bad[place] ^= 1 << bit
        path.write_bytes(bad)
        if wrong := outcome(lambda name=name: differences(content(folder / name), finished(name)[1])):
            failures.append(f"bit {bit} of byte {place} of {path.relative_to(folder)}: {wrong}")
        path.write_bytes(good)
    return Found(tries, failures)


def _place(random: np.random.Generator, path: Path) -> int:
    """Draw a byte: of a Parquet file as often from page headers and from the footer as from all of it."""
    size, where = path.stat().st_size, random.integers(3)
    if path.suffix == ".parquet" and where == 0:
        headers = header_bytes(path)
        offset, length = headers[random.integers(len(headers))]
        return int(offset + random.integers(length))
    if path.suffix == ".parquet" and where == 1:
        return int(size - 1 - random.integers(footer_size(path) + 100))
    return int(random.integers(size))


ATTACK = Attack(
    name="flipped bits",
    promise="A bit that changed in a file of results is found by whoever reads it: the right number, or one message",
    test="tests/test_verification.py",
    make=flipped_bits,
    tries=1000,
    few=40,
    beyond="files that versions before this one wrote, which have no checksums",
)
