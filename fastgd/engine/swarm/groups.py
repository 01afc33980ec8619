"""What the kernels of a swarm work on: the shape of a group of lanes, and the arrays of all groups."""

from typing import Any, NamedTuple

CHUNK = 128  # steps of which a table of hyper-parameters and quantities is made: it stays in the second-level cache
BLOCK = 64  # groups that go through the chunks together: their states stay in the second-level cache
SMALL = 4  # coordinates that are copied to registers


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


class Terrain(NamedTuple):
    """A landscape's numbers.

    Attributes
    ----------
    p : NamedTuple
        Its parameters.
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


class Work(NamedTuple):
    """What a worker works in.

    Attributes
    ----------
    table : ndarray (CHUNK * stride,)
        A row for each step: hyper-parameters, then quantities.
    exact : ndarray (CHUNK * stride,) float64
        The same before it is rounded; the table itself, where that is float64.
    stride : int
    saved : ndarray
        A group's block before a chunk of steps.
    scratch : ndarray (d * width,)
        A gradient.
    memory : ndarray (numbers * width,) float64
        What the rule keeps for each trial; of a group before a chunk of steps, where it sums over coordinates.
    """

    table: Any
    exact: Any
    stride: Any
    saved: Any
    scratch: Any
    memory: Any


class Values(NamedTuple):
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
