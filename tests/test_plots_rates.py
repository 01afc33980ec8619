"""The picture of effective rates: what it shows, and what it says where there is nothing to show."""

import matplotlib as mpl
import numpy as np
import pytest
from cohorts import in_full
from matplotlib.colors import to_hex
from store_samples import block, commit, open_folder, trials, write_study
from test_plots import inside

from fastgd.analysis import load, with_methods
from fastgd.common.errors import InputError
from fastgd.plan.units.recording import EFFECTIVE_RATES as METRIC
from fastgd.plan.units.recording import RATE_CLASSES as CLASSES
from fastgd.plan.units.recording import RATE_COLUMNS as COLUMNS
from fastgd.plan.units.recording import RATE_QUANTILES as QUANTILES
from fastgd.plots import plot, rates, save
from fastgd.plots.studies import effective_rates
from fastgd.plots.studies.effective_rates import _CLASSES, rates_of

CHECKPOINTS = 5


def value(optimizer, name, quantile, lane, checkpoint):
    """A rate that tells everything about itself: adaptive ones begin at lr / eps, and fall."""
    if optimizer == "sgd":
        return 0.1 * (lane + 1)
    start = {"rare": 10.0, "medium": 1.0, "frequent": 0.1}[name] * {"q10": 0.5, "q50": 1.0, "q90": 3.0}[quantile]
    return 1e8 if checkpoint == 0 else start * (lane + 1) / checkpoint


def write(path, optimizers=("sgd", "adagrad"), classes=CLASSES, metrics=COLUMNS, **changes):
    """A study of three trials an optimizer, of which the last one is the best."""
    with open_folder(path, metrics=metrics) as folder:
        for optimizer in optimizers:
            rows = trials(3, optimizer, optimizer=optimizer, **changes)
            with folder.writer() as cohort:
                for checkpoint in range(CHECKPOINTS):
                    columns = {
                        f"{METRIC}.{name}.{quantile}": np.array(
                            [value(optimizer, name, quantile, lane, checkpoint) for lane in range(3)]
                        )
                        for name in classes
                        for quantile in QUANTILES
                        if optimizer != "signum" and metrics
                    }
                    cohort.append(
                        "curves",
                        block(
                            rows["trial_id"],
                            checkpoint,
                            loss=rows["final_loss"].to_numpy(),
                            lr=rows["lr"].to_numpy(),
                            **columns,
                        ),
                    )
                cohort.commit(rows)
    return load(path)


def test_classes_and_columns_are_those_of_the_metric():
    assert tuple(_CLASSES) == CLASSES


def test_it_shows_the_best_trial_of_each_optimizer(tmp_path):
    results = write(tmp_path)
    found = rates_of(results)
    assert [one.method for one in found] == ["sgd", "adagrad"]
    assert [one.alike for one in found] == [True, False]
    for one in found:
        np.testing.assert_array_equal(one.x, [1, 2, 3, 4])  # without the start
        assert list(one.classes) == list(CLASSES)
        for name, drawn in one.classes.items():
            expected = [[value(one.method, name, q, 2, k) for k in range(1, CHECKPOINTS)] for q in QUANTILES]
            np.testing.assert_array_equal(drawn, expected)
        assert one.settings == "lr 1"


def test_methods_are_joined_once_for_all_panels(tmp_path, monkeypatch):
    results, joined = write(tmp_path, ("sgd", "adagrad", "adam")), []
    monkeypatch.setattr(effective_rates, "with_methods", lambda frame: joined.append(len(frame)) or with_methods(frame))
    assert [one.settings for one in rates_of(results)] == ["lr 1"] * 3
    assert joined == [9, 9], "the ranking, and the trials"


def test_lines_are_medians_and_bands_the_middle(tmp_path):
    figure = rates(write(tmp_path))
    sgd, adagrad = figure.axes
    (line,) = sgd.lines  # one rate for all features
    np.testing.assert_allclose(line.get_ydata(), 0.3)
    assert not sgd.collections
    assert [to_hex(line.get_color()).upper() for line in adagrad.lines] == [look[0] for look in _CLASSES.values()]
    for line, band, name in zip(adagrad.lines, adagrad.collections, CLASSES, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), [value("adagrad", name, "q50", 2, k) for k in range(1, 5)])
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.max() == value("adagrad", name, "q90", 2, 1)
        assert heights.min() == value("adagrad", name, "q10", 2, 4)
    assert adagrad.get_yscale() == "log"
    assert adagrad.get_ylim()[1] < 1e3  # the start is out of sight
    assert (sgd.get_ylim(), sgd.get_ylabel()) == (adagrad.get_ylim(), "effective rate")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        in_full({"optimizers": ("adagrad",)}),
        in_full({"classes": ("frequent",)}),
        in_full({"optimizers": ("sgd", "adagrad", "rmsprop", "adam", "ftrl", "signum")}),
    ],
    ids=str,
)
def test_it_is_drawn_whole_and_the_same_every_time(changes, tmp_path):
    results, before = write(tmp_path / "r", **changes), dict(mpl.rcParams)
    inside(plot(results, "rates"))
    files = [tmp_path / f"{name}.svg" for name in "ab"]
    for file in files:
        save(plot(results, "rates"), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert dict(mpl.rcParams) == before


def test_rules_without_a_rate_and_classes_without_features_are_left_out(tmp_path):
    found = rates_of(write(tmp_path, optimizers=("signum", "adagrad"), classes=("medium", "frequent")))
    assert [(one.method, list(one.classes)) for one in found] == [("adagrad", ["medium", "frequent"])]


def test_a_single_epoch_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("test_plots_rates.CHECKPOINTS", 2)
    inside(rates(write(tmp_path)))


def test_what_was_not_recorded_is_one_message(tmp_path):
    with pytest.raises(InputError, match=r"no effective rates.*\[record\] metrics = \[\"effective_lr\"\]"):
        rates(load(write_study(tmp_path / "without", ["sgd"], rates=3, epochs=2)))
    with pytest.raises(InputError, match="the best trials have none"):
        rates(write(tmp_path / "signs", optimizers=("signum",)))
    with open_folder(tmp_path / "empty"), pytest.raises(InputError, match="no trials"):
        rates(load(tmp_path / "empty"))
    with open_folder(tmp_path / "lost", metrics=COLUMNS) as folder:
        commit(folder, trials(2, status="diverged", final_loss=np.inf))
    with pytest.raises(InputError, match="the best trials have none"):
        rates(load(tmp_path / "lost"))
