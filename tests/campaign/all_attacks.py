"""The attacks, in the order of the table."""

from campaign import malformed_files, malformed_studies, manifests, signals
from campaign.attack import Attack

ATTACKS: tuple[Attack, ...] = (
    malformed_studies.ATTACK,
    malformed_files.ATTACK,
    manifests.ATTACK,
    signals.ATTACK,
)
