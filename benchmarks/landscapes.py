"""Swarms on landscapes: steps from many starts against JAX, storing checkpoints, and the use of a second thread."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastgd
from benchmarks.profiles import sized
from benchmarks.timing import fastest, ratio
from fastgd import Study
from fastgd.core.random import stream_keys
from fastgd.core.threads import Threads
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.engine.swarm.swarm import Swarm
from fastgd.optimizers import find
from fastgd.optimizers.rule import Rule
from fastgd.problems import find_landscape

STARTS = sized(1_000, 10_000, 100_000)
MANY = sized(5_000, 50_000, 1_000_000)
IMAGE = sized(50, 200, 1_000)
STEPS = 1_000
RULES = {"sgd": 1e-4, "momentum": 1e-5, "adam": 1e-2}
DTYPES = ["float64", "float32"]


def starts_on(landscape: str, count: int) -> np.ndarray[Any, Any]:
    """Return random starts (count, 2) in a landscape's box."""
    box = find_landscape(landscape).box(2)
    return box[:, 0] + np.random.default_rng(0).random((count, 2)) * (box[:, 1] - box[:, 0])


def swarm_steps(optimizer: str, dtype: str, count: int, threads: Threads) -> Callable[[], None]:
    """Return a thousand steps on Rosenbrock's valley from so many starts, compiled, without checkpoints."""
    record, landscape = find(optimizer), find_landscape("rosenbrock")
    rule = Rule.of(record, {})
    hyper = [[RULES[optimizer] if name == "lr" else value for name, value in rule.fields.items()]]
    spec = SwarmSpec(rule, landscape, landscape.instance(), landscape.box(2), dtype=dtype)
    lanes = np.zeros(count, np.int64)
    keys = stream_keys(0, np.arange(count))
    swarm = Swarm(spec, np.array(hyper), lanes, starts_on("rosenbrock", count), keys, threads)
    swarm.compile()
    swarm.advance(STEPS)
    return lambda: swarm.advance(STEPS)


def jax_steps(optimizer: str, dtype: str, count: int) -> Callable[[], object]:
    """Return the same in JAX: `lax.scan` over the steps, `vmap` over the starts, its gradient by `grad`."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", dtype == "float64")
    lr = RULES[optimizer]

    def value(x: Any) -> Any:
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    def step(carry: Any, t: Any) -> tuple[Any, None]:
        x, m, v = carry
        g = jax.grad(value)(x)
        if optimizer == "sgd":
            return (x - lr * g, m, v), None
        if optimizer == "momentum":
            m = 0.9 * m + g
            return (x - lr * m, m, v), None
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return (x - lr * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v), None

    def descend(x: Any) -> Any:
        return jax.lax.scan(step, (x, x * 0, x * 0), jnp.arange(1, STEPS + 1, dtype=x.dtype))[0][0]

    run, X = jax.jit(jax.vmap(descend)), jnp.asarray(starts_on("rosenbrock", count), dtype)
    run(X).block_until_ready()
    return lambda: run(X).block_until_ready()


class SwarmSteps:
    """A thousand steps from many starts, against JAX."""

    param_names = ["starts", "optimizer", "dtype"]
    params = [[STARTS], list(RULES), DTYPES]
    number = 1
    timeout = 600

    def setup(self, starts: int, optimizer: str, dtype: str) -> None:
        self.ours = swarm_steps(optimizer, dtype, starts, Threads())

    def time_steps(self, *_) -> None:
        self.ours()

    def track_time_over_jax(self, starts: int, optimizer: str, dtype: str) -> float:
        try:
            peer = jax_steps(optimizer, dtype, starts)
        except ImportError:
            return float("nan")
        return ratio(self.ours, peer)

    track_time_over_jax.unit = "times"


class SwarmThreads:
    """What a second thread is worth."""

    param_names = ["starts", "optimizer"]
    params = [[STARTS], list(RULES)]
    number = 1
    timeout = 600

    def setup(self, starts: int, optimizer: str) -> None:
        self.one, self.two = (swarm_steps(optimizer, "float64", starts, Threads(count)) for count in (1, 2))

    def track_time_of_two_threads_over_half_of_one(self, *_) -> float:
        return 2 * ratio(self.two, self.one)

    track_time_of_two_threads_over_half_of_one.unit = "times"


def study(
    starts: dict[str, int],
    steps: int,
    checkpoints: int,
    landscape: str = "rosenbrock",
    optimizer: str = "momentum",
    dtype: str = "float64",
) -> Study:
    """Return a study of one optimizer from many starts."""
    rate = {"rosenbrock": RULES[optimizer], "himmelblau": 5e-3}[landscape]
    return Study(
        name="swarm",
        steps=steps,
        problem={"landscape": landscape},
        starts=starts,
        optimizer=[{"name": optimizer, "lr": rate}],
        record={"every": {"log": checkpoints}},
        dtype=dtype,
    )


class SwarmStore:
    """Many starts with ten checkpoints, to Parquet: the time of a row, of the whole run and of storing alone."""

    param_names = ["starts"]
    params = [[MANY]]
    number = 1
    timeout = 900

    def setup(self, starts: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.study = study({"uniform": starts}, STEPS, 10)
        fastgd.run(study({"uniform": 100}, 20, 2), self.folder / "warm")
        self.results = fastgd.run(self.study, self.folder / "run")

    def teardown(self, _) -> None:
        shutil.rmtree(self.folder)

    def track_time_of_a_row(self, _) -> float:
        rows = self.results.curves_dataset.count_rows()
        return sum(self.results.timings.values()) / rows

    def track_time_of_storing_a_row(self, _) -> float:
        rows = self.results.curves_dataset.count_rows()
        return self.results.timings["store"] / rows

    track_time_of_a_row.unit = track_time_of_storing_a_row.unit = "seconds"


class BasinImage:
    """An image of basins: a run from each of its points, and the picture."""

    param_names = ["points"]
    params = [[IMAGE]]
    number = 1
    timeout = 600

    def setup(self, points: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.study = study({"grid": points}, 500, 2, "himmelblau")
        fastgd.run(study({"grid": 10}, 500, 2, "himmelblau"), self.folder / "warm")

    def teardown(self, _) -> None:
        shutil.rmtree(self.folder)

    def image(self) -> None:
        from fastgd import plots

        results = fastgd.run(self.study, self.folder / "run", fresh=True)
        plots.save(plots.plot(results, "basins"), self.folder / "basins.png")

    def time_image(self, _) -> None:
        self.image()

    def track_seconds(self, _) -> float:
        return fastest(self.image)

    track_seconds.unit = "seconds"
