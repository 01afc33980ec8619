"""Cohorts of the real engine on small problems, for tests."""

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest

from fastgd.core.threads import Threads
from fastgd.engine.linear.model import LinearModel
from fastgd.engine.rows.cohort import Cohort
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.shapes import Kernel, choose_kernel
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.rule import Rule
from fastgd.problems import LOSSES

# Changes to the defaults, and rates for 1,000 steps on `problem`; FEW for an optimizer that is not here. Adaptive rules
# with a full batch are unstable at the minimum, where they amplify rounding: these rates do not get there.
CHANGED = {"momentum": 0.5, "alpha": 0.9, "rho": 0.7, "beta1": 0.7, "beta2": 0.95, "eps": 1e-4, "weight_decay": 0.3}
CHANGED |= {"warmup": 200, "lambd": 1e-2, "t0": 500, "lr_decay": 1e-3, "momentum_decay": 0.05}
RATES = {
    "sgd": (0.05, 0.8),
    "momentum": (0.02, 0.2),
    "nesterov": (0.02, 0.2),
    "adagrad": (0.01, 0.1),
    "rmsprop": (0.0001, 0.0003),
    "rmsprop_momentum": (0.0001, 0.0003),
    "rmsprop_centered": (0.0001, 0.0003),
    "adadelta": (1.0, 0.2),
    "asgd": (0.05, 0.8),
    "ftrl": (0.01, 0.1),
    "madgrad": (0.001, 0.003),
    "sm3": (0.01, 0.1),
    "nadam": (0.0005, 0.001),
    "nadamw": (0.0005, 0.001),
    "optimistic_adam": (0.0005, 0.001),
    "schedule_free_sgd": (0.05, 0.8),
    "cocob": (1.0, 0.5),
    "polyak": (0.05, 0.8),
    "momo": (0.05, 0.8),
    "lars": (0.5, 1.0),
    "lamb": (0.003, 0.004),
    "novograd": (0.0001, 0.0003),
    "dog": (1.0, 0.5),
    "dowg": (1.0, 0.5),
    "dadapt_sgd": (1.0, 0.5),
    "dadapt_adam": (1.0, 0.5),
    "prodigy": (1.0, 0.5),
}
FEW = (0.001, 0.003)
# A large decay keeps the parameters from the minimum, which D-Adaptation takes for a distance that grows for ever.
CHANGED_IN = {"dadapt_adam": {"weight_decay": 0.01}}


def problem(n=600, d=9, loss="logistic", seed=0):
    """Rows (n, d) of Gaussians, and targets that fit the loss."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    margin = X @ rng.standard_normal(d) / np.sqrt(d) + 0.5 * rng.standard_normal(n)
    match LOSSES[loss].targets:
        case "binary":
            return X, (margin > 0).astype(float)
        case "unit":
            return X, 1 / (1 + np.exp(-margin))
        case "count":
            return X, np.floor(np.exp(margin))
    return X, margin


def grid(optimizer):
    """Hyper-parameters of four lanes: two rates, each with the defaults and with other values."""
    record = OPTIMIZERS[optimizer]
    defaults = {name: value for name, value in record.hyper.items() if name != "lr"}
    changed = CHANGED | CHANGED_IN.get(optimizer, {})
    others = {name: changed.get(name, 0.9 * (value or 0.1)) for name, value in defaults.items()}
    return [{"lr": lr, **values} for lr, values in product(RATES.get(optimizer, FEW), (defaults, others))]


def variants_of(name):
    """Every combination of an optimizer's categorical choices, the defaults first."""
    options = OPTIMIZERS[name].options
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def variants():
    """Every optimizer of the registry with every combination of its categorical choices."""
    return [(name, options) for name in OPTIMIZERS for options in variants_of(name)]


# Rules that have among them whatever a rule may have (`test_rules.py` looks), and with which `make test` tries what it
# does not try with all of them.
SPREAD = ("sgd", "momentum", "nesterov", "adam", "adamax", "prodigy", "polyak")


def in_full(*case):
    """A case that is tried with the marker `full` alone."""
    return pytest.param(*case, marks=pytest.mark.full)


def spread(cases, tried=SPREAD):
    """Return test parameters: those that are not among the tried have the marker `full`."""
    return [case if case in tried else in_full(*(case if isinstance(case, tuple) else (case,))) for case in cases]


def each_rule(name="name"):
    """Parametrise a test by all rules: those outside of the spread with the marker `full`."""
    return pytest.mark.parametrize(name, spread(OPTIMIZERS))


def each_variant(names=OPTIMIZERS):
    """Parametrise a test by all variants of some rules.

    Without `full` are those of the spread with their defaults, and with every other choice at once.
    """
    cases = [(name, options) for name, options in variants() if name in names]
    tried = [(name, variants_of(name)[at]) for name in SPREAD for at in (0, -1)]
    return pytest.mark.parametrize(
        ("name", "options"), spread(cases, tried), ids=[f"{name}-{options}" for name, options in cases]
    )


TYPES = pytest.mark.parametrize("dtype", spread(["float64", "float32"], ["float64"]))


pool = cache(Threads)


def make_cohort(
    X,
    y,
    lanes,
    optimizer="momentum",
    *,
    options=None,
    loss="logistic",
    batch_size=64,
    l2=0.0,
    shuffled=True,
    order=None,
    intercept=True,
    init="zeros",
    seed=3,
    kernel=None,
    threads=2,
    dtype="float64",
    scheduled=(),
    schedule=None,
    around=None,
    estimator="none",
    line_search=None,
    model=None,
    rows=None,
):
    """Return a cohort with these lanes: mappings of hyper-parameters, completed with the defaults.

    `options` are the rule's choices, and `around` the kinds of the options around it by their tables. A tile of four
    lanes is one of eight in float32, the narrowest that studies get, so that all tests share its kernels.
    """
    if kernel and kernel.lanes == 4 and np.dtype(dtype) == np.float32:
        kernel = replace(kernel, lanes=8)
    record = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    rule = Rule.of(record, options or {}, around)
    hyper = [[lane.get(name, default) for name, default in rule.fields.items()] for lane in lanes]
    tiles, parts = estimator != "none", line_search is not None
    spec = CohortSpec(
        rule=rule,
        hyper=np.array(hyper, np.float64),
        l2=np.broadcast_to(np.asarray(l2, np.float64), len(lanes)).copy(),
        scheduled=("lr",) if line_search else tuple(scheduled),
        loss=LOSSES[loss] if isinstance(loss, str) else loss,
        batch_size=batch_size,
        order=order or ("shuffle" if shuffled else "sequential"),
        model=model or LinearModel(intercept),
        init=init,
        seed=seed,
        kernel=kernel or choose_kernel(len(lanes), batch_size, np.dtype(dtype).itemsize, tiles=tiles, parts=parts),
        estimator=estimator,
        line_search=line_search,
    )
    X = np.ascontiguousarray(X, dtype) if isinstance(X, np.ndarray) else X
    return Cohort(spec, X, y.astype(dtype), pool(threads), schedule, rows)


def in_python(name, w, gradient, steps, values, options=()):
    """The iterate (d,) that is reported after steps of a rule's own functions, called by Python on arrays.

    `gradient(t, w)` is called at each step's point and returns the gradient there and the objective; `values` are
    hyper-parameters: numbers, or (d,), of which the first holds for the trial; `options` are pairs.
    """
    record = OPTIMIZERS[name] if isinstance(name, str) else name
    rule, memory = Rule.of(record, dict(options)), tuple(record.memory.values())
    columns = {key: np.full(len(w), values.get(key, value), float) for key, value in record.hyper.items()}
    h, trial = (rule.instance({key: column[at] for key, column in columns.items()}) for at in (slice(None), 0))
    s = tuple(slot[:, 0] for slot in rule.start(np.array([[column[0] for column in columns.values()]]), w[:, None]))
    for t in range(1, steps + 1):
        (g, loss), c = gradient(t, w), ()
        if hasattr(record.cls, "prepare"):
            c = record.cls.prepare(trial, t, memory) if memory else record.cls.prepare(trial, t)
            c, memory = c if memory else (c, memory)
        if hasattr(record.cls, "measure"):
            sums = tuple(np.sum(term) for term in record.cls.measure(h, c, w, g, s))
            c, memory = record.cls.conclude(trial, c, t, memory, sums, loss)
        w, s = record.cls.rule(h, c, w, g, s)
    return record.cls.readout(h, w, s) if rule.has_readout else w


def relative_error(found, expected):
    """The largest difference, relative to the largest number."""
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


SMALL, SINGLE, PARTS = Kernel(4), Kernel(1), Kernel(4, 2)
HALVES = Kernel(1, halves=True)


def on_kernels(cases, rows=600):
    """Return test parameters (*case, kernel, batch size) for cases that begin with a rule's name.

    Tiles and parts share what is compiled for a rule, and a lane alone has its own: rules outside of the spread have
    the marker `full`.
    """
    shapes = {
        "tile, mini-batch": (SMALL, 64),
        "tile, full batch": (SMALL, rows),
        "single, mini-batch": (SINGLE, 64),
        "parts, full batch": (PARTS, rows),
    }
    return [
        pytest.param(
            *case,
            *shape,
            id=f"{'-'.join(map(str, case))}, {label}",
            marks=[] if case[0] in SPREAD else [pytest.mark.full],
        )
        for case in cases
        for label, shape in shapes.items()
    ]
