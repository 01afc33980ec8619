"""JAX with the lanes split by hand over Python threads, each product on one thread (a flag of the process)."""

import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"  # read when JAX starts

from benchmarks.networks import NetworkJob
from benchmarks.peers.job import Data
from benchmarks.peers.networks import split_over_threads
from benchmarks.peers.networks_with_jax import make_training
from benchmarks.peers.worker import Forms


def forms(job: NetworkJob, data: Data) -> Forms:
    return split_over_threads(job, make_training(job, data), "vmap")
