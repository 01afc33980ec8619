"""`python -m benchmarks.peers.sparse`: an epoch on sparse rows, one at a time, against scikit-learn's SGD."""

from collections.abc import Callable
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.cohorts import make_cohort
from benchmarks.sparse import DTYPES, FEATURES, NONZEROS, RATES, epoch_of, on_all_cores, scikit_learn, zipf
from benchmarks.timing import seconds
from fastgd.core.threads import Threads, available_threads

Runs = dict[str, Callable[[], object]]
WIDTHS = [10_000, 100_000, 1_000_000, 5_000_000]
WIDE_ROWS, WIDE_LANES = 20_000, 8


def alternated(runs: Runs, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return times


def jobs(rows: int, dtype: str) -> Runs:
    """Return what is compared: SGD in two orders and alone, Adam in two modes, and scikit-learn's SGD."""
    X, y = zipf(rows, dtype=dtype)
    wide, threads = zipf(rows)[0], Threads()

    def ours(rates=RATES, pool=threads, **options) -> Callable[[], None]:
        return epoch_of(make_cohort(X, y, rates, pool, batch_size=1, **options))

    return {
        "scikit-learn": on_all_cores(scikit_learn(wide, y.astype(float))),
        "scikit-learn, shuffled": on_all_cores(scikit_learn(wide, y.astype(float), shuffle=True)),
        "scikit-learn, one thread": scikit_learn(wide, y.astype(float)),
        "SGD, 64 rates": ours(optimizer="sgd"),
        "SGD, 64 rates, shuffled": ours(optimizer="sgd", order="shuffle"),
        "SGD, one rate, one thread": ours(RATES[:1], Threads(1), optimizer="sgd"),
        "Adam, 64 rates, masked": ours(RATES * 1e-2, optimizer="adam", sparse="masked"),
        "Adam, 64 rates, exact": ours(RATES * 1e-2, optimizer="adam"),
    }


def ratios(times: dict[str, list[float]]) -> dict[str, tuple[float, str]]:
    """Return the medians of the ratios that are asked for, with what they are."""
    fits = len(RATES) / available_threads()

    def ratio(one: str, other: str) -> float:
        return median(a / b for a, b in zip(times[one], times[other], strict=True))

    sgd = "SGD, 64 rates"
    return {
        sgd: (fits * ratio("scikit-learn", sgd), "times as fast as scikit-learn run 64 times on all cores"),
        f"{sgd}, shuffled": (fits * ratio("scikit-learn, shuffled", f"{sgd}, shuffled"), "the same, both shuffled"),
        "SGD, one rate, one thread": (
            ratio("scikit-learn, one thread", "SGD, one rate, one thread"),
            "times as fast as scikit-learn",
        ),
        "Adam, 64 rates, masked": (ratio("Adam, 64 rates, masked", sgd), "times SGD's time"),
        "Adam, 64 rates, exact": (ratio("Adam, 64 rates, exact", "Adam, 64 rates, masked"), "times masked Adam's time"),
    }


def wide_table(rounds: int) -> Table:
    """Return the time of an epoch of exact Adam against the number of features."""
    title = f"exact Adam, {WIDE_LANES} rates, {WIDE_ROWS:,} rows x {NONZEROS} entries, float64: training alone"
    table = Table("features", "epoch, s", "reading all parameters, s", title=title, title_justify="left")
    for features in WIDTHS:
        X, y = zipf(WIDE_ROWS, features)
        cohort = make_cohort(X, y, RATES[:WIDE_LANES] * 1e-2, Threads(), batch_size=1, optimizer="adam")
        epoch = epoch_of(cohort)
        times = [median(seconds(run) for _ in range(rounds)) for run in (epoch, cohort.iterate)]
        table.add_row(f"{features:,}", *(f"{time:.3f}" for time in times))
    return table


def main(
    rows: Annotated[int, typer.Option("--rows", "-n", min=1)] = 200_000,
    rounds: Annotated[int, typer.Option(min=1, help="In which the contenders take turns.")] = 5,
    wide: Annotated[bool, typer.Option(help="Also up to five million features.")] = True,
) -> None:
    """Time an epoch of logistic regression at b = 1 on rows with Zipf-distributed features, without checkpoints."""
    console = Console()
    for dtype in DTYPES:
        times = alternated(jobs(rows, dtype), rounds)
        title = f"{rows:,} x {FEATURES:,}, {NONZEROS} entries a row, b = 1, {dtype} (scikit-learn: float64)"
        table = Table("job", "epoch, s", "ratio", "", title=title, title_justify="left")
        found = ratios(times)
        for name, measured in times.items():
            number, text = found.get(name, (None, "one fit" if "one" in name else "a fit on each core"))
            table.add_row(name, f"{median(measured):.3f}", f"{number:.2f}" if number else "", text)
        console.print(table)
    if wide:
        console.print(wide_table(rounds))


if __name__ == "__main__":
    typer.run(main)
