"""Scales of pictures: gaps to the least known value, their floors, logarithmic time, and limits that users give."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from landscape_results import walked_in
from matplotlib.figure import Figure
from store_samples import block, commit, open_folder, trials, write_study
from test_plots import inside
from test_plots_limits import outside, texts
from typer.testing import CliRunner

from fastgd.analysis import load
from fastgd.cli.app import app
from fastgd.common.errors import InputError
from fastgd.plots import axes as axes_of
from fastgd.plots import curves, gap, heatmap, parallel, sensitivity
from fastgd.plots.scales import Scale, best_seen, mark_floor, scale_of


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("scales") / "two", ["momentum", "adam"], rates=12, epochs=8))


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    path = tmp_path_factory.mktemp("scales") / "problems"
    options = {"problems": ("flights", "digits"), "validation": False}
    return load(write_study(path, ["sgd", "adam"], rates=6, epochs=6, seeds=1, **options))


@pytest.fixture
def certified(two):
    """The same results, where the minimum of the objective is known to 1e-4."""
    found = load(two.path)
    found.__dict__["minima"] = two.minima.assign(minimum=0.35, error=1e-4, source="newton")
    return found


def floors(axes):
    return [text.get_text() for text in axes.texts if "differ by" in text.get_text() or "known to" in text.get_text()]


# --- what gaps are measured from --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["loss", "validation_loss"])
def test_a_gap_is_the_distance_from_the_best_seen(two, metric):
    """The witness is a loop over all checkpoints."""
    least = min(value for value in two.curves[metric] if np.isfinite(value))
    best = two.best(by=metric).drop_duplicates("optimizer").set_index("optimizer")
    (axes,) = curves(two, metric=metric, spread=False).axes
    assert axes.get_yscale() == "log"
    lines = {line.get_color(): line for line in axes.lines if len(line.get_xdata()) == 9}
    assert len(lines) == 2
    for line, name in zip(lines.values(), ["momentum", "adam"], strict=True):
        own = two.curves[two.curves["trial_id"].isin(two.seeds_of(best.loc[name, "trial_id"]))]
        np.testing.assert_allclose(line.get_ydata(), own.groupby("epoch")[metric].median() - least, atol=1e-15)
    assert axes.get_ylabel().endswith("loss\nabove the best seen")


def test_every_objective_has_a_minimum_of_its_own(tmp_path):
    with open_folder(tmp_path) as folder:
        for l2, floor in ((0.0, 0.1), (1e-2, 0.5)):
            rows = trials(3, f"{l2}", l2=l2)
            rows["final_loss"] = rows["best_loss"] = floor + np.array([0.0, 0.1, 0.2])
            commit(folder, rows, loss=rows["final_loss"].to_numpy())
    results = load(tmp_path)
    scale = scale_of(results, "loss", None)
    found = scale.shown(results.trials["final_loss"].to_numpy(), scale.least(results.trials))
    assert sorted(np.round(found, 12)) == [0.0, 0.0, 0.1, 0.1, 0.2, 0.2]


def test_a_computed_minimum_is_named_and_its_error_is_a_floor(certified):
    axes = sensitivity(certified, by="loss", y_limits=[1e-5, 1]).axes[-1]
    assert axes.get_ylabel() == "final training loss\nabove the minimum"
    assert "the minimum is known to 0.0001" in floors(axes)
    (adam,) = (line for line in axes.lines if str(line.get_label()).startswith("adam"))
    own = certified.best(by="loss")[lambda rows: rows["optimizer"] == "adam"].groupby("lr")["final_loss"].min()
    np.testing.assert_allclose(adam.get_ydata(), np.where(np.isfinite(own), own - 0.35, np.nan))


def test_of_accuracies_the_best_is_the_highest(tmp_path):
    with open_folder(tmp_path, metrics=("accuracy",)) as folder, folder.writer() as cohort:
        for epoch, value in enumerate((0.4, 0.7, 0.8)):
            seen = np.array([np.nan, value + 0.1, value])  # the last trial has the least loss
            cohort.append("curves", block([f"t{i:05d}" for i in range(3)], epoch, accuracy=seen))
        cohort.commit(trials(3))
    results = load(tmp_path)
    assert best_seen(results, "accuracy")["minimum"].tolist() == [0.9]
    (axes,) = curves(results, metric="accuracy", spread=False).axes
    assert axes.get_ylabel() == "training accuracy\nbelow the best seen"
    line = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.2, 0.1], atol=1e-12)


def test_a_metric_without_a_best_value_is_shown_as_it_is(two):
    axes = curves(two, metric="param_norm", spread=False).axes[0]
    assert axes.get_ylabel() == "norm of the parameters"
    with pytest.raises(InputError, match=r"'param_norm' has no best value; validation_loss, loss"):
        curves(two, metric="param_norm", scale="gap")
    with pytest.raises(InputError, match="no scale 'gaps'; did you mean 'gap'"):
        sensitivity(two, scale="gaps")


@given(
    st.sampled_from(["loss", "accuracy"]),
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
    st.lists(st.sampled_from([np.inf, np.nan]), max_size=4),
)
def test_gaps_keep_the_order_and_are_never_negative(metric, finite, lost):
    values = np.array([*finite, *lost])
    best = max(finite) if metric == "accuracy" else min(finite)
    scale = Scale("gap", metric, pd.DataFrame({"problem": ["p"], "minimum": [best], "error": [np.nan], "source": "s"}))
    shown = scale.shown(values, scale.least(pd.DataFrame({"problem": ["p"] * len(values)})))
    assert (shown[: len(finite)] >= 0).all()
    assert shown[: len(finite)].min() == 0
    np.testing.assert_array_equal(shown[len(finite) :], lost)
    order = np.argsort(shown[: len(finite)], kind="stable")
    ordered = np.array(finite)[order]
    steps = -np.diff(ordered) if metric == "accuracy" else np.diff(ordered)
    assert (steps >= -1e-9).all()  # values that are closer than rounding of gaps have the same gap


# --- floors -----------------------------------------------------------------------------------------------------------


def test_the_seeds_of_the_best_are_the_floor(two):
    """Of two optimizers, the mean of both."""
    best = two.best().drop_duplicates("optimizer")
    spread = (best["final_validation_loss_max"] - best["final_validation_loss_min"]).mean()
    for figure in (sensitivity(two, y_limits=[1e-5, 1]), curves(two, spread=False, y_limits=[1e-5, 1])):
        axes = figure.axes[-1]
        assert floors(axes) == [f"seeds differ by {spread:.2g}"]
        assert axes.patches[0].get_bbox().y1 == pytest.approx(spread)
        inside(figure)
    assert f"on the scale: seeds differ by {spread:.2g}" in texts(heatmap(two, limits=[1e-5, 1]))
    assert not floors(sensitivity(two, scale="loss").axes[-1])


def test_one_seed_has_no_floor(problems):
    assert not any(floors(axes) for axes in sensitivity(problems).axes + curves(problems).axes)


def test_starts_of_a_landscape_are_no_noise(tmp_path):
    for figure in (curves(walked := walked_in(tmp_path), spread=False), sensitivity(walked)):
        assert not [text for axes in figure.axes for text in floors(axes)]


def test_a_floor_outside_of_the_axes_is_not_drawn():
    axes = Figure().subplots()
    axes.set(yscale="log", ylim=(1e-3, 1))
    for height in (0.0, 1e-4, 1e-3, 1.0, 5.0):
        mark_floor(axes, height, "a floor at")
    assert not axes.patches
    mark_floor(axes, 0.01, "a floor at")
    assert (axes.get_ylim(), axes.texts[0].get_text()) == ((1e-3, 1), "a floor at 0.01")


def test_the_best_seen_itself_leaves_the_axes_with_a_mark(tmp_path):
    with open_folder(tmp_path) as folder, folder.writer() as cohort:
        for epoch in range(9):
            loss = 0.3 + np.array([0.2, 0.1, 0.0]) + 0.3 * 0.5**epoch
            cohort.append("curves", block([f"t{i:05d}" for i in range(3)], epoch, loss=loss))
        cohort.commit(trials(3, final_loss=loss, best_loss=loss))
    results = load(tmp_path)
    for figure, noun in ((sensitivity(results), "point"), (curves(results, spread=False), "line")):
        axes = figure.axes[-1]
        assert "v" in [line.get_marker() for line in outside(axes)]
        assert f"▼ 1 {noun} below, down to 0" in texts(figure)
        assert 0 < axes.get_ylim()[0] < 0.1
        lowest = min(min(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) > 2)
        assert 0 < lowest < axes.get_ylim()[0]  # the line ends just below
        inside(figure)
    cells = parallel(results, columns=["lr", "batch_size"])
    inside(cells)


def test_a_seed_that_is_the_best_seen_is_no_point_outside(two):
    figure = sensitivity(two, by="loss", at="best")
    assert two.best("loss", "best")["best_loss_min"].min() == two.minima["minimum"].iloc[0]
    assert not [text for text in texts(figure) if text.endswith("down to 0")]


# --- axes that users choose -------------------------------------------------------------------------------------------


def test_limits_that_a_user_gives(two):
    axes = curves(two, spread=False, x_limits=[2, 6], y_limits=[1e-3, 0.1]).axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((2, 6), (1e-3, 0.1))
    strip, axes = sensitivity(two, x_limits=(1e-3, 0.1)).axes
    assert axes.get_xlim() == strip.get_xlim() == (1e-3, 0.1)
    cells = heatmap(two, x_limits=[1e-3, 0.1]).axes[0].collections[0].get_array()
    rates = two.trials["lr"].unique()
    assert cells.shape[1] == ((rates >= 1e-3) & (rates <= 0.1)).sum() > 1
    mesh = heatmap(two, limits=[1e-3, 0.1]).axes[0].collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (1e-3, 0.1)


@pytest.mark.parametrize("limits", [[1], [2, 1], ["a", "b"], 3, [1, np.inf], [True, 2], "12"])
def test_limits_that_are_none(two, limits):
    with pytest.raises(InputError, match="x_limits must be two numbers, the lower one first"):
        curves(two, x_limits=limits)


def test_limits_that_an_axis_does_not_have(two):
    with pytest.raises(InputError, match="y_limits must be above 0, as this axis is logarithmic"):
        sensitivity(two, y_limits=[0, 1])
    with pytest.raises(InputError, match=r"learning rate has no value from 20 to 30; there are 0\.0001"):
        heatmap(two, x_limits=[20, 30])
    with pytest.raises(InputError, match="no scale 'logs'; did you mean 'log'"):
        curves(two, x_scale="logs")


def test_logarithmic_time(two):
    linear, log = (curves(two, spread=False, x_scale=name).axes[0] for name in ("linear", "log"))
    assert (linear.get_xscale(), log.get_xscale()) == ("linear", "log")
    assert (linear.get_xlim()[0], log.get_xlim()[0]) == (0, 1)
    inside(log.figure)


def test_limits_on_the_command_line(two, tmp_path):
    options = ["--set", "y_limits=[0.001,0.1]", "--set", "scale=gap", "--set", "x_scale=log"]
    result = CliRunner().invoke(app, ["plot", str(two.path), "-o", str(tmp_path / "a.png"), *options])
    assert result.exit_code == 0, result.output


# --- gap over time ----------------------------------------------------------------------------------------------------


def test_a_power_of_the_steps_is_a_straight_line(tmp_path):
    with open_folder(tmp_path) as folder, folder.writer() as cohort:
        for epoch in range(1, 65):
            loss = 0.2 + np.array([1.0, 2.0]) / epoch**2
            cohort.append("curves", block(["t00000", "t00001"], epoch, loss=loss))
        rows = trials(2, optimizer=["sgd", "adam"])
        rows["final_loss"] = rows["best_loss"] = 0.2 + np.array([1.0, 2.0]) / 64**2
        cohort.commit(rows)
    (axes,) = axes_of(load(tmp_path), "gap", x="step")
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "steps")
    adam = next(line for line in axes.lines if len(line.get_xdata()) == 64 and line.get_ydata()[0] > 1.5)
    # Above the best seen, which is 1 / 64**2 above 0.2.
    np.testing.assert_allclose(adam.get_ydata(), 2 / np.arange(1, 65.0) ** 2 - 1 / 64**2, rtol=1e-9)


def test_the_middle_half_of_the_seeds_is_a_band(two):
    (axes,) = gap(two).axes
    assert len(axes.collections) == 2
    assert "middle half of the seeds" in texts(gap(two))
    with pytest.raises(InputError, match="'param_norm' has no best value"):
        gap(two, metric="param_norm")


# --- parallel coordinates ---------------------------------------------------------------------------------------------


def test_lines_have_the_colour_of_the_best_configuration_through_them(tmp_path):
    with open_folder(tmp_path, hyper=("lr", "beta")) as folder:
        grid = pd.MultiIndex.from_product([[0.1, 1.0], [0.5, 0.9], [16, 64]], names=["lr", "beta", "batch_size"])
        rows = trials(8, **grid.to_frame(index=False), status=["completed"] * 7 + ["diverged"])
        rows["final_loss"] = rows["best_loss"] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9, np.inf]
        commit(folder, rows, loss=np.full(8, 1.0))
    results = load(tmp_path)
    figure = parallel(results, scale="loss")
    inside(figure)
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["learning rate", "beta", "batch size"]
    first, second = axes.collections
    assert len(first.get_segments()) == len(second.get_segments()) == 4
    # (lr, beta) = (1, 0.9) holds a configuration that ended at 0.9, which hides the lost one
    assert len({tuple(own) for own in first.get_edgecolors()}) == 4
    assert (np.ptp(second.get_edgecolors()[:, :3], axis=1) > 0.01).all()
    best = next(line for line in axes.lines if line.get_color() == "black")
    assert best.get_ydata().tolist() == [0, 0, 0]
    lost = parallel(results, scale="loss", columns=["lr", "beta"])
    assert {"diverged", "best: sgd lr 0.1, beta 0.5"} <= set(texts(lost))


def test_lines_of_lost_configurations_alone_are_grey_and_behind(two):
    axes = parallel(two, columns=["lr", "method"]).axes[0]
    colours = axes.collections[0].get_edgecolors()
    grey = np.ptp(colours[:, :3], axis=1) < 0.01
    assert grey.any()
    assert not grey[np.argmin(grey) :].any()  # all grey ones are drawn first


def test_a_configuration_without_a_hyper_parameter_passes_below_its_axis(two):
    axes = parallel(two).axes[0]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == ["optimizer", "learning rate", "momentum", "beta1", "beta2"]
    assert [text.get_text() for text in axes.texts].count("none") == 3
    inside(axes.figure)


def test_parallel_coordinates_need_two_columns(two, tmp_path):
    with pytest.raises(InputError, match="no hyper-parameter 'momentun'; did you mean 'momentum'"):
        parallel(two, columns=["lr", "momentun"])
    for wrong in (["lr"], ["lr", "lr"], "lr"):
        with pytest.raises(InputError, match="two different columns or more"):
            parallel(two, columns=wrong)
    with open_folder(tmp_path) as folder:
        commit(folder, trials(3))
    with pytest.raises(InputError, match="differ only in learning rate"):
        parallel(load(tmp_path))


@pytest.mark.full
def test_fifty_thousand_configurations_are_few_lines(tmp_path):
    with open_folder(tmp_path, hyper=("lr", "beta")) as folder:
        random = np.random.default_rng(0)
        lr, beta = 10.0 ** random.uniform(-4, 0, 50_000), random.uniform(0, 1, 50_000)
        commit(folder, trials(50_000, lr=lr, beta=beta), loss=np.full(50_000, 0.7))
    axes = parallel(load(tmp_path)).axes[0]
    assert len(axes.collections[0].get_segments()) <= 121**2
