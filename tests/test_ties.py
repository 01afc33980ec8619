"""Whether repeats tell configurations apart: intervals against SciPy, ties against a loop, comparisons of two."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import commit, configured, open_folder, trials, write_study

from fastgd.analysis import load
from fastgd.analysis.questions.comparisons import ALL, summary
from fastgd.analysis.questions.ties import sign_bound, student, tied
from fastgd.common.errors import InputError


def stored(path, rows, **options):
    with open_folder(path, **options) as folder:
        folder.finish(commit(folder, configured(rows)))
    return load(path)


def seeds(losses, **columns):
    """Trials with a row of losses (configurations, seeds): a configuration is a rate."""
    losses = np.asarray(losses, float)
    count, repeats = losses.shape
    lr = np.repeat(np.geomspace(1e-3, 1.0, count), repeats)
    return trials(losses.size, lr=lr, seed=np.tile(np.arange(repeats), count), final_loss=losses.ravel(), **columns)


@pytest.mark.parametrize("freedom", [*range(1, 40), 99, 500, 1000, 1001, 20_000])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_students_quantiles_are_scipys(freedom, confidence):
    expected = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    assert student(freedom, confidence) == pytest.approx(expected, rel=1e-9 if freedom <= 1000 else 1e-7)


@pytest.mark.parametrize("pairs", [*range(1, 60), 999, 1000])
def test_bounds_of_the_sign_test_are_scipys(pairs):
    bound = sign_bound(pairs)
    assert bound < 0 or scipy.stats.binomtest(bound, pairs).pvalue <= 0.05
    assert scipy.stats.binomtest(bound + 1, pairs).pvalue > 0.05


def test_the_sign_test_of_many_pairs():
    bound = sign_bound(5000)
    pvalues = [scipy.stats.binomtest(bound + more, 5000).pvalue for more in (-3, 4)]
    assert pvalues[0] <= 0.05 < pvalues[1]


def of_a_loop(values, configuration, repeat, best):
    """The same as `tied`, pair by pair, with SciPy's paired test; None where it is not known."""
    found = []
    frame = pd.DataFrame({"c": configuration, "r": repeat, "v": values}).set_index(["c", "r"])["v"]
    for number, winner in enumerate(best):
        own, other = frame[number], frame[winner]
        pairs = [own[r] - other[r] for r in own.index if r in other.index]
        pairs = np.array([d for d in pairs if not np.isnan(d)])
        if len(pairs) < 2:
            found.append(None)
        elif np.isinf(pairs).any():
            signs = sum(pairs < 0), sum(pairs > 0)
            if max(signs) == len(pairs):
                found.append(False)
            elif len(pairs) < 6:
                found.append(None)
            else:
                found.append(scipy.stats.binomtest(int(min(signs)), len(pairs)).pvalue > 0.05)
        elif np.ptp(pairs) == 0:
            found.append(bool(pairs[0] == 0))
        else:
            found.append(bool(scipy.stats.ttest_1samp(pairs, 0).pvalue >= 0.05))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0, 3.0]))
def test_ties_are_those_of_a_loop(configurations, repeats, seed, effect):
    random = np.random.default_rng(seed)
    common = random.normal(size=repeats)
    values = common + 0.3 * random.normal(size=(configurations, repeats))
    values += effect * np.arange(configurations)[:, None] / configurations
    values[random.random(values.shape) < 0.05] = np.inf
    values[random.random(values.shape) < 0.05] = np.nan
    best = np.zeros(configurations, int)
    best[configurations // 2 :] = configurations // 2
    configuration, repeat = (axis.ravel() for axis in np.indices(values.shape))
    kept = random.permutation(values.size)[: max(1, values.size - 2)]  # a pair may be missing
    if set(configuration[kept]) != set(range(configurations)):
        return
    chosen = [each[kept] for each in (values.ravel(), configuration, repeat)]
    found, known = tied(*chosen, best)
    with np.errstate(invalid="ignore"):
        expected = of_a_loop(*chosen, best)
    assert [bool(f) if k else None for f, k in zip(found, known, strict=True)] == expected


def test_best_says_what_the_seeds_do_not_tell_apart(tmp_path):
    noise = np.array([0.0, 0.1, -0.1, 0.05])
    losses = [0.5 + noise, 0.501 + noise, 0.502 + noise[::-1], 0.9 + noise]
    best = stored(tmp_path, seeds(losses)).best()
    # The second is behind by the same little amount with every seed, the third by more, with no regularity.
    assert best["final_loss"].is_monotonic_increasing
    assert dict(zip(best["lr"].round(3), best["tied"], strict=True)) == {
        0.001: True,
        0.01: False,
        0.1: True,
        1.0: False,
    }
    assert str(best["tied"].dtype) == "boolean"


def test_one_seed_does_not_tell(tmp_path):
    best = stored(tmp_path, trials(3)).best()
    assert best["tied"].isna().all()


def test_ties_are_within_a_problem_and_what_is_selected(tmp_path):
    losses = [[0.1, 0.3], [0.2, 0.2], [5.0, 5.1], [5.1, 5.0]]
    rows = seeds(losses, optimizer=["a"] * 2 + ["b"] * 2 + ["a"] * 2 + ["b"] * 2)
    results = stored(tmp_path, rows.assign(problem=["p"] * 4 + ["q"] * 4))
    assert results.best()["tied"].tolist() == [True] * 4
    rows["final_loss"] = [0.1, 0.101, 0.5, 0.501, 0.9, 0.9, 0.95, 0.95]
    results = stored(tmp_path / "other", rows.assign(problem="p"))
    assert results.best()["tied"].tolist() == [True, False, False, False]
    assert results.best(where="optimizer=b")["tied"].tolist() == [True, False]


def test_a_target_is_tied_by_when_it_was_reached(tmp_path):
    rows = seeds([[0.29, 0.28, 0.2], [0.1, 0.1, 0.1], [0.29, 0.28, 0.29]])
    rows["status"] = ["target"] * 9
    rows["epochs"] = [3.0, 4.0, 3.0, 4.0, 3.0, 4.0, 9.0, 9.0, 9.5]
    best = stored(tmp_path, rows).best()
    assert best["target_epochs"].tolist() == [3.0, 4.0, 9.0]
    assert best["tied"].tolist() == [True, True, False]


def test_equal_to_rounding_is_tied(tmp_path):
    results = stored(tmp_path, seeds([[0.1, 0.3], [0.1 + 2e-17, 0.3 + 6e-17], [0.1 + 1e-6, 0.3 + 1e-6]]))
    assert results.best()["tied"].tolist() == [True, True, False]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=12))
def test_a_summary_is_scipys(differences):
    differences = np.array(differences)
    found = summary(differences, np.ones(len(differences)), 1.0, np.random.default_rng(0))
    assert found["mean_difference"] == pytest.approx(differences.mean(), abs=1e-15)
    assert found["a_better"] + found["b_better"] + found["equal"] == found["pairs"] == len(differences)
    if len(differences) > 1 and np.ptp(differences) > 0:
        interval = scipy.stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        np.testing.assert_allclose([found["low"], found["high"]], interval, rtol=1e-9, atol=1e-15)
        assert found["tied"] == (interval.low <= 0 <= interval.high)
    if len(differences) >= 6 and differences.any():
        expected = scipy.stats.wilcoxon(differences, zero_method="zsplit").pvalue
        assert found["p_value"] == pytest.approx(expected)
    else:
        assert np.isnan(found["p_value"]) == (len(differences) < 6)
    other = summary(-differences, np.ones(len(differences)), 1.0, np.random.default_rng(0))
    assert other["mean_difference"] == -found["mean_difference"]
    assert (other["a_better"], other["tied"]) == (found["b_better"], found["tied"])


def test_the_bootstraps_interval_covers(tmp_path):
    """Of 60 samples of 20 Gaussians about 0, some 95 % have an interval that holds 0."""
    random = np.random.default_rng(5)
    inside = 0
    for _ in range(60):
        found = summary(random.normal(size=20), np.ones(20), 1.0, random)
        inside += found["bootstrap_low"] <= 0 <= found["bootstrap_high"]
    assert 50 <= inside <= 60


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("ties") / "study"
    return load(write_study(path, ["sgd", "momentum", "adam"], rates=5, seeds=6, epochs=6, problems=("p", "q")))


def test_two_optimizers_are_compared_by_their_best_on_each_problem(study):
    table = study.compare("adam", "sgd")
    assert table["problem"].tolist() == ["p", "q", ALL]
    best = study.best(each="optimizer").set_index(["problem", "optimizer"])
    own = study.trials.set_index("trial_id")
    shares = []
    for row in table[:2].to_dict("records"):
        pairs = []
        for name, trial in (("adam", row["a"]), ("sgd", row["b"])):
            assert trial == best.loc[(row["problem"], name), "trial_id"]
            mine = own.loc[study.seeds_of(trial)].set_index("seed")["final_validation_loss"]
            pairs.append(mine.sort_index().to_numpy())
        difference = pairs[0] - pairs[1]
        assert row["mean_difference"] == pytest.approx(difference.mean())
        assert row["median_difference"] == pytest.approx(np.median(difference))
        assert (row["a_better"], row["b_better"]) == ((difference < 0).sum(), (difference > 0).sum())
        expected = scipy.stats.bootstrap((difference,), np.mean, rng=np.random.default_rng(1), n_resamples=9999)
        width = expected.confidence_interval.high - expected.confidence_interval.low
        assert row["bootstrap_low"] == pytest.approx(expected.confidence_interval.low, abs=0.05 * width)
        curves = study.curves.merge(study.trials[["trial_id", "problem"]])
        start = curves[(curves["step"] == 0) & (curves["problem"] == row["problem"])]["validation_loss"].median()
        least = best.loc[row["problem"], "final_validation_loss"].min()
        shares.append(difference.mean() / (start - least))
    assert table["mean_difference"][2] == pytest.approx(np.mean(shares))
    assert table["pairs"][2] == 2
    assert table.attrs["scale_over_problems"].startswith("the way from the start")


def test_a_comparison_is_the_same_again_and_turns_with_its_sides(study):
    one, again, other = study.compare("adam", "sgd"), study.compare("adam", "sgd"), study.compare("sgd", "adam")
    pd.testing.assert_frame_equal(one, again)
    np.testing.assert_allclose(one["mean_difference"], -other["mean_difference"])
    np.testing.assert_allclose(one["low"], -other["high"])
    assert one["a_better"].tolist() == other["b_better"].tolist()


def test_a_trial_stands_for_its_settings_on_every_problem(study):
    first = study.best().query("optimizer == 'sgd' and problem == 'p'").iloc[-1]
    table = study.compare(first["trial_id"], "adam")
    chosen = study.trials.set_index("trial_id").loc[table["a"][:2]]
    assert chosen["lr"].tolist() == [first["lr"]] * 2
    assert chosen["problem"].tolist() == ["p", "q"]


def test_times_can_be_compared(study):
    table = study.compare("adam", "sgd", fraction=0.5)
    times = study.time_to(fraction=0.5, each="trial").set_index("trial_id")["epochs"]
    row = table.iloc[0]
    a, b = ([times[trial] for trial in study.seeds_of(row[side])] for side in "ab")
    assert row["mean_difference"] == pytest.approx(np.mean(a) - np.mean(b))
    assert table.attrs["scale_over_problems"] == "the larger time"


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("adam", "adam", "are the same configuration"),
        ("adm", "sgd", "neither a trial nor an optimizer 'adm'; did you mean 'adam'"),
    ],
)
def test_what_cannot_be_compared(study, a, b, message):
    with pytest.raises(InputError, match=message):
        study.compare(a, b)


def test_nothing_in_common(tmp_path):
    rows = trials(4, optimizer=["a", "a", "b", "b"], problem=["p", "p", "q", "q"], seed=[0, 1] * 2, lr=0.1)
    with pytest.raises(InputError, match="a and b have no problem in common: a ran on p, and b on q"):
        stored(tmp_path, rows).compare("a", "b")


def test_a_lost_seed_is_a_difference_without_an_end(tmp_path):
    rows = seeds([[0.1, 0.2, 0.3], [0.2, 0.3, 0.1]], optimizer=["a"] * 3 + ["b"] * 3)
    rows["status"] = ["completed"] * 3 + ["diverged", "completed", "completed"]
    row = stored(tmp_path, rows.assign(lr=0.1)).compare("a", "b").iloc[0]
    assert row["mean_difference"] == -np.inf
    assert np.isnan(row["low"])
    assert pd.isna(row["tied"])
    assert (row["a_better"], row["b_better"]) == (2, 1)


def test_splits_and_seeds_make_pairs(tmp_path):
    """Where trials have a split's seed, a pair shares it and the seed."""
    results = stored(tmp_path, seeds([[0.1, 0.2, 0.5, 0.4], [0.2, 0.3, 0.6, 0.5]]))
    everyone, configuration, identities = results.configurations
    split = everyone.assign(split_seed=np.tile([0, 0, 1, 1], 2), seed=np.tile([0, 1, 0, 1], 2))
    results.__dict__["configurations"] = split, configuration, identities
    assert results.repeat_key == ["split_seed", "seed"]
    ids = split["trial_id"].tolist()
    row = results.compare(ids[0], ids[4]).iloc[0]
    assert row["pairs"] == 4
    assert row["mean_difference"] == pytest.approx(-0.1)
    assert row["a_better"] == 4
