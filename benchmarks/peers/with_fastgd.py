"""fastgd: one cohort, through the same engine and the same choice of kernel as a study's run."""

from functools import partial

import numpy as np

from benchmarks.cohorts import make_cohort
from benchmarks.peers.job import Data, Job
from benchmarks.peers.worker import Forms, Outcome
from fastgd.core.threads import Threads, available_threads


def forms(job: Job, data: Data) -> Forms:
    def epoch(threads: Threads) -> Outcome:
        cohort = make_cohort(
            data.X,
            data.y,
            job.rates,
            threads,
            batch_size=job.batch_size,
            momentum=job.momentum,
            # its own shuffle, which is timed, makes the order that the others are given
            order="sequential" if data.order is None else "shuffle",
        )
        cohort.advance(cohort.batches)
        return Outcome(cohort.parameters().T, np.arange(job.lanes))

    counts = sorted({1, available_threads()})
    return {f"{count} thread{'s' * (count > 1)}": partial(epoch, Threads(count)) for count in counts}
