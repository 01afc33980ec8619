"""Limits, pages and looks of pictures: no single value stretches axes, nothing is left out without a word."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from cohorts import spread
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from store_samples import OPTIMIZERS, commit, open_folder, trials, write_study
from test_plots import inside
from test_plots_range import tuning
from typer.testing import CliRunner

from fastgd.analysis import load
from fastgd.cli.app import app
from fastgd.common.errors import InputError
from fastgd.common.numbers import number
from fastgd.plots import curves, heatmap, plot, sensitivity, tune
from fastgd.plots.landscapes.basins import Basins
from fastgd.plots.landscapes.basins import _handles as key_of_basins
from fastgd.plots.landscapes.contour import draw, names
from fastgd.plots.landscapes.map import Height, cut_in_words, levels_of, map_handles, minima_on
from fastgd.plots.landscapes.traces import _mark_beyond as mark_traces
from fastgd.plots.landscapes.traces import _scale as scale_traces
from fastgd.plots.landscapes.walks import Walk, looks_of, starts_in_words
from fastgd.plots.layout import Layout
from fastgd.plots.limits import OUTSIDE, frame_of, limits, mark_outside, tell_outside
from fastgd.plots.pages import TALLEST, notes_of, page_of
from fastgd.plots.readings import median_of, methods
from fastgd.plots.studies.effective_rates import _CLASSES, Rates
from fastgd.plots.studies.effective_rates import _scale as scale_rates
from fastgd.plots.studies.range_test import _mark_beyond, _scale
from fastgd.plots.studies.sensitivity import mark_beyond as mark_sensitivity
from fastgd.plots.style import looks
from fastgd.runs.measured.effective_rates import LEAST_FREQUENT_SHARE, MOST_RARE_SHARE
from fastgd.search.rate_sweeps import RateSweep
from fastgd.store.surface_files import Surface, SurfaceInfo

EXTREMES = (1.7e-187, 0.0, 1e-30, 1e12, 1e300, np.inf, -np.inf, np.nan)
PROBLEMS = tuple(f"set{place:02d}" for place in range(30))


def texts(figure):
    """All that a figure says in its axes and keys."""
    axes = [text.get_text() for one in figure.axes for text in one.texts]
    keys = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [*axes, *keys, *notes_of(figure)]


def outside(axes):
    return [line for line in axes.lines if line.get_gid() == OUTSIDE]


# --- limits -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.1, 10.0), min_size=4, max_size=200), st.sampled_from(EXTREMES), st.booleans())
def test_a_single_extreme_does_not_set_limits(values, extreme, decades):
    seen = 10.0 ** np.array(values) if decades else np.array(values)
    frame = frame_of(np.append(seen, extreme))
    assert frame.low <= np.median(seen) <= frame.high
    scale = np.log10 if frame.log else np.asarray
    places, (low, high) = scale(seen), scale([frame.low, frame.high])
    room = np.ptp(places) + 1e-9 * (1 + np.abs(places).max())  # as far as axes go on, but for rounding
    assert places.min() - room <= low
    assert high <= places.max() + room


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=300), st.sampled_from([1.0, 9.0]))
def test_the_middle_values_fill_a_share_of_the_axes(values, reach):
    seen = np.array(values)
    frame = frame_of(seen, log=False, reach=reach)
    cut = int(np.ceil(0.1 * (len(seen) - 1)))
    low, high = np.sort(seen)[[cut, -1 - cut]]
    assert frame.high - frame.low <= (1 + 2 * reach) * (high - low) + 1e-9
    assert frame.low <= low <= high <= frame.high


def test_usual_values_are_all_inside_and_what_must_be_shown_is():
    assert frame_of(np.linspace(0.4, 0.7, 20)) == frame_of(np.linspace(0.4, 0.7, 20), [0.5])
    assert (frame_of(np.linspace(0.4, 0.7, 20)).low, frame_of(np.linspace(0.4, 0.7, 20)).high) == (0.4, 0.7)
    assert frame_of(np.full(30, 0.4), [0.69]).high == 0.69
    assert frame_of(np.geomspace(1e-12, 1.0, 30)) == frame_of(np.append(np.geomspace(1e-12, 1.0, 30), 0.0))
    for nothing in (np.zeros(0), np.full(3, np.inf), np.full(3, np.nan)):
        frame = frame_of(nothing)
        assert frame.low < frame.high


def test_what_lies_outside_is_marked_and_counted():
    axes = Figure().subplots()
    axes.set_xlim(0, 7)
    x, y = np.arange(8.0), np.array([0.5, 1.7e-187, 0.4, 0.6, np.inf, 1e9, np.nan, 0.55])
    limits(axes, y)
    mark_outside(axes, x, y, "black")
    tell_outside(axes, y, y)
    below, above = outside(axes)
    assert (below.get_xdata().tolist(), above.get_xdata().tolist()) == ([1.0], [4.0, 5.0])
    assert [text.get_text() for text in axes.texts] == [
        "▼ 1 value below, down to 1.7e-187",
        "▲ 1 value above, up to 1e+09",
    ]


def test_marks_stay_on_a_logarithmic_axis():
    figure = Figure(layout="constrained")
    axes, x, y = figure.subplots(), np.arange(9.0), np.array([9.0] * 3 + [0.5] * 6)
    axes.set(xscale="log", xlim=(1, 8), ylim=(0, 1))
    mark_outside(axes, x, y, "black", first=True)
    assert [line.get_xdata().tolist() for line in outside(axes)] == [[1.0]]
    figure.draw_without_rendering()  # a mark at 0 would leave no room for the axes


@pytest.mark.parametrize("edge", [0.0, 1.0])
@pytest.mark.parametrize("crossed", [(), ("right",), ("right", "middle"), ("right", "middle", "left")])
def test_a_note_stands_where_no_line_passes(edge, crossed):
    """Where each place at the edge is crossed, there is one farther inwards."""
    figure = Figure(layout=Layout())
    axes = figure.subplots()
    spans = {"right": (0.7, 0.95), "middle": (0.4, 0.6), "left": (0.1, 0.3)}
    for name in crossed:
        low, high = spans[name]
        axes.plot([low, high] * 5, np.linspace(0, 1, 10) if len(crossed) < 3 else np.full(10, abs(edge - 0.03)))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    tell_outside(axes, np.full(12, -1e9 * (edge == 0)), np.full(12, 1e9 * (edge == 1)), "point")
    figure.draw_without_rendering()
    (note,) = axes.texts
    box = note.get_window_extent()
    for line in axes.lines:
        assert not line.get_path().transformed(line.get_transform()).intersects_bbox(box, filled=False)
    assert axes.get_window_extent().containsx(box.x0)
    assert axes.get_window_extent().containsx(box.x1)
    assert abs(edge - axes.transAxes.inverted().transform((box.p0 + box.p1) / 2)[1]) < 0.12


# --- pictures with extremes -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extreme(tmp_path_factory):
    """Twenty rates from three seeds: one seed ended at 1.7e-187, a rate timed out, another one exploded."""
    path = tmp_path_factory.mktemp("extreme")
    with open_folder(path, hyper=("lr", "beta")) as folder:
        for seed in range(3):
            lr = np.geomspace(1e-3, 1.0, 20)
            for name, beta in (("lamb", 0.9), ("sgd", 0.5)):
                final = 0.4 + 0.05 * np.abs(np.log10(lr / 0.03)) + 1e-3 * seed
                status = np.array(["completed"] * 20, dtype=object)
                if name == "lamb":
                    final[7] = 1.7e-187 if seed == 0 else final[7]
                    final[12], status[12] = np.nan, "timeout"
                    final[18], status[19], final[19] = 1e40, "diverged", np.inf
                rows = trials(20, f"{name}{seed}", optimizer=name, lr=lr, beta=beta, seed=seed, status=status)
                for column in ("final_loss", "best_loss"):
                    rows[column] = final
                commit(folder, rows, loss=np.full(20, 0.69))
    return load(path)


def test_sensitivity_is_not_stretched_by_one_seed(extreme):
    figure = sensitivity(extreme, scale="loss")
    inside(figure)
    strip, axes = figure.axes
    low, high = axes.get_ylim()
    assert axes.get_yscale() == "linear"
    assert 0.05 < low < 0.4 < high < 1.0
    marks = [(line.get_marker(), line.get_xdata().tolist()) for line in outside(axes)]
    lr = np.geomspace(1e-3, 1.0, 20)
    assert ("v", [pytest.approx(lr[7])]) in marks
    assert ("^", [pytest.approx(lr[18])]) in marks
    assert "▼ 1 point below, down to 1.7e-187" in texts(figure)
    assert "▲ 1 point above, up to 1e+40" in texts(figure)
    rows = {line.get_marker(): line.get_xdata().tolist() for line in strip.lines}
    assert rows == {"x": [pytest.approx(1.0)], "o": [pytest.approx(lr[12])]}
    assert {"diverged", "without a loss"} <= set(texts(figure))


def test_the_best_keeps_its_outline_at_the_edge_beside_a_rate_without_a_loss():
    axes, losses = Figure().subplots(), [1e-9, 0.5, np.nan]
    axes.set_ylim(0.3, 0.7)
    ranking = pd.DataFrame({"method": "sgd", "lr": [0.1, 1.0, 10.0], "value": losses, "value_min": losses})
    mark_sensitivity(axes, ranking, "lr", looks(["sgd"]))
    marks = [line.get_markeredgecolor() for line in outside(axes) if line.get_xdata().tolist() == [0.1]]
    assert marks == ["white", "black"]


def test_a_heatmap_is_not_stretched_and_what_it_cannot_show_is_told(tmp_path):
    with open_folder(tmp_path, hyper=("lr", "beta")) as folder:
        values = np.linspace(0.39, 0.69, 30)
        values[4], values[9], values[20], values[29] = 1.7e-187, np.nan, np.inf, 1e30
        status = ["diverged" if value == np.inf else "completed" for value in values]
        rows = trials(30, lr=np.tile(np.geomspace(1e-3, 1, 10), 3), beta=np.repeat([0.1, 0.2, 0.3], 10), status=status)
        rows["final_loss"] = rows["best_loss"] = values
        commit(folder, rows)
    figure = heatmap(load(tmp_path), scale="loss")
    inside(figure)
    mesh = figure.axes[0].collections[0]
    assert 0.38 < mesh.norm.vmin < mesh.norm.vmax <= 0.72
    assert tuple(mesh.cmap(mesh.norm(1.7e-187))) == tuple(mesh.cmap.get_under())
    assert {"below the scale, down to 1.7e-187", "diverged or without a loss"} <= set(texts(figure))
    white = figure.axes[0].collections[1].get_array()
    assert np.ma.getmaskarray(white).all()  # every cell was run


def test_curves_are_not_stretched_by_an_optimizer_that_explodes(tmp_path):
    with open_folder(tmp_path) as folder:
        for place, name in enumerate(("sgd", "adam", "lion", "lamb")):
            loss = 1e25 if name == "lamb" else 0.5 + 0.01 * place
            commit(folder, trials(1, name, optimizer=name, final_loss=loss, best_loss=loss), loss=np.array([loss]))
    figure = curves(load(tmp_path), scale="loss")
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 1.0
    assert [line.get_marker() for line in outside(axes)] == ["^"]
    assert "▲ 1 line above, up to 1e+25" in texts(figure)


def test_a_search_is_not_stretched(tmp_path):
    found = tuning(tmp_path)
    found.points.loc[3, "loss"] = 1.7e-187
    figure = tune(found)
    inside(figure)
    low, high = figure.axes[0].get_ylim()
    assert (low > 0.05, high < 1.0, figure.axes[0].get_yscale()) == (True, True, "linear")
    assert "▼ 1 point below, down to 1.7e-187" in texts(figure)


def test_a_range_test_is_not_stretched():
    rates = np.geomspace(1e-4, 1.0, 50)
    bowl = 1.0 - 0.6 * np.exp(-((np.log10(rates) + 2) ** 2))
    least = [0.0, 0.01, 0.02, 0.03]
    sweeps = [RateSweep({"method": "sgd"}, rates, bowl + more, bowl + more, 1.0) for more in least]
    low = np.where(np.arange(50) == 25, 1.7e-187, bowl)
    sweeps.append(RateSweep({"method": "lamb"}, rates, low, low, 1.0))
    axes = Figure().subplots()
    _scale(axes, sweeps)
    _mark_beyond(axes, sweeps, looks(["sgd", "lamb"]))
    assert (axes.get_yscale(), axes.get_ylim()[0] > -0.3) == ("linear", True)
    sweeps = [RateSweep({"method": "sgd"}, rates, low + 1e-3, low + 1e-3, 1e3) for _ in range(4)]
    axes = Figure().subplots()
    low = low / 1e9
    sweeps.append(RateSweep({"method": "lamb"}, rates, low, low, 1e3))
    _scale(axes, sweeps)
    _mark_beyond(axes, sweeps, looks(["sgd", "lamb"]))
    assert axes.get_ylim()[0] > 1e-12
    assert len(outside(axes)) == 1
    assert axes.texts[-1].get_text() == "▼ 1 line below, down to 1.7e-196"


def test_effective_rates_are_not_stretched():
    x = np.arange(30.0)
    values = np.full((3, 30), 0.01) * np.array([[0.5], [1.0], [2.0]])
    values[:, 20] = 1e30, 1e-200, np.inf
    axes = Figure().subplots()
    scale_rates(axes, [Rates("p", "adam", "adam", "", x, {"rare": values})])
    low, high = axes.get_ylim()
    assert 1e-4 < low < 0.005 < 0.02 < high < 1.0


def test_traces_are_not_stretched_and_keep_their_first_steps():
    steps = np.arange(61.0)
    path = 3 - 3 * np.exp(-steps)
    path[40] = 1e200
    axes = Figure().subplots()
    axes.plot(steps, path, color="black")
    scale_traces([axes], ["x"], log_steps=False)
    mark_traces(axes)
    low, high = axes.get_ylim()
    assert low < 0 < 3 < high < 40
    assert [line.get_marker() for line in outside(axes)] == ["^"]
    assert axes.texts[0].get_text() == "▲ 1 line above, up to 1e+200"


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    return load(
        write_study(
            tmp_path_factory.mktemp("thirty") / "it", ["sgd", "adam"], rates=6, epochs=3, seeds=1, problems=PROBLEMS
        )
    )


@pytest.mark.parametrize("kind", spread(["curves", "sensitivity", "heatmap"], []))
def test_thirty_problems_are_pages_of_bounded_height(kind, thirty):
    first = plot(thirty, kind)
    inside(first)
    words, *others = notes_of(first)
    assert others == (["not shown, as only one hyper-parameter of theirs varies: sgd"] if kind == "heatmap" else [])
    pages = int(words.split(":")[0].split()[-1])
    assert words.startswith(f"page 1 of {pages}: problems 1 to ")
    assert words.endswith(" of 30; page=2 shows the next")
    seen = []
    for page in range(1, pages + 1):
        figure = plot(thirty, kind, page=page)
        assert figure.get_figheight() <= TALLEST + 2
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        titles += [axes.get_ylabel().split(", ")[-1] for axes in figure.axes]
        seen += [title for title in titles if title in PROBLEMS]
    assert seen == list(PROBLEMS)
    with pytest.raises(InputError, match=f"no page {pages + 1}: there are pages 1 to {pages}"):
        plot(thirty, kind, page=pages + 1)
    assert notes_of(plot(thirty, kind, problem="set07")) == others
    with pytest.raises(InputError, match="no problem 'set7'"):
        plot(thirty, kind, problem="set7")


def test_the_command_says_what_a_picture_leaves_out(thirty, tmp_path):
    arguments = ["plot", str(thirty.path), "--kind", "sensitivity", "-o", str(tmp_path / "a.png"), "--set", "page=2"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert re.search(r"page 2 of \d+: problems \d+ to \d+ of 30; page=3 shows the next \(--set page=N\)", result.stdout)


@given(st.lists(st.floats(0.1, 40.0), min_size=1, max_size=60))
def test_every_item_is_on_one_page(heights):
    items, shown, page = list(range(len(heights))), [], 1
    while len(shown) < len(items):
        chosen, words = page_of(items, page, "problems", heights)
        assert chosen
        assert len(chosen) == 1 or sum(heights[item] for item in chosen) <= TALLEST + 1e-6
        assert bool(words) == (len(chosen) < len(items))
        shown += chosen
        page += 1
    assert shown == items


@pytest.mark.full
def test_many_optimizers_are_pages_too(tmp_path):
    with open_folder(tmp_path) as folder:
        for place in range(47):
            commit(folder, trials(2, f"o{place}-", optimizer=f"rule{place:02d}"))
    results = load(tmp_path)
    figures = [curves(results, spread=True, page=page) for page in (1, 2, 3)]
    assert [len(figure.axes) for figure in figures] == [20, 20, 7]
    assert notes_of(figures[2]) == ["page 3 of 3: optimizers 41 to 47 of 47; page=1 shows the first"]


# --- looks ------------------------------------------------------------------------------------------------------------


def test_fifteen_methods_differ_in_colour_and_marker():
    found = looks([str(place) for place in range(15)])
    assert len({look.color for look in found.values()}) == len({look.marker for look in found.values()}) == 15
    assert len({(look.color, look.marker) for look in looks(range(200)).values()}) == 200


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("ten") / "it", list(OPTIMIZERS), rates=8, epochs=4, seeds=2))


def test_a_method_looks_the_same_in_all_pictures(ten):
    chosen = looks(methods(ten))
    lines = {str(line.get_label()).split("  ")[0]: line for line in sensitivity(ten).axes[-1].lines}
    assert {name: (lines[name].get_color(), lines[name].get_marker()) for name in OPTIMIZERS} == {
        name: (chosen[name].color, chosen[name].marker) for name in OPTIMIZERS
    }
    for figure in (curves(ten), curves(ten, spread=False)):
        drawn = {(line.get_color(), line.get_marker()) for axes in figure.axes for line in axes.lines}
        assert {(look.color, look.marker) for look in chosen.values()} <= drawn


def test_methods_stand_in_the_order_of_the_study(tmp_path):
    study = 'name = "sample"\n[[optimizer]]\nname = "adam"\n[[optimizer]]\nname = "sgd"\n'
    with open_folder(tmp_path, study_toml=study) as folder:
        for name in ("sgd", "adam"):
            commit(folder, trials(2, name, optimizer=name))
    assert methods(load(tmp_path)) == ["adam", "sgd"]


def walk(trial_id, method="momentum", start=0, status="completed", end=(0.5, 0.5), problem="p"):
    path = np.array([[0.0, 0.0], [0.2, 0.3], end])
    return Walk(problem, method, method, f"lr {trial_id}", trial_id, start, status, np.arange(3.0), np.ones(3),
                np.ones(3), path, {}, recorded=4)  # fmt: skip


def test_configurations_of_one_optimizer_have_looks_of_their_own():
    walks = [walk("a"), walk("b"), walk("c", "adam"), walk("a", start=1), walk("d", problem="q"), walk("e")]
    found = looks_of(["momentum", "adam"], walks)
    usual = looks(["momentum", "adam"])
    assert (found["a"], found["c"], found["d"]) == (usual["momentum"], usual["adam"], usual["momentum"])
    assert len({(found[name].color, found[name].marker) for name in "abce"}) == 4
    assert len({found[name].color for name in "abce"}) == 4
    assert starts_in_words(walks) == "starts 0, 1 of 4 whose steps were recorded"


# --- words ------------------------------------------------------------------------------------------------------------


def surface(at=(0.0, 0.0), minima=(), loss=None, parameters=(0, 1), landscape="valley"):
    x = np.linspace(-1.0, 1.0, 21)
    loss = x[:, None] ** 2 + x**2 if loss is None else loss
    values = [float(np.sum(np.square(minimum))) for minimum in minima]
    return Surface(SurfaceInfo("p", parameters, list(at), list(map(list, minima)), values, landscape), x, x, loss)


@pytest.mark.parametrize(
    ("ground", "words"),
    [
        (surface(), ""),
        (surface(at=[0.0] * 5, landscape=None), "a cut at zero in the other 3 parameters"),
        (surface(at=[0.0] * 3, minima=[(0, 0, 0)]), "a cut through the lowest minimum"),
        (
            surface(at=[0.0] * 3, minima=[(0, 0, 0), (0, 0, 0.5)]),
            "a cut through the lowest minimum",
        ),
        (surface(at=[0.0, 0.0, 0.5], minima=[(0, 0, 0)]), "a cut at $x_{2}$ = 0.5"),
        (surface(at=[0.0, 2.0, 0.5], parameters=(0, 2)), "a cut at $x_{1}$ = 2"),
        (surface(at=[0.0, 0.0, 1, 2, 3, 4]), "a cut at given values of the other 4 parameters"),
    ],
)
def test_a_map_says_through_what_it_is_a_cut(ground, words):
    assert cut_in_words(ground) == words
    axes = Figure().subplots()
    draw(axes, ground, [], {})
    assert axes.get_title(loc="right") == words


def test_minima_beside_a_cut_are_not_marked():
    ground = surface(at=[0.0, 0.0, 0.5], minima=[(0, 0, 0)])
    assert minima_on(ground).shape == (0, 2)
    both = surface(at=[0.0] * 3, minima=[(0, 0, 0), (0, 0, 1)])
    assert [handle.get_label() for handle in map_handles([(both, [])])] == ["minimum (1 more beside the cut)"]
    assert map_handles([(ground, [])]) == []
    assert [handle.get_label() for handle in map_handles([(surface(minima=[(0, 0)]), [])])] == ["minimum"]


def test_a_key_of_basins_names_minima_in_the_coordinates_of_the_map():
    ground = surface(at=[7.0, 0.0, 0.5], minima=[(7, 0, 0.5), (8, 0.5, 0)], parameters=(1, 2))
    one = Basins("p", "sgd", "", np.zeros((2, 2)), np.array([0, 1]), np.full(2, np.nan))
    labels = [handle.get_label() for handle in key_of_basins([one], ground, "minimum")]
    assert labels == ["(0, 0.5)", "(0.5, 0)", "minimum (1 more beside the cut)"]


def test_walks_are_drawn_in_the_coordinates_of_the_map():
    path = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    one = Walk("p", "sgd", "sgd", "", "a", 0, "completed", np.arange(2.0), np.ones(2), np.ones(2), path, {}, 1, (2, 0))
    np.testing.assert_array_equal(one.path, [[2.0, 0.0], [5.0, 3.0]])


def test_a_key_counts_what_became_of_walks_and_ends_off_the_map_are_marked():
    walks = [walk("a"), walk("a", start=1, status="diverged", end=(9.0, 9.0)), walk("b", end=(0.5, 7.0))]
    chosen, ground = looks_of(["momentum"], walks), surface()
    labels = [handle.get_label() for handle in names(ground, walks, chosen)]
    assert labels == ["momentum  lr a, 1 of 2 diverge", "momentum  lr b, ends off the map"]
    axes = Figure().subplots()
    draw(axes, ground, walks, chosen)
    assert [line.get_xydata().tolist() for line in outside(axes)] == [[[1.0, 1.0]], [[0.5, 1.0]]]


def test_a_pole_does_not_flatten_a_map():
    plain = surface(minima=[(0, 0)])
    loss = plain.loss.copy()
    loss[3, 4] = 1e200
    pole = surface(minima=[(0, 0)], loss=loss)
    assert len(levels_of(Height(plain)(plain.loss))) == len(levels_of(Height(pole)(pole.loss)))
    np.testing.assert_allclose(Height(pole).top, Height(plain).top, rtol=0.05)
    assert Height(plain).cut_off(plain) == ""
    assert "of the map is higher, up to 1e+200" in Height(pole).cut_off(pole)
    hole = plain.loss.copy()
    hole[3, 4] = -1e200
    assert Height(surface(loss=hole)).low == 0.0


@pytest.mark.parametrize(
    ("counts", "words"), [([1, 1], ""), ([3, 3], "median of 3 seeds"), ([1, 3], "median of 1 to 3 seeds")]
)
def test_medians_are_of_what_there_was(counts, words):
    assert median_of(counts, "seeds") == words


def test_classes_of_features_are_named_after_their_bounds():
    words = {name: text for name, (_, _, text) in _CLASSES.items()}
    assert f"under {100 * MOST_RARE_SHARE:g} %" in words["rare"]
    assert f"{100 * MOST_RARE_SHARE:g} % to {100 * LEAST_FREQUENT_SHARE:g} %" in words["medium"]
    assert f"over {100 * LEAST_FREQUENT_SHARE:g} %" in words["frequent"]


def test_a_key_says_nothing_that_a_search_does_not_have(tmp_path):
    keys = [text.get_text() for text in tune(tuning(tmp_path)).legends[0].get_texts()]
    assert {"bracket", "about as good", "after 2 epochs"} <= set(keys)
    lost = tuning(tmp_path, methods=("sgd",), diverged="sgd")
    keys = [text.get_text() for text in tune(lost).legends[0].get_texts()]
    assert not {"bracket", "about as good"} & set(keys)


def test_schedules_by_the_step_say_for_which_batch_size(tmp_path):
    study = 'name = "sample"\nepochs = 4\n[[optimizer]]\nname = "sgd"\n[[schedule]]\nname = "cosine"\nper = "step"\n'
    with open_folder(tmp_path, study_toml=study) as folder:
        commit(folder, trials(2, batch_size=[4096, 64]))
    assert notes_of(plot(load(tmp_path), "schedule")) == ["drawn for batch size 64, the smallest of 2"]


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4096, "4096"), (4096.0, "4096"), (np.int64(65536), "65536"), (1e6, "1000000"), (327346.0, "327346"),
        (4123.4, "4123"), (31.62, "31.6"), (0.00316227, "0.00316"), (1e-5, "1e-05"), (1e25, "1e+25"), (1e9, "1e+09"),
        (-0.0, "0"), (np.inf, "inf"), (1.7e-187, "1.7e-187"),
    ],
)  # fmt: skip
def test_whole_numbers_are_whole(value, text):
    assert number(value) == text


@given(st.integers(-(10**9) + 1, 10**9 - 1))
def test_a_whole_number_reads_back(value):
    assert int(number(float(value))) == int(number(value)) == value


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    path = tmp_path_factory.mktemp("batches") / "it"
    sizes = (512, 1024, 2048, 4096, 8192, 65536)
    return load(write_study(path, ["sgd", "momentum"], rates=8, epochs=3, seeds=1, batch_sizes=sizes))


def test_batch_sizes_are_whole_in_pictures(batches):
    figure = heatmap(batches, y="batch_size")
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["512", "1024", "2048", "4096", "8192", "65536"]
    said = " ".join(texts(figure) + texts(sensitivity(batches, hyper="batch_size")) + texts(curves(batches)))
    assert "batch size" in said
    assert "e+0" not in said


def test_whole_numbers_in_tables_and_json(tmp_path):
    with open_folder(tmp_path, hyper=("lr", "history")) as folder:
        commit(folder, trials(3, lr=[0.1, 0.2, 0.3], history=[5.0, 10.0, 65536.0], batch_size=[4096, 8192, 65536]))
    printed = CliRunner().invoke(app, ["best", str(tmp_path), "--json"]).stdout
    rows = json.loads(printed)
    assert [(row["history"], row["batch_size"]) for row in rows] == [(65536, 65536), (10, 8192), (5, 4096)]
    assert {type(row[name]) for row in rows for name in ("history", "batch_size", "n", "seeds")} == {int}
    assert {type(row["lr"]) for row in rows} == {float}
    table = CliRunner().invoke(app, ["best", str(tmp_path)]).stdout
    assert "e+0" not in table
    assert pd.Series(table.split()).eq("65536").sum() == 2
