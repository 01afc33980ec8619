"""Threads that run kernels: where the system lets them run, and when two that meet go on alone."""

import os
import sys

import numpy as np
import pytest

from fastgd.core import barrier
from fastgd.core.compile import jit
from fastgd.core.threads import Threads

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell where threads run")


@pytest.fixture
def affinity():
    """The processors that the process may use; what a test changed is taken back."""
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def places(threads):
    found = []
    threads.run([lambda: found.append(os.sched_getaffinity(0)), lambda: found.append(os.sched_getaffinity(0))])
    return found


@LINUX
def test_threads_stay_off_the_processor_of_their_caller(affinity):
    """After a pause the system would wake them there, and take up to 20 ms to see that another one is free."""
    if len(affinity) < 2:
        pytest.skip("there is one processor")
    with Threads(2) as threads:
        places(threads)  # which starts the thread: from the next call on it is known
        for only in (affinity, {min(affinity)}, affinity):
            os.sched_setaffinity(0, only)
            found = places(threads)
            assert only in found, "the caller's own is never changed"
            found.remove(only)
            (own,) = found
            assert len(own) == max(1, len(only) - 1)
            assert own <= only


@jit
def meet(counters, steps, late, alone):
    barrier.begin(counters, 0)
    for i in range(steps.shape[0]):
        barrier.meet(counters, 0, 1, steps[i], late[i])
        alone[i] = barrier.parted(counters, 0, 1, steps[i])


def meetings(counters, steps, late):
    """Whether one goes on alone after each of some steps, which another has passed all before."""
    alone = np.zeros(len(steps), np.bool_)
    meet(counters, steps, late, alone)
    return alone


def test_one_goes_on_alone_where_the_other_was_late_again_and_again():
    counters, steps = barrier.make_counters(2), np.arange(1, 9)
    counters[2 * barrier.LINE] = 100
    late = np.array([0, 1, 2, 3, 4, 5, 5, 6])
    np.testing.assert_array_equal(meetings(counters, steps, late), late > barrier.MOST_LATE)
    assert meetings(counters, steps, late * 0).sum() == 0, "a call begins anew"
