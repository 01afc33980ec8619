"""Pictures of answers: times, shares, ranks, differences and budgets are those of the tables, and legible."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from landscape_results import walked_in
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from store_samples import OPTIMIZERS, block, commit, open_folder, trials, write_study
from test_plots import inside
from test_plots_limits import texts

from fastgd.analysis import load
from fastgd.common.errors import InputError
from fastgd.plots import axes, budget, compare, ecdf, plot, profile, ranks, save, time
from fastgd.plots.answers.ranks import cliques
from fastgd.plots.readings import methods
from fastgd.plots.shares import _CORNERS, draw_shares
from fastgd.plots.style import looks

KINDS = ["time", "ecdf", "profile", "ranks", "compare", "budget"]
FIFTEEN = [*OPTIMIZERS, "lion", "lamb", "signum", "radam", "adamax"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return load(write_study(tmp_path_factory.mktemp("answers") / "two", ["momentum", "adam"], rates=8, epochs=8))


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    path = tmp_path_factory.mktemp("answers") / "problems"
    names = ("flights", "digits", "wine")
    return load(write_study(path, ["sgd", "adam", "nadam"], rates=6, epochs=6, seeds=2, problems=names))


@pytest.fixture(scope="module")
def fifteen(tmp_path_factory):
    """Fifteen optimizers that differ by less than their seeds, two rates each."""
    path, random = tmp_path_factory.mktemp("answers") / "fifteen", np.random.default_rng(0)
    with open_folder(path) as folder:
        for name in FIFTEEN:
            for seed in range(3):
                final = 0.4 + 0.01 * random.random(2)
                with folder.writer() as cohort:
                    ids = [f"{name}-{seed}-{place}" for place in range(2)]
                    for epoch in range(6):
                        cohort.append("curves", block(ids, epoch, loss=final + 0.3 * 0.5**epoch * (epoch < 5)))
                    rows = trials(2, name, trial_id=ids, optimizer=name, seed=seed, cohort_id=f"{name}{seed}")
                    cohort.commit(rows.assign(final_loss=final, best_loss=final))
    return load(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["two", "problems", "fifteen"])
def test_every_kind_is_drawn_whole_and_names_every_optimizer(kind, name, request):
    results = request.getfixturevalue(name)
    figure = plot(results, kind)
    inside(figure)
    said = " ".join([text.get_text() for text in figure.findobj(Text)])
    assert [method for method in methods(results) if method not in said] == []


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_fifteen_optimizers_do_not_cover_each_other(kind, fifteen):
    figure = plot(fifteen, kind)
    figure.draw_without_rendering()
    names = [
        text.get_window_extent()
        for text in figure.findobj(Text)
        if any(method in text.get_text().split() for method in FIFTEEN) and text.get_visible()
    ]
    assert len(names) >= 14  # the one that others are compared with is on the axis
    overlaps = [
        (one, other)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
        if min(one.x1, other.x1) - max(one.x0, other.x0) > 1 and min(one.y1, other.y1) - max(one.y0, other.y0) > 3
    ]
    assert overlaps == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_picture_gives_the_same_file(kind, two, tmp_path):
    for name in "ab":
        save(plot(two, kind), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    return walked_in(tmp_path_factory.mktemp("answers"))


@pytest.mark.parametrize("kind", ["gap", "parallel", *KINDS])
def test_landscapes_have_them_too(kind, walked):
    inside(plot(walked, kind))


@pytest.mark.parametrize("kind", ["time", "ecdf"])
def test_nothing_but_divergence_is_a_picture_too(kind, tmp_path):
    with open_folder(tmp_path) as folder:
        commit(folder, trials(9, status="diverged", final_loss=np.inf), loss=np.full(9, np.inf))
    inside(plot(load(tmp_path), kind))


def test_options_that_there_are_not(two, tmp_path):
    with pytest.raises(InputError, match="no hyper-parameter 'momentun'; did you mean 'momentum'"):
        time(two, hyper="momentun")
    with pytest.raises(InputError, match="give one of target, gap and fraction"):
        ecdf(two, gap=0.1, fraction=0.5)
    with pytest.raises(InputError, match="no scale 'gapp'; did you mean 'gap'"):
        budget(two, scale="gapp")
    with pytest.raises(InputError, match="no problem 'digits' to draw"):
        compare(two, problem="digits")
    with open_folder(tmp_path) as folder:
        commit(folder, trials(3))
    with pytest.raises(InputError, match="sgd is the only optimizer of this study"):
        compare(load(tmp_path))


# --- times and shares -------------------------------------------------------------------------------------------------


def test_times_are_the_fastest_at_each_rate(two):
    figure = time(two, gap=0.05)
    strip, main = figure.axes
    table = two.time_to(gap=0.05)
    for method in ("momentum", "adam"):
        own = table[table["method"] == method].groupby("lr")["epochs"].min()  # NaN where it was not reached
        (line,) = (line for line in main.lines if str(line.get_label()).startswith(f"{method}  "))
        np.testing.assert_array_equal(line.get_xdata(), own.index)
        np.testing.assert_array_equal(line.get_ydata(), own)
        crosses = [mark for mark in strip.lines if mark.get_color() == line.get_color()]
        assert sorted(np.concatenate([mark.get_xdata() for mark in crosses])) == own.index[own.isna()].tolist()
    assert main.get_ylabel() == "epochs to a gap of 0.05"
    assert "not reached" in texts(figure)


@pytest.mark.parametrize("of", ["best", "all"])
def test_shares_are_those_of_the_table(two, of):
    (main,) = axes(two, "ecdf", fraction=0.9, of=of)
    table = two.ecdf(fraction=0.9, of=of)
    for line in main.lines:
        own = table[table["method"] == str(line.get_label()).split("  ")[0]]
        np.testing.assert_array_equal(line.get_ydata()[:-1], own["share"])
        np.testing.assert_array_equal(line.get_xdata()[1:-1], own["epochs"][1:])
        assert str(line.get_label()).endswith(f"{own['share'].iloc[-1]:.0%}")
        assert line.get_drawstyle() == "steps-post"
    assert main.get_xlabel() == "epochs to 0.9 of the way to the minimum"


def test_a_performance_profile_begins_at_the_fastest(problems):
    (main,) = axes(problems, "profile", fraction=0.9)
    table = problems.profiles(fraction=0.9)
    assert main.get_xlim()[0] == 1.0
    for line in main.lines:
        own = table[table["method"] == str(line.get_label()).split("  ")[0]]
        np.testing.assert_array_equal(line.get_ydata()[:-1], own["share"])
    assert texts(profile(problems, fraction=0.9))[0].endswith("of 6 pairs of problem and seed")
    assert axes(problems, "profile", of="data")[0].get_xlabel() == "epochs to 0.99 of the way to the minimum"


def test_a_line_of_many_steps_is_thinned(two):
    table = two.ecdf()
    steps = np.arange(5000.0)
    many = table.iloc[[0] * 5000].assign(method="adam", epochs=steps, share=steps / 5000)
    (line,) = draw_shares(many, "epochs", looks(["adam"]), ("x", "y")).axes[0].lines
    assert len(line.get_xdata()) == _CORNERS + 1
    assert line.get_xdata()[-2] == 4999


# --- ranks ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1, 15), min_size=1, max_size=15), st.floats(0.01, 14))
def test_bars_join_the_largest_groups_that_are_not_told_apart(values, distance):
    """The witness tries all pairs."""
    places = np.sort(values)
    joined = [
        (first, last)
        for first in range(len(places))
        for last in range(first + 1, len(places))
        if places[last] < places[first] + distance
    ]
    largest = [one for one in joined if not any(o != one and o[0] <= one[0] and one[1] <= o[1] for o in joined)]
    assert cliques(places, distance) == largest


def test_ranks_and_the_critical_difference_are_those_of_the_table(problems):
    figure = ranks(problems)
    table = problems.ranks()
    names = {text.get_text() for text in figure.axes[0].texts}
    for place, (name, rank) in enumerate(zip(table["method"], table["mean_rank"], strict=True)):
        assert (f"{name}  {rank:.2f}" if place < 2 else f"{rank:.2f}  {name}") in names
    bars = [line.get_xdata() for line in figure.axes[0].lines if list(line.get_ydata()) == [0.36, 0.36]]
    assert bars[0][1] - bars[0][0] == pytest.approx(table.attrs["critical_difference"])
    assert "over 3 problems" in texts(figure)[-1] or "over 3 problems" in " ".join(texts(figure))


# --- differences ------------------------------------------------------------------------------------------------------


def test_differences_are_those_of_the_table(problems):
    figure = compare(problems, b="adam")
    for main in figure.axes:
        found = {line.get_ydata()[0]: line for line in main.lines if len(line.get_xdata()) == 1}
        names = [tick.get_text() for tick in main.get_yticklabels()]
        assert sorted(names) == ["nadam", "sgd"]
        for place, name in enumerate(names):
            table = problems.compare(name, "adam").set_index("problem").loc[main.get_title(loc="left")]
            assert found[place].get_xdata()[0] == table["mean_difference"]
            filled = to_hex(found[place].get_markerfacecolor()) != "#ffffff"
            assert filled == (not table["tied"])
    assert figure.axes[-1].get_title(loc="left") == "all problems"


def test_the_best_is_what_others_are_compared_with(two):
    best = two.best()["optimizer"].iloc[0]
    (main,) = axes(two, "compare")
    assert main.get_xlabel() == f"final validation loss minus that of {best}, less is better"
    (other,) = (tick.get_text() for tick in main.get_yticklabels())
    assert {best, other} == {"momentum", "adam"}


def test_a_single_pair_has_no_interval(tmp_path):
    results = load(write_study(tmp_path, ["sgd", "adam"], rates=4, epochs=3, seeds=1))
    figure = compare(results)
    (mark,) = (line for line in figure.axes[0].lines if len(line.get_xdata()) == 1)
    assert mark.get_marker() == "x"
    assert "not known" in texts(figure)


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_budgets_are_those_of_the_table(two):
    (main,) = axes(two, "budget", by="loss")
    table, least = two.budget(by="loss"), two.minima["minimum"].iloc[0]
    for method, own in table.groupby("method"):
        (line,) = (line for line in main.lines if str(line.get_label()).startswith(f"{method}  "))
        np.testing.assert_array_equal(line.get_xdata(), own["trials"])
        np.testing.assert_allclose(line.get_ydata(), own["expected_final_loss"] - least, rtol=1e-12)
    assert len(main.collections) == 2  # the bands
    assert main.get_ylabel() == "expected final training loss\nabove the best seen"


def test_of_many_optimizers_the_best_alone_has_a_band(fifteen):
    figure = budget(fifteen, scale="loss")
    assert len(figure.axes[0].collections) == 1
    assert "90% of searches, of the best optimizer" in texts(figure)


# --- any metric -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["gap", "loss", "log"])
@pytest.mark.parametrize("kind", ["sensitivity", "heatmap", "parallel", "budget", "compare"])
def test_accuracies_are_drawn_with_the_best_as_the_best(kind, scale, tmp_path):
    with open_folder(tmp_path, hyper=("lr", "beta"), metrics=("accuracy",)) as folder:
        for name, seed in (("sgd", 0), ("sgd", 1), ("adam", 0), ("adam", 1)):
            lr, beta = np.repeat([0.01, 0.1, 1.0], 2), np.tile([0.5, 0.9], 3)
            rows = trials(6, f"{name}{seed}", optimizer=name, lr=lr, beta=beta, seed=seed)
            final = 0.9 - 0.1 * np.abs(np.log10(lr / 0.1)) - 0.01 * beta + 0.001 * seed - 0.02 * (name == "sgd")
            with folder.writer() as cohort:
                for epoch, share in enumerate((0.6, 0.9, 1.0)):
                    cohort.append("curves", block(rows["trial_id"], epoch, accuracy=share * final))
                cohort.commit(rows)
    results = load(tmp_path)
    options = {} if kind == "compare" else {"scale": scale}
    figure = plot(results, kind, by="accuracy", **options)
    inside(figure)
    if kind == "heatmap":
        star = figure.axes[0].lines[0]
        assert (star.get_xdata()[0], star.get_ydata()[0]) == (1, 0)  # lr = 0.1, beta = 0.5
        assert "below the best seen" in figure.axes[-1].get_ylabel() or scale != "gap"
    if kind == "sensitivity" and scale == "loss":
        low, high = figure.axes[-1].get_ylim()
        assert low < 0.55
        assert high > 0.89
    if kind == "compare":
        assert figure.axes[0].get_xlabel() == "final training accuracy minus that of adam, more is better"


@pytest.mark.full
def test_a_hundred_thousand_trials_are_drawn(tmp_path):
    results = load(write_study(tmp_path, list(OPTIMIZERS), rates=1470, seeds=4, epochs=10))
    assert len(results.trials) == 99960
    for kind in ("gap", "parallel", *KINDS):
        inside(plot(results, kind))
    assert isinstance(plot(results, "ecdf", of="all"), Figure)
