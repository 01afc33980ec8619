"""A small study on a landscape, of which tests change a few keys."""

from fastgd import Study

FIELDS = {
    "name": "basins",
    "steps": 300,
    "problem": {"landscape": "himmelblau"},
    "starts": {"grid": 20},
    "optimizer": [
        {"name": "momentum", "lr": [1e-3, 5e-3]},
        {"name": "adam", "lr": 0.1},
    ],
}


def study(**changes):
    return Study(**{**FIELDS, **changes})
