"""Pictures: what they show, checked on the artists; that they are whole; and that they leave matplotlib as it was."""

import random
import subprocess
import sys
from itertools import cycle

import kiwisolver
import matplotlib as mpl
import numpy as np
import pytest
from cohorts import spread
from matplotlib.figure import Figure
from store_samples import OPTIMIZERS, block, commit, configured, open_folder, trials, write_study

from fastgd.analysis import load
from fastgd.common.errors import InputError
from fastgd.common.numbers import number
from fastgd.plots import PLOTS, curves, heatmap, plot, save, sensitivity
from fastgd.plots.bundles import bundles_of
from fastgd.plots.layout import Layout
from fastgd.plots.style import looks, spread_labels

# rates need a metric of their own, a range a rate that grew: see test_plots_rates and test_plots_range
COMMON = [
    "curves",
    "gap",
    "sensitivity",
    "heatmap",
    "parallel",
    "schedule",
]  # others need a metric, a sweep or a landscape


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("plots") / "two", ["momentum", "adam"], rates=12, epochs=8))


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("plots") / "ten", list(OPTIMIZERS), rates=8, epochs=4, seeds=2))


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    path = tmp_path_factory.mktemp("plots") / "problems"
    options = {"problems": ("flights", "digits"), "batch_sizes": (16, 64), "validation": False, "log_steps": 20}
    return load(write_study(path, ["sgd", "adam"], rates=6, epochs=20, **options))


def inside(figure: Figure) -> None:
    """Check that nothing that is drawn leaves the figure, and that its layout is the same in every process."""
    assert isinstance(figure.get_layout_engine(), Layout)
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 > -0.02
    assert box.y0 > -0.02
    assert box.x1 < width + 0.02
    assert box.y1 < height + 0.02


@pytest.mark.parametrize("kind", COMMON)
@pytest.mark.parametrize("name", ["two", "ten", "problems"])
def test_every_kind_is_drawn_whole(kind, name, request):
    inside(plot(request.getfixturevalue(name), kind))


MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    spread(list(zip(COMMON, cycle(MAGIC), strict=False)), [("curves", ".png"), ("heatmap", ".pdf")]),
)
def test_the_same_picture_gives_the_same_file(kind, suffix, two, tmp_path):
    for name in "ab":
        save(plot(two, kind), tmp_path / f"{name}{suffix}")
    content = (tmp_path / f"a{suffix}").read_bytes()
    assert content.startswith(MAGIC[suffix])
    assert content == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("kind", spread(COMMON, ["curves"]))
def test_panels_stand_at_the_same_places_in_every_process(kind, problems):
    """The layout's solver goes by the addresses of its variables, which are other ones in each process."""
    order, places = random.Random(0), set()
    for _ in range(4):
        figure, pile = plot(problems, kind), [kiwisolver.Variable() for _ in range(3000)]
        order.shuffle(pile)
        while pile:  # the next variables take these places in memory
            pile.pop()
        figure.draw_without_rendering()
        places.add(tuple(edge for axes in figure.axes for edge in axes.get_window_extent().extents))
    assert len(places) == 1


def test_pyplot_and_matplotlibs_settings_are_left_alone(two):
    before = dict(mpl.rcParams)
    for kind in COMMON:
        plot(two, kind).draw_without_rendering()
    assert dict(mpl.rcParams) == before
    code = f"""
import sys
import fastgd.plots
assert not [name for name in sys.modules if name.startswith("matplotlib")]
figure = fastgd.plots.plot(fastgd.analysis.load({str(two.path)!r}), "curves")
assert not [name for name in sys.modules if name.split(".")[0] == "numba" or name == "matplotlib.pyplot"]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_drawn_or_saved_is_one_message(two, tmp_path):
    with pytest.raises(InputError, match="no kind of plot 'curvs'; did you mean 'curves'"):
        plot(two, "curvs")
    with pytest.raises(InputError, match=r"ends in \.png, \.svg, \.pdf"):
        save(curves(two), tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"cannot write .*a\.png: No such file"):
        save(curves(two), tmp_path / "nowhere" / "a.png")
    with pytest.raises(InputError, match="no metric 'los'; did you mean 'loss'"):
        curves(two, metric="los")
    with pytest.raises(InputError, match=r"not their folder: fastgd\.load\('results/a'\) reads them"):
        plot("results/a", "curves")
    with pytest.raises(InputError, match="no metric 3; valid: "):
        curves(two, metric=3)
    with pytest.raises(InputError, match="spread must be true or false, found 'no'"):
        plot(two, "curves", spread="no")
    with pytest.raises(InputError, match="no horizontal axis 'epochs'; did you mean 'epoch'"):
        curves(two, x="epochs")
    with pytest.raises(InputError, match="no hyper-parameter 'momentun'; did you mean 'momentum'"):
        sensitivity(two, hyper="momentun")
    with pytest.raises(InputError, match="no hyper-parameter 'optimizer'"):
        heatmap(two, y="optimizer")
    with pytest.raises(InputError, match="two hyper-parameters that vary"):
        heatmap(two, y="batch_size")


def test_results_without_trials_cannot_be_drawn(tmp_path):
    with open_folder(tmp_path):
        pass
    for kind in PLOTS:
        with pytest.raises(InputError, match="no trials"):
            plot(load(tmp_path), kind)


# Curves.


def naive_values(results, optimizer, metric):
    """Return each trial's metric at the common checkpoints, by a loop."""
    steps = sorted(results.curves["epoch"].unique())
    rows = []
    for trial in results.trials[results.trials["optimizer"] == optimizer].itertuples():
        own = results.curves[results.curves["trial_id"] == trial.trial_id].set_index("epoch")[metric]
        end = np.inf if trial.status == "diverged" else own.iloc[-1]
        rows.append([own.get(step, end) for step in steps])
    return np.array(rows)


def test_bundles_agree_with_a_loop_over_the_trials(two):
    (bundles,) = bundles_of(two, "validation_loss", "epoch").values()
    assert [bundle.method for bundle in bundles] == ["momentum", "adam"]
    for bundle in bundles:
        values = naive_values(two, bundle.method, "validation_loss")
        np.testing.assert_array_equal(bundle.values, values)
        assert bundle.diverged == np.isinf(values[:, -1]).mean() > 0
        best = two.best()[two.best()["optimizer"] == bundle.method].iloc[0]
        own = two.curves[two.curves["trial_id"].isin(two.seeds_of(best["trial_id"]))]
        np.testing.assert_array_equal(bundle.best, own.groupby("epoch")["validation_loss"].median())
        ordered = np.sort(values, axis=0)
        low, high = bundle.quantiles((0.1, 0.9))
        assert (low >= ordered[0]).all()
        assert ((values <= low).mean(axis=0) >= 0.1).all()
        assert ((values <= high).mean(axis=0) >= 0.9).all()


def test_curves_of_different_checkpoints_meet_on_straight_lines(tmp_path):
    with open_folder(tmp_path) as folder:
        with folder.writer() as cohort:
            for epoch in (0.0, 1.0, 2.0):
                cohort.append("curves", block(["t00000"], 0, epoch=epoch, loss=np.array([1.0 - 0.2 * epoch])))
            cohort.commit(trials(1))
        with folder.writer() as cohort:
            for epoch in (0.0, 2.0):
                cohort.append("curves", block(["u00000", "u00001"], 0, epoch=epoch, loss=np.array([1.0, 1.0 + epoch])))
            cohort.append("curves", block(["u00000"], 0, epoch=4.0, loss=np.array([0.5])))
            cohort.commit(trials(2, "u", batch_size=8, status=["completed", "diverged"]))
    (bundles,) = bundles_of(load(tmp_path), "loss", "epoch").values()
    np.testing.assert_array_equal(bundles[0].x, [0, 1, 2, 4])
    expected = [[1.0, 0.8, 0.6, 0.6], [1.0, 1.0, 1.0, 0.5], [1.0, 2.0, 3.0, np.inf]]
    np.testing.assert_allclose(bundles[0].values, expected)


def test_many_trials_become_bands_and_few_stay_lines(two, tmp_path):
    axes = curves(two).axes[1]  # adam: 144 trials
    assert len(axes.collections) == 1
    few = load(write_study(tmp_path / "few", ["sgd"], rates=6, seeds=1, epochs=3))
    (axes,) = curves(few, scale="loss").axes
    assert not axes.collections
    assert len(axes.lines) == 6 + 2  # the trials, the best of all, the best of this


def test_each_optimizer_has_axes_of_its_own_or_all_share_them(ten):
    assert len(curves(ten).axes) == 10
    (axes,) = curves(ten, spread=False).axes
    names = [text.get_text().split()[0] for text in axes.texts]
    assert sorted(names) == sorted(OPTIMIZERS)
    assert (
        len({(line.get_color(), str(line.get_linestyle())) for line in axes.lines if len(line.get_xdata()) > 2}) == 10
    )


def test_the_axes_suit_the_numbers(problems):
    figure = curves(problems, scale="loss")
    assert len(figure.axes) == 2  # one a problem
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}  # log-spaced checkpoints
    assert {axes.get_ylabel() for axes in figure.axes} == {"training loss"}
    assert figure.axes[0].get_xlabel() == "epochs"


@pytest.mark.parametrize("kind", COMMON)
def test_nothing_but_divergence_is_a_picture_too(kind, tmp_path):
    with open_folder(tmp_path, hyper=("lr", "beta")) as folder:
        rows = trials(9, status="diverged", final_loss=np.inf, beta=[0.1, 0.2, 0.3] * 3)
        commit(folder, rows, loss=np.full(9, np.inf))
        commit(folder, trials(4, "u", status="failed", optimizer="adam", lr=0.1, final_loss=np.nan), checkpoints=0)
    inside(plot(load(tmp_path), kind))


@pytest.mark.parametrize("kind", ["curves", "sensitivity"])
def test_a_single_trial_is_a_picture(kind, tmp_path):
    with open_folder(tmp_path) as folder:
        commit(folder, trials(1))
    inside(plot(load(tmp_path), kind))


@pytest.mark.full
def test_a_hundred_thousand_curves_are_drawn(tmp_path):
    results = load(write_study(tmp_path, list(OPTIMIZERS), rates=1470, seeds=4, epochs=10))
    assert len(results.trials) == 99960
    for kind in COMMON:
        inside(plot(results, kind))


# Sensitivity and heatmap.


def test_sensitivity_shows_the_best_over_the_other_hyper_parameters(two):
    figure = sensitivity(two, scale="loss")
    strip, axes = figure.axes
    best = two.best()
    adam = next(line for line in axes.lines if str(line.get_label()).startswith("adam"))
    own = best[best["optimizer"] == "adam"].groupby("lr")["final_validation_loss"].min()
    np.testing.assert_array_equal(adam.get_xdata(), own.index)
    np.testing.assert_array_equal(adam.get_ydata(), np.where(np.isfinite(own), own, np.nan))
    crosses = {line.get_color(): list(line.get_xdata()) for line in strip.lines}
    assert crosses[adam.get_color()] == own.index[np.isinf(own)].tolist()
    assert axes.get_xscale() == "log"
    start = two.curves.loc[two.curves["step"] == 0, "validation_loss"].median()
    assert axes.get_ylim()[0] < own.min() < start < axes.get_ylim()[1] < 2 * start


def test_sensitivity_to_another_hyper_parameter(two):
    axes = sensitivity(two, by="loss", at="best", hyper="momentum", scale="loss").axes[-1]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "0.9"]
    assert axes.get_ylabel() == "best training loss"


def test_heatmap_holds_the_medians_and_stars_the_best(two):
    figure = heatmap(two, scale="loss")
    axes = {ax.get_title(loc="left"): ax for ax in figure.axes}["momentum"]
    best = two.best()[lambda rows: rows["optimizer"] == "momentum"]
    table = best.pivot_table(index="momentum", columns="lr", values="final_validation_loss", aggfunc="min")
    drawn = axes.collections[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), ~np.isfinite(table))
    np.testing.assert_array_equal(drawn.compressed(), table.to_numpy()[np.isfinite(table)])
    star = axes.lines[0]
    assert star.get_xdata()[0] == pytest.approx(best["lr"].iloc[0])
    assert [0.5, 0.9][int(star.get_ydata()[0])] == best["momentum"].iloc[0]


def test_heatmap_over_columns_that_are_no_numbers(tmp_path):
    with open_folder(tmp_path) as folder:
        rows = trials(9, lr=[0.1, 0.2, 0.3] * 3)
        rows["schedule"] = [name for name in ("constant", "cosine", "step") for _ in range(3)]
        commit(folder, configured(rows))
    axes = heatmap(load(tmp_path)).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["constant", "cosine", "step"]
    assert axes.get_xscale() == "linear"


# Parts.


def test_looks_are_all_different():
    found = looks([str(i) for i in range(20)])
    assert len({(look.color, str(look.linestyle), look.marker) for look in found.values()}) == 20


def test_labels_are_spread_with_the_least_movement():
    placed = spread_labels([0.5, 0.5, 0.9, 0.1], gap=0.1)
    np.testing.assert_allclose(placed, [0.45, 0.55, 0.9, 0.1])
    placed = spread_labels([1.0, 1.0, 0.0], gap=0.2)
    np.testing.assert_allclose(sorted(placed), [0.0, 0.8, 1.0])
    assert spread_labels([0.3], gap=0.1).tolist() == [0.3]


@pytest.mark.parametrize(("value", "text"), [(0.0316227, "0.0316"), (1e-5, "1e-05"), (64.0, "64"), (0.9, "0.9")])
def test_numbers_are_short(value, text):
    assert number(value) == text
