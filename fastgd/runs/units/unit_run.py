"""One unit at work, in any process."""

from contextlib import nullcontext

from fastgd.common.watched import require_unchanged
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.clock import Clock
from fastgd.runs.sinks import Sink
from fastgd.runs.units.cohort_run import CohortRun
from fastgd.runs.units.surface_run import surface_of
from fastgd.runs.units.swarm_run import SwarmRun


def run_unit(
    unit: CohortUnit | SwarmUnit | SurfaceUnit,
    data: Data | None,
    sink: Sink,
    clock: Clock,
    threads: Threads | None = None,
) -> None:
    """Run a unit from its start to its end; its results have the same bits wherever it runs.

    Rows that are mapped must not change meanwhile: what the unit has found is not to be stored then.

    Parameters
    ----------
    unit : CohortUnit, SwarmUnit or SurfaceUnit
    data : Data, optional
        The rows of its problem; None: a landscape has none.
    sink : Sink
        Takes the results.
    clock : Clock
        Says when the time is over, and counts it.
    threads : Threads, optional
        By default one for each processor that this process may use.

    Raises
    ------
    InputError
        A file whose rows are mapped was changed.
    TimeIsOver
        The time was over before the unit ended, and it has no results: a part of a swarm, a surface, or a cohort of
        which only parameters are wanted. The trials of any other cohort end as "timeout" then.
    """
    with Threads(None) if threads is None else nullcontext(threads) as pool:
        if isinstance(unit, SurfaceUnit):
            surface = surface_of(unit, data, clock, pool)
            require_unchanged(() if data is None else data.files)
            sink.surface(unit.problem, surface, unit.specification)
        elif isinstance(unit, SwarmUnit):
            SwarmRun(unit, sink, clock, pool).run()
        else:
            assert data is not None
            CohortRun(unit, data, sink, clock, pool).run()
            require_unchanged(data.files)
