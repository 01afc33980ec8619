"""A short campaign: a few tries of each attack."""

import numpy as np
import pytest
from campaign.all_attacks import ATTACKS
from cohorts import in_full

# Those that compile little. What the others attack has tests of its own, on less: test_snapshots, test_store*,
# test_signals, test_memory, test_jit, test_cache, test_malformed_manifests, test_corpus.
SHORT = ("malformed studies", "malformed files")


@pytest.mark.parametrize(
    "attack",
    [attack if attack.name in SHORT else in_full(attack) for attack in ATTACKS],
    ids=lambda attack: attack.name,
)
def test_nothing_is_lost(attack, tmp_path):
    found = attack.make(np.random.default_rng(0), attack.few, tmp_path)
    assert found.failures == []
    assert found.tries >= attack.few
