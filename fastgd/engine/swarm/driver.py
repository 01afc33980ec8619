"""The driver of a swarm: it walks groups and tables of steps, and calls by address what a rule and a landscape need.

It is compiled once for a type of numbers and a width. With the kernels of `engine/swarm/steps.py` inlined, each rule on
each landscape took two seconds to compile instead of half a second: a call takes 128 steps of a group.
"""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.engine.swarm.groups import GROUPS_PER_TABLE, STEPS_PER_TABLE, StepRange


@jit
def copy_numbers(source, first, count, target, to):
    """Copy numbers between flat arrays; an assignment of slices compiles to much more."""
    for i in range(count):
        target[to + i] = source[first + i]


@jit
def some_died(shape, state, block, d, died, first, t):
    """Whether the coordinates of a lane are not finite that was alive; where t > 0, it is noted to have died then."""
    W, found = static(shape, "width"), False
    for i in range(W):
        check = state[block + i] * 0
        for j in range(1, d):
            check += state[block + j * W + i] * 0
        if check != 0 and died[first + i] == 0:
            found = True
            if t:
                died[first + i] = t
    return found


@jit
def advance_groups(calls, shape, land, groups, scheduled, work, t, steps, share):
    """Take `steps` steps after step t with a share of the groups.

    calls : SwarmCalls; shape : the Static of a LaneShape; land : LandscapeNumbers; groups : Groups.
    scheduled : ScheduledValues from step t + 1 on; work : Workspace of this worker; share : GroupRange.
    """
    W, d = static(shape, "width"), land.box.shape[0]
    state, kept, saved, memory = groups.state, groups.memory, work.saved, work.memory
    size, memory_size = saved.shape[0], memory.shape[0]
    for first in range(share.low, share.high, GROUPS_PER_TABLE):
        for begin in range(0, steps, STEPS_PER_TABLE):
            filled, count = -1, min(STEPS_PER_TABLE, steps - begin)
            for group in range(first, min(first + GROUPS_PER_TABLE, share.high)):
                block, own, owner = group * size, group * memory_size, groups.owner[group]
                if owner != filled:
                    # The memory of lanes that share their hyper-parameters is the same unless sums are in it.
                    copy_numbers(kept, own, memory_size, memory, 0)
                    ahead = StepRange(begin, t + begin, count)
                    call_at(calls.fill, shape, groups.hyper, owner * calls.hyper, scheduled, ahead, work, calls.sums)
                    filled = owner
                copy_numbers(state, block, size, saved, 0)
                if calls.sums:
                    copy_numbers(kept, own, memory_size, memory, 0)
                done, many = 0, count
                while done < count:
                    now = t + begin + done
                    call_at(calls.run, shape, land, groups, work, group, done, now, many)
                    if many > 1 and not work.alive[0] and some_died(shape, state, block, d, groups.died, group * W, 0):
                        copy_numbers(saved, 0, size, state, block)  # once more, step by step, to see when
                        if calls.sums:
                            copy_numbers(memory, 0, memory_size, kept, own)
                        done, many = 0, 1
                        continue
                    done += many
                    if many == 1:
                        some_died(shape, state, block, d, groups.died, group * W, now + 1)
                if not calls.sums:
                    copy_numbers(memory, 0, memory_size, kept, own)
