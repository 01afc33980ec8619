"""JAX with the lanes split by hand over Python threads, each product on one thread (a flag of the process)."""

import os
from concurrent.futures import ThreadPoolExecutor

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"  # read when JAX starts

import numpy as np

from benchmarks.peers.job import Data, Job
from benchmarks.peers.with_jax import make_epochs
from benchmarks.peers.worker import Forms, Outcome


def forms(job: Job, data: Data) -> Forms:
    run = make_epochs(job, data)["matrix"]
    cores = os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores)

    def split() -> Outcome:
        W = np.concatenate(list(pool.map(run, np.array_split(job.rates, cores))))
        return Outcome(W.T.astype(float), np.arange(job.lanes))

    return {"matrix, lanes split over threads": split} if job.lanes >= cores > 1 else {}
