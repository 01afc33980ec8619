"""A short campaign: a few tries of each attack."""

import numpy as np
import pytest
from campaign.all_attacks import ATTACKS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_is_lost(attack, tmp_path):
    found = attack.make(np.random.default_rng(0), attack.few, tmp_path)
    assert found.failures == []
    assert found.tries >= attack.few
