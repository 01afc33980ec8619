"""Pictures of basins and phases: what the cells show."""

import matplotlib as mpl
import numpy as np
import pytest
from landscape_results import phases_in, run, swarm_in

from fastgd.plots import axes
from fastgd.plots.configurations import chosen_of
from fastgd.plots.landscapes.basin_colors import CYCLING, DIVERGED, by_minimum, hues
from fastgd.plots.landscapes.basins import _read, grid_of
from fastgd.plots.readings import methods
from fastgd.plots.studies.phase import PHASES, _ends


@pytest.fixture(scope="module")
def swarm(tmp_path_factory):
    return swarm_in(tmp_path_factory.mktemp("landscapes"))


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    return phases_in(tmp_path_factory.mktemp("landscapes"))


def test_basins_are_an_image_of_the_grid(swarm):
    found = axes(swarm, "basins")
    trials = swarm.trials
    minima = np.array(swarm.surfaces[0].info.minima)
    for ax, row in zip(found, chosen_of(swarm, methods(swarm), None).itertuples(), strict=True):
        (image,) = ax.images
        pixels = image.get_array()
        assert pixels.shape == (20, 30, 4)
        assert image.origin == "lower"
        own = trials[trials["trial_id"] == row.trial_id].sort_values("start")
        lost = (own["status"] == "diverged").to_numpy().reshape(30, 20).T
        np.testing.assert_array_equal(pixels[..., 3] == 0, lost)
        at = own["minimum"].to_numpy(float, na_value=-1).reshape(30, 20).T
        for k in {int(k) for k in np.unique(at) if k >= 0}:
            shades = pixels[at == k][:, :3] / 255.0
            ratios = shades / hues(minima)[k]
            np.testing.assert_allclose(ratios - ratios[:, :1], 0, atol=0.01)  # one hue, lighter or darker
    edges = found[0].images[0].get_extent()
    assert edges[0] == pytest.approx(-5 - 10 / 29 / 2)


def test_slow_starts_are_darker(swarm):
    row = chosen_of(swarm, methods(swarm), None).iloc[0]
    one = _read(swarm, row, (0, 1))
    norm = mpl.colors.LogNorm(10, 300, clip=True)
    colors = by_minimum(np.zeros(3, int), np.array([10.0, 50.0, 300.0]), hues(np.zeros((1, 2))), norm)
    assert (np.diff(colors[:, :3].astype(int).sum(axis=1)) < 0).all()
    assert {int(code) for code in np.unique(one.codes)} <= {0, 1, 2, 3, *range(DIVERGED, 0)}
    greys = by_minimum(np.array([CYCLING, DIVERGED]), np.full(2, np.nan), hues(np.zeros((1, 2))), norm)
    assert greys[:, 3].tolist() == [255, 0]


def test_grids_are_found_in_any_order():
    x, y = np.linspace(-1, 1, 5), np.linspace(0, 3, 4)
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    order = np.random.default_rng(0).permutation(20)
    found = grid_of(points[order])
    np.testing.assert_array_equal(points[order][found[2]], points.reshape(5, 4, 2))
    assert grid_of(points[:-1]) is None
    assert grid_of(np.random.default_rng(0).random((20, 2))) is None
    assert grid_of(np.repeat(points[:10], 2, axis=0)) is None


def test_starts_off_a_grid_are_dots_or_the_nearest(tmp_path, monkeypatch):
    results = run(tmp_path / "drawn", starts={"uniform": 300}, record={"trajectories": 0})
    ax = axes(results, "basins")[0]
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 300
    monkeypatch.setattr("fastgd.plots.landscapes.basins._DOTS", 100)
    monkeypatch.setattr("fastgd.plots.landscapes.basins._PIXELS", 50)
    (image,) = axes(results, "basins")[0].images
    assert image.get_array().shape == (50, 50, 4)


def test_many_minima_share_colours_but_not_with_the_lowest():
    minima = np.stack(np.meshgrid(np.arange(5), np.arange(5)), axis=-1).reshape(-1, 2).astype(float)
    found = [tuple(color) for color in hues(minima)]
    assert found.count(found[0]) == 1
    assert len(set(found)) == 8
    for a, b in [(i, i + 1) for i in range(24) if i % 5 < 4]:
        assert found[a] != found[b]


def test_phases_are_the_most_frequent_status(phases):
    (ax,) = axes(phases, "phase")
    classes, steps = (mesh.get_array() for mesh in ax.collections)
    trials = phases.trials.astype({"status": str})
    names = list(PHASES)
    for row, momentum in enumerate(sorted(trials["momentum"].unique())):
        for column, lr in enumerate(sorted(trials["lr"].unique())):
            own = trials[(trials["lr"] == lr) & (trials["momentum"] == momentum)]
            counts = own["status"].value_counts()
            worst = max((name for name in counts.index if counts[name] == counts.max()), key=names.index)
            assert names[int(classes[row, column])] == worst
            if worst == "converged":
                reached = own.loc[own["status"] == "converged", "steps_to_tolerance"]
                assert steps[row, column] == reached.median()
            else:
                assert np.ma.getmaskarray(steps)[row, column]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert {"diverged", "converged"} <= {names[code] for code in _ends(phases)["phase"]}
