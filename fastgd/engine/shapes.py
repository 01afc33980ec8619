"""Which kernel a cohort gets, and the shapes that kernels are specialised by.

The choice depends on the study alone (lanes, batch size, type), never on threads or on the lanes that are still alive,
so that a trial has the same bits whenever it runs on a kind of processor.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from fastgd.core.vectors import register_bits

FEW_LANES = 2  # up to so many lanes, vectors over features are faster than a tile
MOST_LANES_OF_ROWS = 8  # likewise of batches of one row, where a lane has
PARAMETERS_OF_LANES = 64  # times as many parameters as there are lanes: two threads share these, and not a tile
SUMMED_LINES = 8  # cache lines of the sums of a sparse row
MOST_SWEPT_ROWS = 8  # of a batch whose residuals and margins fit into the registers together
MOST_SWEPT_BYTES = 40 << 10  # of a tile's parameters and slots that the first-level cache keeps from row to row
NOT_KEPT = 0.4  # that a lane costs more, where it does not
HALVED_BATCH = 8  # rows of a batch from which two threads may share it, where there are few lanes
HALVED_ENTRIES = 5_000  # of a batch, whose products with one lane take twice as long as two threads' meeting
HALVED_STEP_ROWS = 6  # likewise of their second step, for the parameters and for each slot of the rule
ROW_ENTRIES = 8  # a row takes as long as if it had so many more
SHUFFLED_ROW_ENTRIES = 24  # likewise where it stands anywhere in memory
MOST_SHARED_ENTRIES = 150_000_000  # of a large batch that is not cut into parts: a step is one call, and short
MEETING_ROWS = 25  # of a batch, whose products with a tile take as long as the two threads' meeting and second step
MOST_HALVED_BYTES = 1 << 18  # of the parameters of a tile whose batches they share
LARGE_BATCH = 16_384  # rows of a batch from which its parts are summed in parallel
POINT_BYTES = 64 << 20  # of the parameters of a tile of points, unless it is of the narrowest kind


class LaneShape(NamedTuple):
    """How lanes lie in rows: a compile-time constant of kernels that know no register blocks, such as those of rules.

    Tiles, dense or sparse, single lanes and swarms share these kernels where both numbers are the same.

    Attributes
    ----------
    lanes : int
        Lanes of a row, L.
    width : int
        Elements of a vector; they divide the row.
    """

    lanes: int
    width: int


class Shape(NamedTuple):
    """A tile's shape: a compile-time constant of the drivers that walk rows.

    Attributes
    ----------
    lanes : int
        Lanes of a tile, L.
    width : int
        Elements of a vector.
    vectors : int
        Vectors of a register block; they divide the tile.
    rows : int
        Rows of a register block: with its vectors, the accumulators that fit into the registers.
    """

    lanes: int
    width: int
    vectors: int
    rows: int

    @property
    def group(self) -> int:
        """Lanes (or features) of a register block."""
        return self.width * self.vectors

    @property
    def single(self) -> bool:
        """Whether it is that of one lane, whose vectors run over features."""
        return self.group > self.lanes

    @property
    def one(self) -> int:
        """The register block of the rows that are left over."""
        return 1

    @property
    def of_lanes(self) -> LaneShape:
        """What kernels are specialised by that the drivers call."""
        return LaneShape(self.lanes, self.width)


class NetworkShape(NamedTuple):
    """The shape of a network's tile: one vector of lanes, and the sums of a register block of its products.

    Attributes
    ----------
    lanes, width : int
        Lanes of a tile, which are the elements of a vector.
    rows, columns : int
        Rows of a register block, each with so many vectors.
    single : bool
        Whether it is that of one lane, whose vectors run over units.
    """

    lanes: int
    width: int
    rows: int
    columns: int
    single: bool = False

    @property
    def step(self) -> int:
        """The elements from a lane's number to its next one."""
        return 1 if self.single else self.lanes

    @property
    def numbers(self) -> int:
        """A lane's numbers in a vector."""
        return self.width if self.single else 1

    @property
    def of_lanes(self) -> LaneShape:
        """What kernels are specialised by that the drivers call."""
        return LaneShape(self.lanes, self.width)


def network_shape(lanes: int, itemsize: int) -> NetworkShape:
    """Return the shape of a network's tile of so many lanes on this machine; of one lane, it is as wide as a vector.

    Blocks of 4 x 3 in 16 registers measured 2 to 12 % faster than 4 x 2 and 6 x 2, with 7 loads for 12 multiply-adds.
    """
    bits, registers = register_bits()
    width = bits // 8 // itemsize if lanes == 1 else lanes
    return NetworkShape(width, width, 4, 4 if registers == 32 else 3, single=lanes == 1)


def tile_shape(lanes: int, itemsize: int) -> Shape:
    """Return the shape of a tile of so many lanes on this machine.

    4 rows x 4 vectors keep 16 of 32 registers as accumulators. 6 x 4 would load less, but leaves rows over at every
    batch size and number of features that is a power of two or of ten: it measured 3 to 8 % slower.
    """
    bits, registers = register_bits()
    width = min(lanes, bits // 8 // itemsize)
    vectors = min(4 if registers == 32 else 2, lanes // width)
    rows = {4: 4, 2: 8, 1: 8} if registers == 32 else {2: 6, 1: 8}
    return Shape(lanes, width, vectors, rows[vectors])


def sparse_shape(lanes: int, itemsize: int) -> Shape:
    """Return the shape of a tile for sparse rows: one row at a time, of which all margins stay in registers.

    A vector is a whole cache line, whatever the registers hold: what is looked up for an entry then serves a line.
    """
    width = min(lanes, 64 // itemsize)
    return Shape(lanes, width, lanes // width, 1)


def sparse_sums(lanes: int, itemsize: int) -> int:
    """Return over how many sums a tile deals out the entries of a sparse row, which are added at the end.

    A multiply-add waits for the one before it. All sums together take eight cache lines, which suits the registers, but
    does not depend on how many the machine has: another number of sums gives other bits.
    """
    return max(1, SUMMED_LINES // max(1, lanes * itemsize // 64))


def single_shape(itemsize: int) -> Shape:
    """Return the shape of the kernel for one lane: 4 rows, or 4 vectors of features, at a time."""
    bits, _ = register_bits()
    width = bits // 8 // itemsize
    return Shape(width, width, 4, 4)


@dataclass(frozen=True)
class Kernel:
    """A cohort's kernel.

    Attributes
    ----------
    lanes : int
        Lanes of a tile; 1: one lane at a time, vectors over features or units.
    parts : int
        Parts of a batch that are summed in parallel; 0: a thread owns its tiles.
    sparse : bool
        Whether rows are sparse.
    halves : bool
        Whether two threads sum half a batch each, and meet once a step.
    gram : bool
        Whether gradients of the squared loss are those of `X'X`: see `engine.linear.gram_steps`.
    network : bool
        Whether lanes are networks: see `engine.network`.
    """

    lanes: int
    parts: int = 0
    sparse: bool = False
    halves: bool = False
    gram: bool = False
    network: bool = False

    @property
    def name(self) -> str:
        """What stands in the column `kernel`."""
        return self._in_parts(self._single if self.lanes == 1 else f"{self._tile}-{self.lanes}")

    @property
    def family(self) -> str:
        """The kernels that give the same bits: tiles of any width do."""
        return self._in_parts(self._single if self.lanes == 1 and not (self.sparse or self.network) else self._tile)

    def _in_parts(self, kind: str) -> str:
        return f"{kind}-parts-{self.parts}" if self.parts and not self.gram else kind  # X'X knows no parts

    @property
    def _tile(self) -> str:
        if self.network:
            return "network-sparse-tile" if self.sparse else "network-tile"
        kind = "sparse-tile" if self.sparse else "dense-gram" if self.gram else "dense-tile"
        return f"{kind}-halves" if self.halves else kind

    @property
    def _single(self) -> str:
        if self.network:
            return "network-single"
        return "dense-single-halves" if self.halves else "dense-single"

    def tiles(self, lanes: int) -> int:
        """Return the number of tiles for so many lanes."""
        return -(-lanes // self.lanes)

    def padding(self, lanes: int) -> int:
        """Return the lanes that are there only to fill the last tile."""
        return self.tiles(lanes) * self.lanes - lanes


def choose_kernel(
    lanes: int,
    batch_size: int,
    itemsize: int,
    *,
    tiles: bool = False,
    parts: bool = False,
    sparse: bool = False,
    gram: bool = False,
    shuffled: bool = False,
    parameters: int = 100,
    slots: int = 0,
) -> Kernel:
    """Return the kernel for a cohort of so many lanes; in tiles, or with the batch in parts, where something needs it.

    `gram`: by what is sufficient of a batch, which needs tiles. `shuffled`: whether rows are read from anywhere.
    `parameters`: about how many a lane has; `slots`: the numbers that its rule keeps for each.

    A narrower tile reuses each row less, so a lane costs more in it: the factors below, measured. Sweeps take as long
    for half a vector as for a whole one, and those of single rows longer where a tile leaves the first-level cache.
    Tiles are made no wider than lets two workers share the cohort; of a single tile they share each batch, and each
    takes the rule's step.
    """
    quantum = 32 // itemsize  # lanes of half a 512-bit vector
    large = (batch_size >= LARGE_BATCH or parts) and not gram
    plain = not (parts or tiles or sparse or gram)
    if batch_size == 1 and plain and lanes <= MOST_LANES_OF_ROWS and parameters >= PARAMETERS_OF_LANES * lanes:
        return Kernel(1)
    if lanes <= FEW_LANES and plain and (not large or batch_size * parameters <= MOST_SHARED_ENTRIES):
        meet_and_step = HALVED_ENTRIES + HALVED_STEP_ROWS * (1 + slots) * parameters
        if lanes > 1:  # which have a thread each: what they share is reading the rows
            meet_and_step *= 4
        row = parameters + (SHUFFLED_ROW_ENTRIES if shuffled else ROW_ENTRIES)
        worth = batch_size * row >= meet_and_step
        return Kernel(1, halves=worth and batch_size >= HALVED_BATCH)
    swept = batch_size <= MOST_SWEPT_ROWS and not sparse
    costs = {1: 2.2, 2: 1.1, 4: 1.05, 8: 1.0} if swept else {1: 2.6, 2: 1.45, 4: 1.2, 8: 1.0}
    shared = 1 if large else 2  # the parts of a large batch keep all workers busy with one tile

    single_rows = swept and batch_size == 1
    meeting = MEETING_ROWS * (1 + 8 / parameters) / batch_size

    def halved(vectors: int) -> bool:
        cached = vectors * quantum * parameters * itemsize <= MOST_HALVED_BYTES
        return cached and plain and not large and lanes <= vectors * quantum and meeting < 0.5

    def cost(vectors: int) -> float:
        tiles = -(-lanes // (vectors * quantum))
        turns = 0.5 + meeting if halved(vectors) else -(-tiles // shared)
        kept = vectors * quantum * parameters * itemsize * (1 + slots) <= MOST_SWEPT_BYTES
        return turns * vectors * (costs[vectors] + NOT_KEPT * (single_rows and not kept))

    best = min(sorted(costs, reverse=True), key=cost)
    kernel = Kernel(best * quantum, sparse=sparse, gram=gram, halves=halved(best))
    if not large:
        return replace(kernel, parts=int(parts))
    return replace(kernel, parts=max(1, min(16, 16 // kernel.tiles(lanes))))


MOST_GRAM_BYTES = 64 << 20  # of X'X


def gram_pays(lanes: int, batch_size: int, n: int, d: int, steps: int) -> bool:
    """Whether steps from `X'X` take at most half of the operations that steps over the rows take.

    Full batches share one `X'X` in all of their steps; smaller ones have one each.
    """
    b = min(batch_size, n)
    rows, shared, own = 4.0 * b * d * lanes, 2.0 * d * d * lanes, float(b) * d * d
    each = shared + (own / steps if b == n else own)
    return 2 * each <= rows and 8 * (d + 1) ** 2 <= MOST_GRAM_BYTES


def gram_parts(parameters: int) -> int:
    """Return the parts of all rows whose `X'X` are summed side by side."""
    return max(2, min(16, MOST_GRAM_BYTES // (8 * parameters**2)))


def point_kernel(parameters: int, itemsize: int, *, sparse: bool) -> Kernel:
    """Return the kernel that evaluates the objective at points: the widest tile that is not too large.

    Which points it is given, and how many, changes neither the kernel nor a point's bits.
    """
    quantum = 32 // itemsize
    lanes = 8 * quantum
    while lanes > quantum and lanes * parameters * itemsize > POINT_BYTES:
        lanes //= 2
    return Kernel(lanes, sparse=sparse)
