"""What the benchmarks track: costs, since asv takes what grows for a regression."""

import importlib
import inspect
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

MODULES = ["dense", "landscapes", "methods", "networks", "rules", "sparse"]
# what is neither a time nor a ratio of times, and grows where things get worse
COUNTS = {"track_evaluations_a_step"}


def tracked():
    """Every benchmark that returns a number of its own: its module, its class and its name."""
    for name in MODULES:
        module = importlib.import_module(f"benchmarks.{name}")
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ == module.__name__ and not cls.__name__.startswith("_"):
                yield from ((module, cls, found) for found in dir(cls) if found.startswith("track_"))


TRACKED = list(tracked())
IDS = [f"{cls.__name__}.{name}" for _, cls, name in TRACKED]


@pytest.mark.parametrize(("module", "cls", "name"), TRACKED, ids=IDS)
def test_units_are_those_of_costs(module, cls, name):
    unit = getattr(cls, name).unit
    assert unit == "seconds" or unit.startswith("times") or name in COUNTS
    assert {"speed", "speedup", "rate", "throughput", "per", "peak"}.isdisjoint(name.removesuffix("_peak").split("_"))


DENSE = [(cls, name) for module, cls, name in TRACKED if module.__name__ == "benchmarks.dense"]


@pytest.mark.parametrize(("cls", "name"), DENSE, ids=[f"{cls.__name__}.{name}" for cls, name in DENSE])
def test_what_takes_longer_is_tracked_as_more(monkeypatch, cls, name):
    from benchmarks import dense

    found = []
    for ours in (1.0, 2.0, 4.0):
        made = cls()
        made.threads, made.X = SimpleNamespace(count=2), np.zeros(8)
        made.start = lambda threads: SimpleNamespace(advance=lambda steps: None, batches=1)
        monkeypatch.setattr(dense, "Threads", lambda count: None)
        monkeypatch.setattr(dense.machine, "measure", lambda threads: SimpleNamespace(gflops_float64=1.0, gbytes=1.0))
        monkeypatch.setattr(dense, "fastest", lambda run, epoch=made.epoch, ours=ours: ours if run == epoch else 1.0)
        found.append(getattr(made, name)(1000, "float64"))
    assert all(after == 2 * before for before, after in itertools.pairwise(found))
