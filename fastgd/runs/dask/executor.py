"""`DaskExecutor`: what `fastgd.run` is given to run a study on a Dask cluster."""

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.runs.executor import Executor
from fastgd.study.config import Study

if TYPE_CHECKING:
    from distributed import Client

    from fastgd.runs.dask.crew import SentData
    from fastgd.runs.dask.messages import DataKey


def require_dask() -> None:
    """Raise InputError where Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"to run on Dask, install fastgd with its extra: pip install 'fastgd[dask]' ({error})"
        ) from None


class DaskExecutor:
    """Runs the trials of a study on the workers of a Dask cluster, with the bits that they have here.

    Every worker is checked before it is given anything: one whose processor, vectors, or versions of fastgd, Numba,
    llvmlite or NumPy differ is not used, unless the run is told to `allow_mixed`. Workers may come and go while the
    study runs.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster; it stays open.

    Raises
    ------
    InputError
        It is no client that waits for its answers, or Dask is not installed.

    Examples
    --------
    >>> from distributed import Client  # doctest: +SKIP
    >>> client = Client("tcp://10.0.0.1:8786")  # doctest: +SKIP
    >>> fastgd.run(study, executor=fastgd.DaskExecutor(client))  # doctest: +SKIP
    """

    def __init__(self, client: "Client") -> None:
        require_dask()
        from distributed import Client

        if not isinstance(client, Client) or client.asynchronous:
            raise InputError(f"DaskExecutor takes a distributed.Client that is not asynchronous; found {client!r}")
        self.client = client
        self._sent: dict[DataKey, SentData] = {}
        self._keeps: set[DataKey] | None = None  # data that workers keep for further runs; None: they keep none

    @contextmanager
    def keeping_data(self) -> Iterator[None]:
        """Have workers keep the data of the runs in a block until it ends, since each of them is over the same."""
        from fastgd.runs.dask.crew import tell
        from fastgd.runs.dask.worker import release

        self._keeps = set()
        try:
            yield
        finally:
            kept, self._keeps = self._keeps, None
            self._sent.clear()
            tell(self.client, release, "", kept)

    def _done_with(self, data: "DataKey") -> "Collection[DataKey]":
        """Return the data that workers are to let go of when a run over some is over."""
        if self._keeps is not None:
            self._keeps.add(data)
            return ()
        self._sent.pop(data, None)
        return (data,)

    def executor_of(
        self, study: Study, data: Sequence[Data], *, given: bool, threads: int | None, allow_mixed: bool
    ) -> Callable[..., Executor]:
        """Return what makes the executor of a run.

        Parameters
        ----------
        study : Study
        data : sequence of Data
            Of each of its problems.
        given : bool
            Whether they are not what the study names: they are sent to the workers then.
        threads : int, optional
            Of each worker.
        allow_mixed : bool
        """
        from fastgd.runs.dask.coordinator import Coordinator
        from fastgd.runs.dask.crew import SentData
        from fastgd.runs.dask.messages import Terms
        from fastgd.runs.dask.worker import own_versions

        if self.client.status in ("closing", "closed"):
            raise InputError("the client of the DaskExecutor is closed, or its scheduler is gone; give an open one")
        terms = Terms(
            run=uuid4().hex[:12],
            versions=own_versions(),
            allow_mixed=allow_mixed,
            path=[os.path.abspath(folder) for folder in sys.path],  # "" is the current folder
            study=study if data and not given else None,
            dtype=study.dtype,
            fingerprints=tuple(rows.fingerprint for rows in data),
            threads=threads,
        )
        sent = self._sent.setdefault(terms.data, SentData(self.client)) if given else None
        if sent is not None:
            sent.data = data  # equal to those of the run before, which need not stay in memory
        return partial(Coordinator, client=self.client, terms=terms, data=sent, done_with=self._done_with)
