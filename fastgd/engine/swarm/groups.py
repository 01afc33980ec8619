"""What the kernels of a swarm work on: the shape of a group of lanes, and the arrays of all groups."""

from typing import Any, NamedTuple

from fastgd.engine.shapes import LaneShape

# A table of hyper-parameters and quantities is made for so many steps, and so many groups take those steps one after
# another: the table and the groups' states stay in the second-level cache.
STEPS_PER_TABLE = 128
GROUPS_PER_TABLE = 64
MOST_COORDINATES_IN_REGISTERS = 4  # points with more coordinates stay in memory


class SwarmShape(NamedTuple):
    """The shape of a group: a compile-time constant.

    Attributes
    ----------
    lanes, width : int
        Lanes of a group, which is one vector.
    dimension : int
        The landscape's, where its coordinates are copied to registers; else 0.
    slots : int
        Of the rule.
    noisy, tracked, projected : bool
        Whether gradients have noise; whether steps to the tolerance are counted; whether points stay in the box.
    rereads : bool
        Whether hyper-parameters are read anew in each step.
    """

    lanes: int
    width: int
    dimension: int
    slots: int
    noisy: bool
    tracked: bool
    projected: bool
    rereads: bool

    @property
    def one(self) -> int:
        """A number for each coordinate."""
        return 1

    @property
    def of_points(self) -> "SwarmShape":
        """What is needed to read points: rules, noise and tolerances share this."""
        return self._replace(slots=0, noisy=False, tracked=False, projected=False, rereads=False)

    @property
    def of_lanes(self) -> LaneShape:
        """What the driver needs, and the table of a rule."""
        return LaneShape(self.lanes, self.width)


class Groups(NamedTuple):
    """The arrays of a swarm that the kernels work on.

    Attributes
    ----------
    state : ndarray (groups * numbers * width,)
        The groups' blocks.
    memory : ndarray (groups * numbers * width,) float64
        What the rule keeps for each trial.
    hyper : ndarray (owners * hyper * width,) float64
        The hyper-parameters of the lanes.
    owner : ndarray (groups,) int64
        The row of `hyper` that is a group's.
    keys : ndarray (groups * width,) uint64
        What the lanes' noise is keyed by.
    died : ndarray (groups * width,) int64
        The first step after which a lane was not finite, or 0.
    """

    state: Any
    memory: Any
    hyper: Any
    owner: Any
    keys: Any
    died: Any


class LandscapeNumbers(NamedTuple):
    """A landscape's numbers, in the same types for all landscapes.

    Attributes
    ----------
    p : ndarray
        Its parameters, one after another; see `flat_parameters`.
    box : ndarray (d, 2)
        Where points stay, if they are to.
    noise : float
        The scale of the gradient's noise.
    threshold : float
        The value at which the tolerance is reached.
    """

    p: Any
    box: Any
    noise: Any
    threshold: Any


class Workspace(NamedTuple):
    """A worker's own memory.

    Attributes
    ----------
    table : ndarray (STEPS_PER_TABLE * stride,)
        A row for each step: hyper-parameters, then quantities.
    exact : ndarray (STEPS_PER_TABLE * stride,) float64
        The same before it is rounded; the table itself, where that is float64.
    stride : int
        The numbers of a row.
    saved : ndarray
        A group's block before the steps of a table.
    scratch : ndarray (d * width,)
        A gradient.
    memory : ndarray (numbers * width,) float64
        What the rule keeps for each trial; of a group before the steps of a table, where it sums over coordinates.
    alive : ndarray (1,) bool
        Whether all coordinates of a group were finite after the last steps.
    """

    table: Any
    exact: Any
    stride: Any
    saved: Any
    scratch: Any
    memory: Any
    alive: Any


class ReadingSpace(NamedTuple):
    """A worker's own memory for reading.

    Attributes
    ----------
    gradient : ndarray (d * width,)
    wide : ndarray (width,) float64
        Of a group that is not full.
    """

    gradient: Any
    wide: Any


class ScheduledValues(NamedTuple):
    """The scheduled hyper-parameters of the steps from some step on.

    Attributes
    ----------
    values : ndarray (steps, m)
        A value, or of the rate a factor.
    which : ndarray (m,) int64
        The rows of the hyper-parameters.
    rate : int
        The column that is a factor of the rate, or -1.
    """

    values: Any
    which: Any
    rate: Any


class GroupRange(NamedTuple):
    """The groups low ... high - 1."""

    low: Any
    high: Any


class StepRange(NamedTuple):
    """The steps that a table is made for.

    Attributes
    ----------
    row : int
        The row of the scheduled values that is the first step's.
    t : int
        The steps that were taken before.
    count : int
    """

    row: Any
    t: Any
    count: Any
