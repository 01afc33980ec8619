"""Pictures of studies on landscapes: what they show, checked on the artists, and what they say where they cannot."""

import matplotlib as mpl
import numpy as np
import pytest
from cohorts import in_full
from landscape_results import STARTS, phases_in, run, swarm_in, walked_in
from matplotlib.figure import Figure
from PIL import Image
from store_samples import write_study
from test_plots import inside

import fastgd
from fastgd import InputError
from fastgd.analysis import load
from fastgd.plots import PLOTS, axes, plot, save
from fastgd.plots.bundles import bundles_of
from fastgd.plots.configurations import chosen_of, ranked
from fastgd.plots.landscapes.map import Height, apart, around, levels_of
from fastgd.plots.landscapes.surface import Relief
from fastgd.plots.landscapes.walks import walks_of
from fastgd.plots.readings import methods
from fastgd.plots.style import looks

WALKS = ("contour", "surface", "traces", "animate")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    return walked_in(tmp_path_factory.mktemp("landscapes"))


@pytest.fixture(scope="module")
def swarm(tmp_path_factory):
    return swarm_in(tmp_path_factory.mktemp("landscapes"))


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    return phases_in(tmp_path_factory.mktemp("landscapes"))


def recorded(results, walk):
    """The stored iterates (k, d) of a walk."""
    steps = results.trajectories
    own = steps[(steps["trial_id"] == walk.trial_id) & (steps["start"] == walk.start)]
    return own.pivot(index="step", columns="coordinate", values="x").to_numpy()


# --- what all have in common ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("walked", kind) for kind in (*WALKS, "schedule")]
    + [("swarm", kind) for kind in ("basins", "curves", "sensitivity")]
    + [("phases", kind) for kind in ("phase", "basins", "heatmap")]
    + [in_full(*case) for case in (("walked", "curves"), ("walked", "sensitivity"), ("phases", "curves"))],
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
        in_full("walked", "contour", ".png"),
        ("walked", "contour", ".svg"),
        in_full("walked", "surface", ".pdf"),
        in_full("walked", "traces", ".svg"),
        ("walked", "animate", ".png"),
        ("swarm", "basins", ".pdf"),
        in_full("phases", "phase", ".png"),
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


@pytest.mark.full
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
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("steps", "loss\nabove the minimum")


def test_every_kind_has_its_line_and_its_function():
    for name, kind in PLOTS.items():
        assert kind.summary
        assert kind.draw.__doc__.startswith(("Plot", "Make")), name
