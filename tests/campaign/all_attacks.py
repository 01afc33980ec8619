"""The attacks, in the order of the table."""

from campaign import memory_limits
from campaign.attack import Attack
from campaign.crashes import FULL_DISK, KILLS, TWO_PROCESSES
from campaign.extremes import ATTACK as EXTREMES
from campaign.flipped_bits import ATTACK as FLIPPED_BITS
from campaign.parts import ATTACK as PARTS
from campaign.processes import COLD_STARTS, DAMAGED_KERNELS, FORKS

ATTACKS: tuple[Attack, ...] = (
    *(KILLS, TWO_PROCESSES, FULL_DISK, FLIPPED_BITS, PARTS),
    *(FORKS, COLD_STARTS, DAMAGED_KERNELS),
    *(EXTREMES, memory_limits.ATTACK),
)
