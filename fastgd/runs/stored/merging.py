"""`fastgd.merge`: joins the results of several folders of one study, and says what is missing."""

from collections.abc import Sequence
from pathlib import Path

from fastgd.analysis import Results, load
from fastgd.common.folders import expanded
from fastgd.runs.reporting.events import Warning_
from fastgd.runs.reporting.reports import OnEvent, reported
from fastgd.store.merging import merge as merge_folders


def merge(
    out: str | Path,
    shards: Sequence[str | Path],
    *,
    allow_mixed: bool = False,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> Results:
    """Join the results of several folders of one study: of its shards, or of other machines.

    Every byte of the folders is checked before, and of the merged one after. They stay as they are. Where a trial
    stands in several, it is taken once: from where it is finished, or came furthest. What only the whole study can say
    is left to its run in the merged folder, which finds all trials and computes what they lack.

    Parameters
    ----------
    out : path
        The merged folder. It may hold results of the study already, and takes what it lacks. After a kill it is as it
        was, or holds some of the folders; the same call goes on.
    shards : sequence of path
        The folders, such as `results/flights.shard-03-of-16`.
    allow_mixed : bool
        Also merge what other versions or another kind of processor computed.
    progress : bool
        Show on standard error what is missing, where that is a terminal, or in a notebook.
    on_event : callable, optional
        Receives what is missing as `fastgd.runs.reporting.events.Warning_`.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        A folder is damaged, holds another study, other data or what other versions computed, or a trial has other bits
        in two of them. Nothing is written then.
    """
    with reported(on_event, progress) as emit:
        merged = merge_folders(expanded(out), [expanded(path) for path in shards], allow_mixed=allow_mixed)
        for note in merged.notes:
            emit(Warning_(note))
        return load(merged.path)
