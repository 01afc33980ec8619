"""Pictures of studies on landscapes: what they show, checked on the artists, and what they say where they cannot."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from store_samples import write_study
from test_plots import inside

import fastgd
from fastgd import InputError, Study
from fastgd.analysis import load
from fastgd.plots import PLOTS, axes, plot, save
from fastgd.plots._basin_colors import CYCLING, DIVERGED, by_minimum, hues
from fastgd.plots._basins import _read, grid_of
from fastgd.plots._bundles import bundles_of
from fastgd.plots._configurations import chosen_of, ranked
from fastgd.plots._map import Height, apart, around, levels_of
from fastgd.plots._phase import PHASES, _ends
from fastgd.plots._style import looks, methods
from fastgd.plots._surface import Relief
from fastgd.plots._walks import walks_of

WALKS = ("contour", "surface", "traces", "animate")
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


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    return run(tmp_path_factory.mktemp("landscapes") / "walked")


@pytest.fixture(scope="module")
def swarm(tmp_path_factory):
    """900 starts on a grid, of which some oscillate or diverge."""
    changes = {"starts": {"grid": [30, 20]}, "steps": 300, "record": {"trajectories": 0}}
    optimizers = [{"name": "momentum", "lr": [1e-3, 0.02]}, {"name": "rmsprop", "lr": 0.5}]
    return run(tmp_path_factory.mktemp("landscapes") / "swarm", optimizer=optimizers, **changes)


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    grid = {"lr": {"log": [1e-4, 1.0], "num": 12}, "momentum": {"linear": [0.0, 0.9], "num": 10}}
    optimizer = {"name": "momentum", **grid}
    return run(tmp_path_factory.mktemp("landscapes") / "phases", optimizer=optimizer, record={"trajectories": 0})


def recorded(results, walk):
    """The stored iterates (k, d) of a walk."""
    steps = results.trajectories
    own = steps[(steps["trial_id"] == walk.trial_id) & (steps["start"] == walk.start)]
    return own.pivot(index="step", columns="coordinate", values="x").to_numpy()


# --- what all have in common ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("walked", kind) for kind in (*WALKS, "curves", "sensitivity", "schedule")]
    + [("swarm", kind) for kind in ("basins", "curves", "sensitivity")]
    + [("phases", kind) for kind in ("phase", "basins", "heatmap", "curves")],
)
def test_every_kind_is_drawn_whole(name, kind, request):
    results = request.getfixturevalue(name)
    if (name, kind) == ("phases", "basins"):
        with pytest.raises(InputError, match=r"has 3: run a study with \[starts\] grid"):
            plot(results, kind)
        return
    before = dict(mpl.rcParams)
    figure = plot(results, kind)
    inside(figure)
    assert dict(mpl.rcParams) == before
    found = axes(results, kind)
    assert len(found) == len(figure.axes) - sum(one.get_label() == "<colorbar>" for one in figure.axes) > 0


@pytest.mark.parametrize(
    ("name", "kind", "suffix"),
    [
        ("walked", "contour", ".png"),
        ("walked", "contour", ".svg"),
        ("walked", "surface", ".pdf"),
        ("walked", "traces", ".svg"),
        ("walked", "animate", ".png"),
        ("swarm", "basins", ".pdf"),
        ("phases", "phase", ".png"),
    ],
)
def test_the_same_picture_gives_the_same_file(name, kind, suffix, request, tmp_path):
    results = request.getfixturevalue(name)
    for file in "ab":
        save(plot(results, kind), tmp_path / f"{file}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("walked", "contour", {}),
        ("walked", "surface", {}),
        ("swarm", "basins", {"trials": 0}),
        ("phases", "phase", {"method": "momentum"}),
    ],
)
def test_a_panel_goes_into_axes_of_ones_own(name, kind, options, request):
    results = request.getfixturevalue(name)
    if "trials" in options:
        options = {"trials": ranked(results)["trial_ids"][0][:1]}
    own = Figure().add_subplot(1, 2, 2, projection="3d" if kind == "surface" else None)
    assert axes(results, kind, axes=own, **options) == [own]
    assert plot(results, kind, axes=own, **options) is own.figure
    assert own.has_data()


@pytest.mark.parametrize("kind", ["contour", "surface"])
def test_the_surface_of_a_study_over_data_is_drawn_alone(kind, tmp_path):
    fields = {
        "name": "neuron",
        "epochs": 2,
        "problem": {"loss": "sigmoid_squared", "intercept": True},
        "optimizer": [{"name": "sgd", "lr": 1.0}],
    }
    data = (np.array([[0.5], [2.5]]), np.array([0.2, 0.9]))
    without = fastgd.run(fastgd.Study(**fields), tmp_path / "without", data=data)
    with pytest.raises(InputError, match=r"add a table \[surface\]"):
        plot(without, kind)
    study = fastgd.Study(**fields, surface={"low": -6, "high": 6, "num": 30})
    figure = plot(fastgd.run(study, tmp_path / "with", data=data), kind)
    save(figure, tmp_path / "map.png")
    assert figure.axes[0].get_xlabel() == "$w_{0}$"


@pytest.mark.parametrize("kind", ["basins", "phase", "traces", "animate"])
def test_studies_over_data_are_refused(kind, tmp_path):
    results = load(write_study(tmp_path / "data", ["sgd", "adam"], rates=3, epochs=2))
    with pytest.raises(InputError, match=f"{kind}.*holds a study over data"):
        plot(results, kind)


@pytest.mark.parametrize("kind", WALKS)
def test_without_trajectories_it_says_what_is_needed(kind, swarm):
    with pytest.raises(InputError, match=r"every step of some trials.*\[record\] trajectories = 1"):
        plot(swarm, kind)


def test_what_cannot_be_drawn_is_one_message(walked, swarm, phases, tmp_path):
    own = Figure().subplots()
    for results, kind, options, text in (
        (walked, "contour", {"trial": "x"}, "no option 'trial'; did you mean 'trials'"),
        (walked, "contour", {"trials": "nobody"}, "no trial 'nobody' to draw"),
        (walked, "contour", {"starts": [0, 7]}, "from start 7 were not recorded.*there are 0, 1, 2"),
        (walked, "surface", {"problem": "himmelblow"}, "no problem 'himmelblow'.*did you mean 'himmelblau'"),
        (walked, "traces", {"coordinates": [2]}, "no coordinate 2"),
        (walked, "phase", {}, "a phase diagram needs two hyper-parameters that vary"),
        (walked, "rates", {}, "on landscapes.*'traces'"),
        (phases, "phase", {"y": "mementum"}, "no hyper-parameter 'mementum'; did you mean 'momentum'"),
        (phases, "phase", {"method": "adam"}, "no method 'adam'"),
        (swarm, "basins", {"color": "step"}, "coloured by 'step'; did you mean 'steps'"),
        (swarm, "basins", {"problem": "beale"}, "no problem 'beale'"),
        (swarm, "basins", {"axes": own}, "axes take one configuration"),
        (walked, "curves", {"x": "epoch"}, "no horizontal axis 'epoch'; valid: step"),
    ):
        with pytest.raises(InputError, match=text):
            plot(results, kind, **options)
    with pytest.raises(InputError, match="this picture does not move"):
        save(plot(walked, "contour"), tmp_path / "a.gif")


def test_other_numbers_of_coordinates(tmp_path):
    momentum = {"name": "momentum", "lr": [1e-4, 2e-4], "momentum": [0.5, 0.9]}
    line = run(
        tmp_path / "one", problem={"landscape": "rastrigin", "dimension": 1}, starts={"grid": 30}, optimizer=momentum
    )
    for kind in ("contour", "surface", "animate", "basins"):
        with pytest.raises(InputError, match=f"{kind}.*needs two coordinates"):
            plot(line, kind)
    assert len(axes(line, "phase")) == 1
    space = run(
        tmp_path / "three",
        problem={"landscape": "rastrigin", "dimension": 3},
        starts={"uniform": 20},
        optimizer=momentum,
        record={"trajectories": 1},
    )
    (cut,) = axes(space, "contour")
    assert cut.get_title(loc="right") == "a cut through the lowest minimum"
    for kind in ("surface", "traces", "basins"):
        inside(plot(space, kind))


# --- configurations and walks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["walked", "swarm", "phases"])
def test_the_ranking_is_that_of_the_results(name, request):
    results = request.getfixturevalue(name)
    found, expected = ranked(results), results.best()
    np.testing.assert_array_equal(found["value"], expected["final_loss"])
    for column in ("optimizer", "lr"):
        assert found[column].tolist() == expected[column].tolist()
    best = chosen_of(results, methods(results), None)
    assert best["method"].tolist() == methods(results)
    assert all(text.startswith("lr ") for text in best["settings"])


def test_walks_are_what_was_stored(walked):
    walks = walks_of(walked, "contour")
    assert [(walk.method, walk.start) for walk in walks] == [
        (method, start) for method in ("momentum", "rmsprop") for start in range(3)
    ]
    for walk in walks:
        np.testing.assert_array_equal(walk.x, recorded(walked, walk))
        np.testing.assert_array_equal(walk.x[0], STARTS[walk.start])
        np.testing.assert_array_equal(walk.step, np.arange(61))
        assert walk.more == {}
    (whole,) = (walk for walk in walks_of(walked, "traces", starts=1, whole=True) if walk.method == "rmsprop")
    assert set(whole.more) == {"gradient", "effective_lr", "slot.mean_square"}
    assert len({walk.trial_id for walk in walks_of(walked, "contour", "all")}) == 3


# --- maps -------------------------------------------------------------------------------------------------------------


def test_a_contour_shows_walks_ends_and_minima(walked):
    (ax,) = axes(walked, "contour", starts=1)
    lines = {line.get_gid(): line for line in ax.lines if line.get_gid()}
    walks = walks_of(walked, "contour", starts=1)
    colors = {name: look.color for name, look in looks(methods(walked)).items()}
    assert len(lines) == len(walks) == 2
    for walk in walks:
        line = lines[f"walk {walk.trial_id}/1"]
        np.testing.assert_array_equal(np.column_stack(line.get_data()), recorded(walked, walk))
        assert line.get_color() == colors[walk.method]
        assert [list(walk.x[-1])] in [np.column_stack(other.get_data()).tolist() for other in ax.lines]
    points = [tuple(point) for line in ax.lines for point in np.column_stack(line.get_data())]
    (surface,) = walked.surfaces
    assert all(tuple(minimum) in points for minimum in surface.info.minima)
    assert ax.get_xlim() == (surface.x[0], surface.x[-1])
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == [walk.name for walk in walks]


def test_levels_show_valleys_and_plains(walked):
    (surface,) = walked.surfaces
    height = Height(surface)
    heights = height(surface.loss)
    np.testing.assert_allclose(height.loss(heights), surface.loss, atol=1e-9)
    levels = levels_of(heights)
    assert (np.diff(levels) > 0).all()
    assert (levels[0], levels[-1]) == (heights.min(), heights.max())
    assert np.mean(heights < levels[2]) > 0.01  # the lowest band is not empty


def test_a_zoomed_map_holds_the_walks(walked):
    (surface,) = walked.surfaces
    path = walks_of(walked, "contour", starts=0)[0].path
    part = around(surface, [path])
    assert part.x[0] > surface.x[0]
    assert part.loss.shape == (len(part.x), len(part.y))
    assert part.x[0] <= path[:, 0].min() <= path[:, 0].max() <= part.x[-1]


def test_dots_keep_apart():
    path = np.column_stack([np.linspace(0, 1, 101), np.zeros(101)])
    chosen = path[apart(path, 0.1)]
    assert (np.diff(chosen[:, 0]) >= 0.1 - 1e-12).all()
    assert len(chosen) >= 9


def test_what_lies_behind_a_ridge_is_not_seen():
    x = np.linspace(-1, 1, 81)
    ridge = np.exp(-((x[:, None] / 0.2) ** 2)) * np.ones(81)
    relief = Relief(x, x, ridge, view=(20.0, 0.0))  # from the right
    behind, before = relief.on(np.array([[-0.4, 0.0], [0.4, 0.0]]))
    assert relief.seen(np.array([behind, before])).tolist() == [False, True]
    draped = relief.drape(np.array([[-1.0, 0.0], [1.0, 0.0]]))
    assert draped[:, 2].max() == pytest.approx(1.0, abs=0.02)  # over the ridge, not through it
    assert np.isnan(relief.on(np.array([[2.0, 0.0]]))[0]).all()


# --- basins and phases ------------------------------------------------------------------------------------------------


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
    one = _read(swarm, row)
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
    monkeypatch.setattr("fastgd.plots._basins._DOTS", 100)
    monkeypatch.setattr("fastgd.plots._basins._PIXELS", 50)
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


# --- traces and films -------------------------------------------------------------------------------------------------


def test_traces_show_what_was_recorded(walked):
    figure = plot(walked, "traces", start=2)
    walks = walks_of(walked, "traces", "all", 2, whole=True)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(walks) == 3
    assert len(shown) == 3 * 4  # parameters, gradients, a slot, effective rates
    grid = np.array(figure.axes).reshape(-1, 3)
    for column, walk in enumerate(walks):
        slot = next(name for name in walk.more if name.startswith("slot."))
        for row, values in zip(range(3), (walk.x, walk.more["gradient"], walk.more[slot]), strict=True):
            for line, own in zip(grid[row, column].lines, values.T, strict=False):
                np.testing.assert_array_equal(line.get_ydata(), own)
        for line, own in zip(grid[3, column].lines, walk.more["effective_lr"].T, strict=True):
            assert list(line.get_xdata()) == list(range(1, 61))  # without the start
            np.testing.assert_array_equal(line.get_ydata(), own[1:])


def test_a_film_is_a_gif_of_many_frames(walked, tmp_path):
    film = plot(walked, "animate", frames=20)
    for name in "ab":
        save(film, tmp_path / f"{name}.gif")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size) == (film.frames, (900, 490))
        assert 10 < film.frames <= 20
    save(film, tmp_path / "last.png")  # and a picture of its last frame
    walk = walks_of(walked, "animate")[0]
    film.go(0)
    line = film.axes[0].lines[-1]
    assert len(line.get_xdata()) == 1
    film.go(film.frames - 1)
    ways = [np.column_stack(line.get_data()) for line in film.axes[0].lines]
    assert any(way.shape == walk.path.shape and np.array_equal(way, walk.path) for way in ways)


def test_a_film_without_ffmpeg_is_one_message(walked, tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.animation.FFMpegWriter.isAvailable", classmethod(lambda cls: False))
    with pytest.raises(InputError, match="finds no ffmpeg"):
        save(plot(walked, "animate"), tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"ends in \.png, \.svg, \.pdf, or of a film in \.gif, \.mp4"):
        save(plot(walked, "animate"), tmp_path / "a.jpg")


# --- the kinds of all studies -----------------------------------------------------------------------------------------


def test_curves_on_landscapes_are_medians_over_the_starts(swarm):
    (bundles,) = bundles_of(swarm, "loss", "step").values()
    curves = swarm.curves
    for bundle, row in zip(bundles, chosen_of(swarm, methods(swarm), None).itertuples(), strict=True):
        own = curves[curves["trial_id"] == row.trial_id].groupby("step")["loss"]
        assert bundle.seeds == 600
        np.testing.assert_array_equal(bundle.x, list(own.groups))
        alive = swarm.trials.loc[swarm.trials["trial_id"] == row.trial_id, "status"] != "diverged"
        if alive.all():
            np.testing.assert_allclose(bundle.best, own.median())
    ax = axes(swarm, "curves")[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("steps", "loss")


def test_every_kind_has_its_line_and_its_function():
    for name, kind in PLOTS.items():
        assert kind.summary
        assert kind.draw.__doc__.startswith(("Plot", "Make")), name
