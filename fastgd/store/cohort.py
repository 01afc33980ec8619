"""The writer of one cohort's results: curves stream to disk while it runs, and its trials commit them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fastgd.store.contents import commit_schema, part_name
from fastgd.store.curves import CurveFile
from fastgd.store.files import TableFile, make_folders
from fastgd.store.schema import PARAMETERS, trials_table

if TYPE_CHECKING:
    from fastgd.store.folder import Folder

# Values that become a table of parameters at a time: 16 MB of float64.
_VALUES_AT_ONCE = 1 << 21


class CohortWriter:
    """Writes one cohort; a context manager that drops what was not committed.

    Parameters
    ----------
    folder : Folder
        The results folder, open.
    number : int
        The number of the part that the cohort becomes.
    cohort_id : str
        The trials' column of that name, where the trials lack it.
    """

    def __init__(self, folder: "Folder", number: int, cohort_id: str) -> None:
        self._folder = folder
        self._number = number
        self._cohort_id = cohort_id
        footer = folder.manifest.footer()
        name = f"{part_name(folder.generation, number)}-00.parquet"
        self._curves = CurveFile(folder.path / "curves" / name, folder.columns.curves.with_metadata(footer))
        self._parameters = TableFile(folder.path / "parameters" / name, PARAMETERS.with_metadata(footer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._curves.discard()
        self._parameters.discard()

    def append(self, columns: Mapping[str, Any]) -> None:
        """Add a block of curve rows; they are copied.

        Parameters
        ----------
        columns : mapping of str to array_like
            `trial_id`, of shape (rows,), and further columns of the curves: arrays of that shape, or scalars that hold
            for every row. A column that is absent or None is null, and so is what a masked array masks: not measured.
            Non-finite values are stored as such.
        """
        with self._folder.clock:
            self._curves.append(columns)

    def parameters(self, trial_ids: Sequence[str], W: NDArray[np.float64]) -> None:
        """Add the final parameters of trials.

        Parameters
        ----------
        trial_ids : sequence of str, length G
            The trials.
        W : ndarray of shape (G, d), float64
            A row of parameters for each.
        """
        with self._folder.clock:
            make_folders(self._parameters.target.parent)
            step = max(1, _VALUES_AT_ONCE // max(1, W.shape[1]))
            for start in range(0, len(trial_ids), step):
                rows = np.array(W[start : start + step], dtype=np.float64)
                offsets = np.arange(0, rows.size + 1, W.shape[1], dtype=np.int32)
                lists = pa.ListArray.from_arrays(offsets, rows.ravel())
                ids = pa.array(list(trial_ids[start : start + step]), type=pa.string())
                self._parameters.write(pa.table([ids, lists], schema=PARAMETERS))

    def commit(self, trials: pd.DataFrame) -> None:
        """Make the cohort's results count: its curves, then its parameters, then its trials get their names.

        They take the place of what is stored of the same trials, where those ran out of time.

        Parameters
        ----------
        trials : pandas.DataFrame
            A row for each trial, with the columns of the schema. `in_study` and `cohort_id` may be absent.

        Raises
        ------
        ValueError
            A trial is committed already.
        """
        with self._folder.clock:
            defaults: dict[str, Any] = {"in_study": True, "cohort_id": self._cohort_id}
            trials = trials.assign(**{name: value for name, value in defaults.items() if name not in trials})
            table = trials_table(trials, self._folder.columns)
            with self._folder.committing(table["trial_id"].to_pylist()):
                files = {"curves": self._curves.publish(), "parameters": self._parameters.publish()}
                schema = commit_schema(table.schema, self._folder.manifest.footer(), files)
                part = part_name(self._folder.generation, self._number)
                with TableFile(self._folder.path / "trials" / f"{part}.parquet", schema) as record:
                    record.write(table)
                    record.publish()


class ParameterWriter(CohortWriter):
    """Writes the parameters alone of trials whose other results are stored: a commit record without rows names them."""

    def append(self, columns: Mapping[str, Any]) -> None:
        """Add nothing: the curves are stored."""

    def commit(self, trials: pd.DataFrame) -> None:
        """Make the parameters count, unless the time was over before all trials had ended again."""
        if "timeout" in set(trials["status"]):
            return
        self.commit_parameters()

    def commit_parameters(self) -> None:
        """Make the parameters count."""
        folder = self._folder
        with folder.clock:
            folder.begin()
            files = {"parameters": self._parameters.publish()}
            schema = commit_schema(folder.columns.trials, folder.manifest.footer(), files)
            part = part_name(folder.generation, self._number)
            with TableFile(folder.path / "trials" / f"{part}.parquet", schema) as record:
                record.publish(empty=True)
