"""A short campaign: a few tries of each attack."""

import numpy as np
import pytest
from campaign.all_attacks import ATTACKS
from cohorts import in_full

# Those that compile most; test_jit, test_cache and test_corpus try the same on less.
LONG = ("damaged kernels", "cold starts", "extreme studies")


@pytest.mark.parametrize(
    "attack",
    [in_full(attack) if attack.name in LONG else attack for attack in ATTACKS],
    ids=lambda attack: attack.name,
)
def test_nothing_is_lost(attack, tmp_path):
    found = attack.make(np.random.default_rng(0), attack.few, tmp_path)
    assert found.failures == []
    assert found.tries >= attack.few
