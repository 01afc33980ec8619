"""The attacks, in the order of the table."""

import tempfile
import time
from pathlib import Path

import numpy as np

from campaign import malformed_files, malformed_studies, manifests, memory_limits, signals, stores
from campaign.attack import Attack, Found
from campaign.crashes import FULL_DISK, JOINS, KILLS, TWO_PROCESSES
from campaign.extremes import ATTACK as EXTREMES
from campaign.flipped_bits import ATTACK as FLIPPED_BITS
from campaign.parts import ATTACK as PARTS
from campaign.processes import COLD_STARTS, DAMAGED_KERNELS, FORKS

ATTACKS: tuple[Attack, ...] = (
    *(KILLS, TWO_PROCESSES, JOINS, FULL_DISK, stores.ATTACK, FLIPPED_BITS, PARTS, manifests.ATTACK),
    *(signals.ATTACK, FORKS, COLD_STARTS, DAMAGED_KERNELS, memory_limits.ATTACK),
    *(malformed_studies.ATTACK, malformed_files.ATTACK, EXTREMES),
)


def made(index: int, seed: int, scale: float) -> tuple[Found, float]:
    """Make an attack, and return what it found, and the seconds that it took."""
    attack, start = ATTACKS[index], time.monotonic()
    tries = max(1, round(scale * attack.tries))
    with tempfile.TemporaryDirectory(prefix="fastgd-campaign-") as folder:
        try:
            found = attack.make(np.random.default_rng([seed, *attack.name.encode()]), tries, Path(folder))
        except Exception as error:  # so that it does not end the other attacks
            found = Found(0, [f"the attack itself: {error!r}"])
    return found, time.monotonic() - start
