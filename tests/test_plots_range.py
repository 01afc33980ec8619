"""The pictures of range tests and of searches of rates: what they show, and what they say where there is nothing."""

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from cohorts import in_full
from matplotlib.colors import to_hex
from small_studies import rows, study_of
from store_samples import open_folder, write_study
from test_plots import inside

import fastgd
from fastgd.analysis import load
from fastgd.common.errors import InputError
from fastgd.plots import plot, range_, save, tune
from fastgd.search.found_rates import FoundRates, Round
from fastgd.search.rate_sweeps import SUGGESTED, RateSweep, sweeps_of

# --- range tests ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A range test of two optimizers, one with two values of its momentum, from two seeds."""
    optimizers = [{"name": "momentum", "lr": 0.1, "momentum": [0.5, 0.9]}, {"name": "sgd", "lr": 0.1}]
    study = study_of(optimizer=optimizers, seed=[0, 1], batch_size=[16, 32])
    path = tmp_path_factory.mktemp("range")
    return fastgd.range_test(study, path, data=rows(), steps=80, threads=2).results


def sweep(loss, start=1.0, rates=None):
    rates = np.geomspace(1e-4, 1e0, len(loss)) if rates is None else rates
    loss = np.asarray(loss, dtype=float)
    return RateSweep({}, rates, loss, np.minimum(loss, 2.0), start)


def test_the_rates_that_stand_out():
    found = sweep([1.0, 0.9, 0.4, 0.3, 0.2, 0.6, 1.2, math.inf, math.inf])
    rates = found.rates
    assert found.least == pytest.approx(rates[4], rel=1e-3)
    assert found.suggestion == pytest.approx(rates[4] * SUGGESTED, rel=1e-3)
    assert found.steepest == pytest.approx(rates[2], rel=1e-3)
    assert found.blow_up == pytest.approx(rates[6], rel=1e-3)
    falling = sweep([1.0, 0.9, 0.8])
    assert (falling.least, math.isnan(falling.blow_up)) == (1.0, True)
    rising = sweep([1.1, 1.2, math.inf])
    assert all(math.isnan(value) for value in (rising.least, rising.steepest, rising.suggestion))
    assert rising.blow_up == 1e-4


def test_sweeps_are_medians_over_the_seeds(tested):
    found = sweeps_of(tested)
    assert len(found) == 3 * 2
    for one in found:
        trials = tested.seeds_of(one.configuration["trial_id"])
        assert len(trials) == 2
        curves = tested.curves[tested.curves["trial_id"].isin(trials)]
        assert one.start == curves.loc[curves["step"] == 0, "loss"].median()
        at = curves[curves["step"] == 40]
        seen = np.interp(np.log(at["lr"].iloc[0]), np.log(one.rates), one.loss)
        assert seen == pytest.approx(at["loss"].median(), rel=0.01)


def test_a_line_for_each_optimizer_and_a_mark_at_its_rate(tested):
    figure = range_(tested)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["batch size 16", "batch size 32"]
    for axes, batch_size in zip(figure.axes, (16, 32), strict=True):
        own = [one for one in sweeps_of(tested) if one.configuration["batch_size"] == batch_size]
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        for text, method in zip(texts, ("momentum", "sgd"), strict=True):
            best = min((one for one in own if one.configuration["method"] == method), key=lambda one: one.smooth.min())
            assert text.startswith(f"{method}  {best.suggestion:.3g}")
            assert ("momentum 0." in text) == (method == "momentum")
            marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
            assert any(line.get_xdata()[0] == best.suggestion for line in marks)
        assert axes.get_xscale() == "log"
        assert axes.get_xlabel() == "learning rate"


def test_the_range_is_drawn_whole_and_the_same_every_time(tested, tmp_path):
    before = dict(mpl.rcParams)
    inside(plot(tested, "range"))
    files = [tmp_path / f"{name}.svg" for name in "ab"]
    for file in files:
        save(plot(tested, "range"), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert dict(mpl.rcParams) == before


def test_a_range_that_blows_up_at_once_is_a_picture(tmp_path):
    study = study_of(problem={"loss": "squared"}, batch_size="full")
    tested = fastgd.range_test(study, tmp_path, data=rows("squared"), low=1e3, high=1e5, steps=20, threads=2)
    (axes,) = range_(tested.results).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["momentum  none"]
    inside(range_(tested.results))


def test_studies_in_which_no_rate_grew(tmp_path):
    with pytest.raises(InputError, match=r"no rate grew in the study of .*--range-test"):
        range_(load(write_study(tmp_path / "plain", ["sgd"], rates=3, epochs=2)))
    with open_folder(tmp_path / "empty"), pytest.raises(InputError, match="no trials"):
        range_(load(tmp_path / "empty"))


# --- searches ---------------------------------------------------------------------------------------------------------


def tuning(tmp_path, methods=("sgd", "adam"), problems=("flights",), **changes):
    """A search of three rounds, the last one with the whole budget."""
    rounds = [Round(f"round-{k}", {"epochs": 10 if k == 2 else 2}, k == 2, 5) for k in range(3)]
    answers, points = [], []
    for problem in problems:
        for method in methods:
            best = 0.1 if method == "sgd" else 0.01
            lost = changes.get("diverged") == method
            for round_, width in enumerate((100.0, 3.0, 1.1)):
                for lr in best * np.geomspace(1 / width, width, 5):
                    loss = 0.4 + 0.1 * np.log10(lr / best) ** 2 - 0.02 * (round_ == 2)
                    loss = math.inf if lost or lr > 50 * best else loss
                    points.append(
                        {"answer": len(answers), "round": round_, "full": round_ == 2, "lr": lr, "loss": loss}
                    )
            found = {
                "problem": problem, "l2": 0.0, "batch_size": 1024, "optimizer": method, "variant": "",
                "schedule": "constant", "momentum": math.nan if method == "adam" else 0.9,
                "status": "diverged" if lost else "bracketed", "lr": best, "low": best / 1.05, "high": best * 1.05,
                "loss": math.inf if lost else 0.38, "start": 0.69, "flat_low": best / 10, "flat_high": best * 10,
                "seeds": 1, "diverged": 0, "rates": 15, "rounds": 3, "trials": 15,
            }  # fmt: skip
            nothing = dict.fromkeys(("lr", "low", "high", "flat_low", "flat_high"), math.nan)
            answers.append(found | (nothing if lost else {}))
    tables = {"answers": pd.DataFrame(answers), "points": pd.DataFrame(points)}
    for table in tables.values():
        table["loss_min"] = table["loss_max"] = table["loss"]
    tables["points"] = tables["points"].assign(seeds=1, diverged=0)
    return FoundRates(tmp_path, "sample", "validation_loss", 1.3, rounds, **tables)


def test_losses_of_both_budgets_the_best_rate_and_its_bracket(tmp_path):
    found = tuning(tmp_path)
    figure = tune(found)
    for index, (axes, strip) in enumerate((figure.axes[i], figure.axes[i + 2]) for i in range(2)):
        answer, own = found.answers.iloc[index], found.points[found.points["answer"] == index]
        part, whole = (own[own["full"] == full].sort_values("lr") for full in (False, True))
        drawn = [line for line in axes.lines if len(line.get_xdata()) > 2]
        np.testing.assert_array_equal(drawn[1].get_xdata(), whole["lr"])
        np.testing.assert_array_equal(drawn[1].get_ydata(), whole["loss"])
        assert set(drawn[0].get_xdata()) <= set(part["lr"])
        assert np.isfinite(drawn[0].get_ydata()).all()
        marks = [line.get_xydata().tolist()[0] for line in axes.lines if line.get_markeredgecolor() == "black"]
        assert marks == [[answer["lr"], answer["loss"]]]
        assert axes.get_title(loc="left") == answer["optimizer"]
        spans = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
        ends = {(float(f"{span.x0:.4g}"), float(f"{span.x1:.4g}")) for span in spans}
        assert (float(f"{answer['low']:.4g}"), float(f"{answer['high']:.4g}")) in ends
        assert (float(f"{answer['flat_low']:.4g}"), float(f"{answer['flat_high']:.4g}")) in ends
        assert strip.get_xlim() == axes.get_xlim()
        rates = [line for line in strip.lines if line.get_marker() == "|"]
        assert [line.get_ydata()[0] for line in rates] == [0, 1, 2]
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "momentum 0.9, flat over 2.0 decades" in words
    assert "flat over 2.0 decades" in words
    assert "rate 0.1" in words


@pytest.mark.parametrize(
    "changes",
    [
        {},
        in_full({"methods": ("sgd",)}),
        in_full({"methods": ("sgd", "adam", "lion", "adagrad", "rmsprop"), "problems": ("flights", "digits")}),
        in_full({"diverged": "sgd"}),
        {"methods": ("sgd",), "diverged": "sgd"},
    ],
    ids=str,
)
def test_a_search_is_drawn_whole_and_the_same_every_time(changes, tmp_path):
    found, before = tuning(tmp_path, **changes), dict(mpl.rcParams)
    inside(tune(found))
    for name in "ab":
        save(tune(found), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert dict(mpl.rcParams) == before


def test_crosses_are_rates_that_diverged(tmp_path):
    found = tuning(tmp_path, diverged="sgd")
    axes = tune(found).axes[0]
    crosses = np.concatenate([line.get_xdata() for line in axes.lines if line.get_marker() == "x"])
    assert set(crosses) == set(found.points.loc[found.points["answer"] == 0, "lr"])


def test_a_look_is_an_optimizers_own(tmp_path):
    figure = tune(tuning(tmp_path, problems=("flights", "digits")))
    looks = [to_hex(line.get_color()) for axes in figure.axes for line in axes.lines if line.get_markersize() == 7.5]
    assert looks[0] == looks[2] != looks[1] == looks[3]


def test_a_search_without_rates_cannot_be_drawn(tmp_path):
    found = tuning(tmp_path, methods=("sgd",))
    found.answers["status"] = "no rate"
    with pytest.raises(InputError, match=r"no optimizer of the search in .* has a rate"):
        tune(found)
