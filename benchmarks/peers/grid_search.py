"""`python -m benchmarks.peers.grid_search`: searches of scikit-learn's form against `GridSearchCV(SGDClassifier)`.

Both train every candidate on every fold and score it; nothing is refitted. Ours is timed without curves, which the
other has not, and with them: the losses over all training and held-out rows after each epoch. It is run once before, so
that all is compiled. What scikit-learn has no form of (mini-batches, softmax) is compared with what it has instead.
"""

import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from benchmarks.sparse import FEATURES, NONZEROS, zipf
from benchmarks.timing import seconds
from fastgd.core.threads import available_threads
from fastgd.datasets.sources.synthetic import Synthetic, make
from fastgd.sklearn import GDClassifier, GDSearchCV

ALPHAS = [1e-6, 1e-5, 1e-4, 1e-3]
FOLDS = 5


@dataclass
class Job:
    """A search by both: `ours` and `theirs` make them, `target` is the ratio of their times that is aimed at."""

    name: str
    X: Any
    y: np.ndarray
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    target: float


def ours_over(rates: np.ndarray, alphas: list[float], cv: Any, scoring: str, **params: Any) -> Callable[[], Any]:
    """Return what makes our search over rates and penalties."""
    model = GDClassifier(**{"optimizer": "sgd", "tol": None, "random_state": 0} | params)
    grid = {"eta0": rates.tolist(), "alpha": alphas}
    return lambda: GDSearchCV(model, grid, cv=cv, scoring=scoring, refit=False)


def theirs_over(rates: np.ndarray, alphas: list[float], cv: Any, scoring: str, **params: Any) -> Callable[[], Any]:
    """Return what makes scikit-learn's search over the same, on all processors."""
    model = SGDClassifier(loss="log_loss", learning_rate="constant", tol=None, random_state=0, **params)
    grid = {"eta0": rates.tolist(), "alpha": alphas}
    jobs = available_threads()
    return lambda: GridSearchCV(model, grid, cv=cv, scoring=scoring, refit=False, n_jobs=jobs)


def dense_jobs(rows: int) -> list[Job]:
    """Return 64 candidates over dense rows, one at a time and 64 at a time."""
    data = make(Synthetic(n=rows, d=100))
    cv, y = KFold(FOLDS), np.asarray(data.y)
    rates, scoring = np.geomspace(1e-5, 1e-2, 16), "neg_log_loss"
    theirs = theirs_over(rates, ALPHAS, cv, scoring, max_iter=5)
    one = ours_over(rates, ALPHAS, cv, scoring, max_iter=5, batch_size=1)
    many = ours_over(rates * 64, ALPHAS, cv, scoring, max_iter=5, batch_size=64)
    shape = f"{rows:,} x 100 dense, {len(rates) * len(ALPHAS)} candidates x {FOLDS} folds x 5 epochs"
    return [
        Job(f"{shape}, b = 1", data.X, y, one, theirs, 15),
        Job(f"{shape}, ours b = 64", data.X, y, many, theirs, 40),
    ]


def sparse_job(rows: int) -> Job:
    """Return 64 candidates over sparse rows."""
    X, y = zipf(rows)
    X.indptr = X.indptr.astype(np.int32)
    cv, rates, scoring = KFold(FOLDS), np.geomspace(1e-4, 1e-1, 16), "neg_log_loss"
    name = f"{rows:,} x {FEATURES:,} sparse, {NONZEROS} entries, 64 candidates x {FOLDS} folds x 5 epochs, b = 1"
    ours = ours_over(rates, ALPHAS, cv, scoring, max_iter=5, batch_size=1)
    return Job(name, X, y, ours, theirs_over(rates, ALPHAS, cv, scoring, max_iter=5), 12)


def digits_job(epochs: int) -> Job:
    """Return 100 candidates over digits: softmax against one class against all others."""
    X, y = load_digits(return_X_y=True)
    X, cv = StandardScaler().fit_transform(X), StratifiedKFold(FOLDS)
    alphas, scoring = np.geomspace(1e-6, 1e-1, 10).tolist(), "accuracy"
    ours = ours_over(np.geomspace(1e-2, 1e0, 10), alphas, cv, scoring, max_iter=epochs, batch_size=32)
    theirs = theirs_over(np.geomspace(1e-4, 1e-1, 10), alphas, cv, scoring, max_iter=epochs)
    return Job(f"digits, softmax, 100 candidates x {FOLDS} folds x {epochs} epochs", X, y, ours, theirs, 10)


def run_job(job: Job, rounds: int) -> tuple[list[str], float]:
    """Return a row of the table, and the ratio of times."""
    job.ours().fit(job.X, job.y)  # compiles
    found: dict[str, float] = {}
    times: dict[str, list[float]] = {"scores": [], "curves": [], "theirs": []}
    for _ in range(rounds):
        searches = job.ours().set_params(curves=False), job.ours(), job.theirs()
        for name, search in zip(times, searches, strict=True):
            times[name].append(seconds(lambda search=search: search.fit(job.X, job.y)))
            found[name] = np.nanmax(search.cv_results_["mean_test_score"])
    ratio, with_curves = (
        median(b / a for a, b in zip(times[name], times["theirs"], strict=True)) for name in ("scores", "curves")
    )
    each = [f"{median(of):.2f}" for of in times.values()]
    best = [f"{found[name]:.5f}" for name in ("scores", "theirs")]
    return [job.name, *each, f"{ratio:.1f}", f"{job.target:g}", f"{with_curves:.1f}", *best], ratio


def memory_table(rows: int) -> Table:
    """Return what a search allocates at the most beside the data, by its number of folds."""
    data = make(Synthetic(n=rows, d=100))
    title = f"memory of a search beside the data, {data.X.nbytes / 1e6:.0f} MB"
    table = Table("folds", "MB", title=title, title_justify="left")
    for folds in (2, 5, 10):
        search = ours_over(np.geomspace(1e-5, 1e-2, 16), ALPHAS, KFold(folds), "neg_log_loss", max_iter=1)()
        search.fit(data.X[:1000], data.y[:1000])
        tracemalloc.start()
        search.fit(data.X, data.y)
        table.add_row(str(folds), f"{tracemalloc.get_traced_memory()[1] / 1e6:.1f}")
        tracemalloc.stop()
    return table


def main(
    rounds: Annotated[int, typer.Option(min=1, help="In which both take turns.")] = 3,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Of the rows.")] = 1.0,
    only: Annotated[str, typer.Option(help="Jobs whose names have this text.")] = "",
) -> None:
    """Time searches and scores of both."""
    warnings.simplefilter("ignore")
    rows, sparse_rows = round(100_000 * share), round(50_000 * share)
    columns = ("search", "ours, s", "with curves, s", "theirs, s", "ratio", "aim", "with curves")
    console, table = Console(), Table(*columns, "our best score", "their best score")
    for job in (*dense_jobs(rows), sparse_job(sparse_rows), digits_job(max(1, round(50 * share)))):
        if only in job.name:
            row, _ = run_job(job, rounds)
            table.add_row(*row)
    console.print(table)
    console.print(memory_table(rows))


if __name__ == "__main__":
    typer.run(main)
