"""The attacks, in the order of the table."""

from campaign.attack import Attack

ATTACKS: tuple[Attack, ...] = ()
