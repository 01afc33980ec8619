"""Draw docs/pictures/schedules.png: every schedule of the registry with the keys of its example, over 100 indices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastgd.plots import save, sketch
from fastgd.schedules import SCHEDULES

PICTURE = Path(__file__).parent / "pictures" / "schedules.png"
EPOCHS = 100


def blocks() -> list[Mapping[str, Any]]:
    """Return a block of a study file for each schedule."""
    return [{"name": name, **record.example} for name, record in SCHEDULES.items()]


def losses() -> np.ndarray:
    """Return validation losses that fall ever more slowly, with noise: what schedules with feedback are judged on."""
    noise = np.random.default_rng(3).standard_normal(EPOCHS + 1)
    return 0.3 + 0.4 * np.exp(-np.arange(EPOCHS + 1) / 12) + 0.004 * noise


if __name__ == "__main__":
    save(sketch(blocks(), EPOCHS, losses=losses(), x="epoch or step"), PICTURE)
