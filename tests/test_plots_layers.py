"""The picture of a network's layers: what it shows, and what it says where there is nothing to show."""

import matplotlib as mpl
import numpy as np
import pytest
from cohorts import in_full
from store_samples import block, open_folder, trials, write_study
from test_plots import inside

from fastgd.analysis import load
from fastgd.common.errors import InputError
from fastgd.plan.units.recording import DEAD_COLUMNS, NORM_COLUMNS, SEVERAL_COLUMNS, UPDATE_COLUMNS
from fastgd.plots import layers, plot, save
from fastgd.plots.studies.layers import _LOOKS, _QUANTITIES, layers_of
from fastgd.study.fields import LAYER_METRICS
from fastgd.study.networks import MOST_LAYERS

CHECKPOINTS = 5
ALL = [*NORM_COLUMNS, *UPDATE_COLUMNS, *DEAD_COLUMNS]


def value(column, lane, checkpoint):
    """A number that tells everything about itself; the first layer's gradient vanishes."""
    name, _, layer = column.partition(".")
    if name == "dead_units":
        return 0.1 * int(layer) + 0.05 * checkpoint
    if name == "layer_update_ratio" and checkpoint == 0:
        return np.nan
    return 10.0 ** (3 * int(layer) - checkpoint) * (lane + 1)


def write(path, problems=("net",), optimizers=("sgd", "adam"), columns=ALL, depth=3, lost=()):
    """Studies of three trials a problem and optimizer, of which the last one is the best."""
    shown = [name for name in columns if int(name[-1]) <= depth - name.startswith("dead")]
    with open_folder(path, metrics=tuple(columns)) as folder:
        for problem in problems:
            for optimizer in optimizers:
                rows = trials(3, f"{problem}-{optimizer}", optimizer=optimizer, problem=problem)
                with folder.writer() as cohort:
                    for checkpoint in range(CHECKPOINTS):
                        own = {name: np.array([value(name, lane, checkpoint) for lane in range(3)]) for name in shown}
                        cohort.append(
                            "curves",
                            block(
                                rows["trial_id"],
                                checkpoint,
                                loss=rows["final_loss"].to_numpy(),
                                lr=rows["lr"].to_numpy(),
                                **({} if problem in lost else own),
                            ),
                        )
                    cohort.commit(rows)
    return load(path)


def test_quantities_are_the_metrics_of_layers_and_each_layer_has_a_look():
    assert tuple(_QUANTITIES) == LAYER_METRICS
    assert all(name in SEVERAL_COLUMNS for name in _QUANTITIES)
    assert len(_LOOKS) == MOST_LAYERS


def test_it_shows_the_best_trial_of_each_optimizer(tmp_path):
    figure = layers(write(tmp_path))
    assert len(figure.axes) == 6, "three metrics of two optimizers"
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == list(_QUANTITIES.values())
    names = (NORM_COLUMNS, UPDATE_COLUMNS, DEAD_COLUMNS)
    for axes, columns, log in zip(figure.axes, 2 * names, 2 * (True, True, False), strict=True):
        lines = [line for line in axes.lines if line.get_gid() != "outside"]
        for line, column in zip(lines, columns[: 2 if columns is DEAD_COLUMNS else 3], strict=True):
            np.testing.assert_array_equal(line.get_xdata(), range(CHECKPOINTS))
            np.testing.assert_array_equal(line.get_ydata(), [value(column, 2, k) for k in range(CHECKPOINTS)])
        assert axes.get_yscale() == ("log" if log else "linear")
    for one, other in zip(figure.axes[:3], figure.axes[3:], strict=True):
        assert one.get_ylim() == other.get_ylim(), "optimizers are compared"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["layer 1", "layer 2", "layer 3"]


def test_trials_that_are_asked_for(tmp_path):
    results = write(tmp_path)
    ids = results.trials["trial_id"].tolist()
    (one,) = layers_of(results, ids[0])
    np.testing.assert_array_equal(one.metrics["layer_grad_norm"][1], [value(NORM_COLUMNS[0], 0, k) for k in range(5)])
    assert [len(layers_of(results, ids[:count])) for count in (1, 2, 3)] == [1, 2, 3]
    with pytest.raises(InputError, match="there is no trial 'other' to draw"):
        layers(results, trials="other")


def test_problems_stand_together_and_those_without_layers_are_left_out(tmp_path):
    results = write(tmp_path, problems=("net", "linear", "other"), lost=("linear",))
    assert [(one.problem, one.method) for one in layers_of(results)] == [
        ("net", "sgd"), ("net", "adam"), ("other", "sgd"), ("other", "adam"),
    ]  # fmt: skip
    assert len(layers(results, problem="other").axes) == 6
    with pytest.raises(InputError, match="no problem 'linear' to draw; valid: net, other"):
        layers(results, problem="linear")


@pytest.mark.parametrize("columns", [NORM_COLUMNS, UPDATE_COLUMNS, DEAD_COLUMNS])
def test_what_was_not_recorded_has_no_panels(tmp_path, columns):
    figure = layers(write(tmp_path, optimizers=("sgd",), columns=columns))
    assert len(figure.axes) == 1


def test_many_trials_have_pages(tmp_path):
    results = write(tmp_path, problems=tuple(f"net {k}" for k in range(9)), optimizers=("sgd",))
    first, second = (layers(results, page=page) for page in (1, 2))
    assert len(first.axes) + len(second.axes) == 27
    inside(second)


def test_a_gradient_of_zero_is_marked(tmp_path, monkeypatch):
    plain = value
    monkeypatch.setattr(
        "test_plots_layers.value", lambda name, *at: 0.0 if name == NORM_COLUMNS[0] else plain(name, *at)
    )
    (axes,) = layers(write(tmp_path, optimizers=("sgd",), columns=NORM_COLUMNS)).axes
    assert axes.get_ylim()[0] > 0
    assert "▼ 1 line below, down to 0" in [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(
    "changes", [{}, in_full({"depth": 1}), in_full({"depth": 4}), in_full({"problems": ("net", "other")})], ids=str
)
def test_it_is_drawn_whole_and_the_same_every_time(changes, tmp_path):
    results, before = write(tmp_path / "r", **changes), dict(mpl.rcParams)
    inside(plot(results, "layers"))
    files = [tmp_path / f"{name}.svg" for name in "ab"]
    for file in files:
        save(plot(results, "layers"), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert dict(mpl.rcParams) == before


def test_one_checkpoint_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("test_plots_layers.CHECKPOINTS", 2)
    figure = layers(write(tmp_path))
    inside(figure)
    assert {line.get_marker() for line in figure.axes[1].lines} == {"o"}, "a line of one point"


def test_where_nothing_was_recorded_the_message_says_how(tmp_path):
    text = r'say nothing of layers; run the study with \[record\] metrics = \["layer_grad_norm", "layer_update_ratio"'
    with pytest.raises(InputError, match=text):
        layers(load(write_study(tmp_path / "without", ["sgd"], rates=3, epochs=2)))
    with pytest.raises(InputError, match="no layers were measured"):
        layers(write(tmp_path / "lost", lost=("net",)))
    with open_folder(tmp_path / "empty"), pytest.raises(InputError, match="no trials"):
        layers(load(tmp_path / "empty"))
