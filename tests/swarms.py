"""Swarms for tests, and the same steps in plain NumPy: a loop over steps and coordinates."""

import numpy as np

from fastgd.core.random import normal_numbers, stream_keys
from fastgd.core.threads import Threads
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.engine.swarm.swarm import Swarm
from fastgd.optimizers import find
from fastgd.optimizers.rule import Rule
from fastgd.problems import find_landscape

LR = 1e-3


def make_swarm(
    landscape="rosenbrock",
    name="momentum",
    *,
    hyper=(),
    choices=None,
    options=None,
    n=40,
    d=None,
    threads=1,
    seed=0,
    schedule=None,
    params=None,
    starts=None,
    lanes=None,
    **spec,
):
    """A swarm from n random starts; `hyper` are dicts of hyper-parameters, a configuration each.

    `lanes` are those that it has of the whole swarm, one of each configuration at least.
    """
    record, rule = find_landscape(landscape), Rule.of(find(name), choices or {}, options or {})
    d = d or max(2, record.dimension[0]) if record.dimension[1] > 1 else 1
    p, box = record.instance(**(params or {})), record.box(d)
    configurations = [
        [{"lr": LR, **own}.get(key, 0.5 if value is None else value) for key, value in rule.fields.items()]
        for own in hyper or [{}]
    ]
    if starts is None:
        starts = box[:, 0] + np.random.default_rng(1).random((n, d)) * (box[:, 1] - box[:, 0])
    lanes = np.arange(len(starts)) if lanes is None else lanes
    which = np.sort(np.arange(len(starts)) % len(configurations))[lanes]
    made, keys = SwarmSpec(rule, record, p, box, **spec), stream_keys(seed, lanes)
    return Swarm(made, np.array(configurations, float), which, starts[lanes], keys, Threads(threads), schedule)


def steps_in_numpy(swarm, starts, steps, *, seed=0):
    """Positions (steps + 1, d, lanes), and slots and memory after the last step."""
    spec, rule = swarm.spec, swarm.spec.rule
    hyper = swarm.hyper[swarm.which]
    names = list(rule.fields)
    x, keys = starts.T.copy(), stream_keys(seed, np.arange(len(starts)))
    s = tuple(np.array(np.broadcast_to(slot, x.shape)) for slot in rule.start(hyper, x))
    m = tuple(np.full(len(starts), number) for number in rule.memory)
    path = [x]
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            values = hyper.copy()
            if swarm.schedule:
                for name, number in zip(spec.scheduled, swarm.schedule(t - 1, 1)[0], strict=True):
                    column = names.index(name)
                    values[:, column] = number * values[:, column] if name == "lr" else number
            h = rule.instance(dict(zip(names, values.T, strict=True)))
            g = spec.landscape.gradients(spec.p, x, t)
            if spec.noise:
                g = g + spec.noise * np.stack([normal_numbers(keys, (t - 1) * len(x) + j) for j in range(len(x))])
            x, s, m = _step(rule, h, t, x, g, s, m, spec.landscape.values(spec.p, x))
            if spec.landscape.projected:
                x = np.clip(x, spec.box[:, :1], spec.box[:, 1:])
            path.append(np.asarray(rule.functions.readout(h, x, s)))
    return np.stack(path), s, m


def _step(rule, h, t, x, g, s, m, loss):
    functions = rule.functions
    c, m = functions.prepare(h, t, m)
    for measure, conclude in functions.rounds:
        terms = [measure(h, c, x[j], g[j], tuple(slot[j] for slot in s), 0.0) for j in range(len(x))]
        sums = tuple(np.sum(np.broadcast_arrays(*each), axis=0) for each in zip(*terms, strict=True))
        c, m = conclude(h, c, t, m, sums, loss)
    moved = [functions.update(h, c, x[j], g[j], tuple(slot[j] for slot in s)) for j in range(len(x))]
    slots = tuple(np.stack([np.broadcast_to(new[1][k], x.shape[1:]) for new in moved]) for k in range(len(s)))
    return np.stack([new[0] for new in moved]), slots, m
