"""The attacks, in the order of the table."""

from campaign.attack import Attack
from campaign.processes import COLD_STARTS, DAMAGED_KERNELS, FORKS

ATTACKS: tuple[Attack, ...] = (FORKS, COLD_STARTS, DAMAGED_KERNELS)
