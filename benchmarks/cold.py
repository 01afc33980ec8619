"""`python -m benchmarks.cold`: epochs over rows in a file that the system does not hold, read at some bandwidths.

An epoch should take as long as its slower half: computing, as with rows in memory, or reading the file once. Before
each epoch the system is told to let go of the file's pages. A bandwidth needs the right to make a control group of
version 1 for block devices (`/sys/fs/cgroup/blkio`); without it there is the disk's own alone.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.cohorts import make_cohort
from benchmarks.dense import FEATURES, DenseGrid
from benchmarks.mapped import scaled_rows
from benchmarks.timing import seconds
from fastgd.core.threads import Threads

CHUNK = 8 << 20  # bytes that are read at a time by what only reads
GROUPS = Path("/sys/fs/cgroup/blkio")


def let_go(rows: np.memmap, path: Path) -> None:
    """Have the system forget a file's pages, also those that are mapped."""
    rows._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_once(path: Path) -> None:
    """Read a file from its begin to its end."""
    buffer = bytearray(CHUNK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


@contextmanager
def bandwidth(path: Path, bytes_a_second: int) -> Iterator[bool]:
    """Let this process read from the file's disk no faster, and say whether that is so; 0: as fast as it can."""
    group, device = GROUPS / f"fastgd-{os.getpid()}", disk_of(path)
    if not bytes_a_second or device is None or not os.access(GROUPS, os.W_OK):
        yield not bytes_a_second
        return
    group.mkdir()
    try:
        (group / "blkio.throttle.read_bps_device").write_text(f"{device} {bytes_a_second}")
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield True
    finally:
        (GROUPS / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def disk_of(path: Path) -> str | None:
    """Return the numbers of the block device on which a file is; None: it is on none."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    own = [fields for fields in mounts if path.resolve().is_relative_to(fields[4])]
    source = Path(max(own, key=lambda fields: len(fields[4]))[-2])
    if not source.is_block_device():
        return None
    number = source.stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


class ColdEpochs:
    """Epochs over rows in a file, and over the same rows in memory.

    Parameters
    ----------
    path : Path
        Where the file is written.
    rows : int
    standardised : bool
    order : {"sequential", "blocks"}
    """

    def __init__(self, path: Path, rows: int, *, standardised: bool, order: str) -> None:
        self.path = path
        mapped, X = scaled_rows(path, rows, "float64", standardised=standardised)
        self.rows = mapped.source if standardised else mapped
        y, options = (np.arange(rows) % 2).astype(X.dtype), {"batch_size": 64, "order": order}
        self.in_file, self.in_memory = (make_cohort(of, y, DenseGrid.rates, Threads(), **options) for of in (mapped, X))
        for cohort in (self.in_file, self.in_memory):
            cohort.compile()
            cohort.advance(cohort.batches)

    def compute(self) -> float:
        """Return the seconds of an epoch over rows in memory."""
        return seconds(lambda: self.in_memory.advance(self.in_memory.batches))

    def read(self) -> float:
        """Return the seconds in which the file is read once."""
        let_go(self.rows, self.path)
        return seconds(lambda: read_once(self.path))

    def epoch(self) -> float:
        """Return the seconds of an epoch over the file."""
        let_go(self.rows, self.path)
        return seconds(lambda: self.in_file.advance(self.in_file.batches))


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 400_000,
    folder: Annotated[Path | None, typer.Option(help="On the disk that is read.")] = None,
    speeds: Annotated[str, typer.Option(help="MB/s, with commas; 0: the disk's own.")] = "0,1000,300,100",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Compare epochs over a cold file with computing and with reading."""
    columns = ("form", "order", "MB/s", "compute, s", "read, s", "epoch, s", "over the slower")
    table = Table(*columns, title=f"{rows:,} x {FEATURES} float64, {len(DenseGrid.rates)} lanes, b = 64")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for standardised, order in product((False, True), ("sequential", "blocks")):
            epochs = ColdEpochs(Path(place) / "X.npy", rows, standardised=standardised, order=order)
            for speed in map(int, speeds.split(",")):
                with bandwidth(epochs.path, speed * 1_000_000) as throttled:
                    if throttled:
                        taken = [(epochs.compute(), epochs.read(), epochs.epoch()) for _ in range(rounds)]
                        ratio = median(epoch / max(compute, read) for compute, read, epoch in taken)
                        numbers = [f"{median(each):.2f}" for each in zip(*taken, strict=True)]
                        form = "standardised" if standardised else "as they are"
                        table.add_row(form, order, str(speed or "disk"), *numbers, f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
