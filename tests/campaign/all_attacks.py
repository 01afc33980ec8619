"""The attacks, in the order of the table."""

from campaign import memory_limits
from campaign.attack import Attack

ATTACKS: tuple[Attack, ...] = (memory_limits.ATTACK,)
