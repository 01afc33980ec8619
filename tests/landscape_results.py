"""Results of small studies on landscapes, for the tests of their pictures."""

import fastgd
from fastgd import Study

STARTS = [[0.0, 0.0], [-4.0, 4.0], [4.0, -4.0]]


def run(path, **changes):
    fields = {
        "name": "walks",
        "steps": 60,
        "problem": {"landscape": "himmelblau"},
        "starts": {"points": STARTS},
        "optimizer": [{"name": "momentum", "lr": [1e-3, 5e-3]}, {"name": "rmsprop", "lr": 0.05}],
    }
    return fastgd.run(Study(**{**fields, **changes}), path)


def walked_in(folder):
    """Three configurations from three starts, of which every step was recorded."""
    return run(folder / "walked")


def swarm_in(folder):
    """900 starts on a grid, of which some oscillate or diverge."""
    changes = {"starts": {"grid": [30, 20]}, "steps": 300, "record": {"trajectories": 0}}
    optimizers = [{"name": "momentum", "lr": [1e-3, 0.02]}, {"name": "rmsprop", "lr": 0.5}]
    return run(folder / "swarm", optimizer=optimizers, **changes)


def phases_in(folder):
    """A grid of rates and momenta from those starts."""
    grid = {"lr": {"log": [1e-4, 1.0], "num": 12}, "momentum": {"linear": [0.0, 0.9], "num": 10}}
    optimizer = {"name": "momentum", **grid}
    return run(folder / "phases", optimizer=optimizer, record={"trajectories": 0})
