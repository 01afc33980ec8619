"""What `--dask` names: the scheduler of a cluster, or a cluster that is started on this machine for one run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from fastgd.common.errors import InputError
from fastgd.common.system import processors
from fastgd.runs.dask.executor import DaskExecutor, require_dask

if TYPE_CHECKING:
    from distributed import LocalCluster

# what a worker of a cluster on this machine runs first: Ctrl-C on the terminal is for the coordinator alone
WITHOUT_SIGNALS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
# Some seconds after a worker was killed, Dask looks whether there is a new one: one that has just been killed again, or
# is slow to start, it would give up for good.
KEEPING_WORKERS = {"distributed.deploy.lost-worker-timeout": "365d"}
CONNECT_SECONDS = 10.0
MOST = 1024  # workers, or threads of one
MOST_THREADS = 4  # of a worker, where nothing is said of them
FORMS = "the address of a scheduler, such as tcp://10.0.0.1:8786, or local, local:WORKERS, local:WORKERSxTHREADS"
_LOCAL = re.compile(r"local(?::(?P<workers>\d+)(?:x(?P<threads>\d+))?)?")
_ADDRESS = re.compile(r"(?:[a-z]+://)?(?:[^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")


class Local(NamedTuple):
    """A cluster on this machine: its workers, and the threads of each."""

    workers: int
    threads: int


def parsed(text: str) -> Local | str:
    """Return the cluster on this machine, or the address, that a text names.

    Raises
    ------
    InputError
        It names neither.
    """
    if local := _LOCAL.fullmatch(text):
        threads = int(local["threads"] or 0)
        workers = int(local["workers"] or max(1, processors() // (threads or MOST_THREADS)))
        if local["workers"] is None or (1 <= workers <= MOST and (local["threads"] is None or 1 <= threads <= MOST)):
            return Local(workers, threads or max(1, processors() // workers))
        raise InputError(f"--dask {text}: workers, and the threads of each, are 1 to {MOST:,}")
    if _ADDRESS.fullmatch(text):
        return text
    raise InputError(f"--dask {text}: give {FORMS}")


@contextmanager
def started(wanted: Local) -> Iterator["LocalCluster"]:
    """Return a cluster on this machine, which ends with this block; workers that are killed are started anew."""
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set(KEEPING_WORKERS),
        LocalCluster(
            n_workers=wanted.workers,
            threads_per_worker=wanted.threads,
            processes=True,
            dashboard_address="127.0.0.1:0",  # of which nobody is told: a free port
            memory_limit=None,
            silence_logs="CRITICAL",
            preload=[WITHOUT_SIGNALS],
        ) as cluster,
    ):
        yield cluster


@contextmanager
def connected(text: str) -> Iterator[DaskExecutor]:
    """Return the executor of a cluster in this block; one on this machine is started and ended."""
    wanted = parsed(text)
    require_dask()
    from distributed import Client

    if isinstance(wanted, Local):
        with started(wanted) as cluster, Client(cluster, set_as_default=False) as client:
            yield DaskExecutor(client)
        return
    try:
        client = Client(wanted, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"--dask {text}: no scheduler answers there ({error})") from None
    with client:
        yield DaskExecutor(client)
