"""What results are asked: times, sensitivity, ranks, profiles, budgets and bands, against loops and closed forms."""

from itertools import combinations, product

import landscape_results
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import OPTIMIZERS, block, configured, open_folder, trials, write_study

from fastgd.analysis import load
from fastgd.analysis.questions.budgets import least_probabilities
from fastgd.analysis.questions.method_ranks import friedman, nemenyi
from fastgd.common.errors import InputError


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "study"
    names = ["sgd", "momentum", "adam"]
    return load(write_study(path, names, rates=6, seeds=3, epochs=8, problems=("p", "q", "r")))


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """Two configurations from four starts with two seeds, on a landscape with noise."""
    path = tmp_path_factory.mktemp("questions") / "walks"
    problem = {"landscape": "himmelblau", "noise": 0.5}
    landscape_results.run(path, problem=problem, seed=[0, 1], starts={"uniform": 4})
    return load(path)


def with_curves(path, losses, rows, **columns):
    """Store trials with these losses (checkpoints, trials), in two parts, so that curves are read in pieces."""
    losses = np.asarray(losses, float)
    ids = rows["trial_id"].to_numpy(object)
    half = len(ids) // 2
    with open_folder(path, hyper=("lr",), metrics=tuple(columns)) as folder:
        for part in (slice(0, half), slice(half, None)):
            if not len(ids[part]):
                continue
            with folder.writer() as cohort:
                for checkpoint, values in enumerate(losses):
                    extra = {name: np.asarray(each, float)[checkpoint][part] for name, each in columns.items()}
                    cohort.append("curves", block(ids[part], checkpoint, loss=values[part], **extra))
                cohort.commit(rows[part].reset_index(drop=True))
        folder.finish(ids.tolist())
    return load(path)


def trials_of(losses, **columns):
    losses = np.asarray(losses, float)
    found = {"final_loss": losses[-1], "best_loss": losses.min(axis=0), **columns}
    return configured(trials(losses.shape[1], **found))


LOSSES = np.array(
    [
        [1.0, 1.0, 1.0, 1.0],
        [0.5, 0.9, 0.2, np.inf],
        [0.2, 0.8, 0.1, np.inf],
        [0.1, 0.4, 0.3, np.inf],
    ]
)


def test_times_are_those_of_the_first_checkpoint_at_the_goal(tmp_path):
    rows = trials_of(LOSSES, status=["completed"] * 3 + ["diverged"], lr=[0.1, 0.1, 0.2, 0.2], seed=[0, 1] * 2)
    results = with_curves(tmp_path, LOSSES, rows)
    table = results.time_to(target=0.4, each="trial").set_index("trial_id")
    np.testing.assert_array_equal(table["epochs"], [2, 3, 1, np.nan])
    np.testing.assert_array_equal(table["reached"], [True, True, True, False])
    np.testing.assert_array_equal(table["censored_at"], [np.nan] * 3 + [3])
    for unit, factor in (("steps", 16), ("samples", 1000)):
        found = results.time_to(target=0.4, unit=unit, each="trial")[unit]
        np.testing.assert_array_equal(found, [2 * factor, 3 * factor, factor, np.nan])
    # Two trials of a cohort of four share 0.01 seconds an epoch.
    seconds = results.time_to(target=0.4, unit="seconds", each="trial")["amortised_seconds"]
    np.testing.assert_allclose(seconds, np.array([2, 3, 1, np.nan]) * 0.01 / 4)
    medians = results.time_to(target=0.4)
    assert medians["lr"].tolist() == [0.1, 0.2]
    np.testing.assert_array_equal(medians["epochs"], [2.5, np.nan])  # half of the second's are censored
    np.testing.assert_array_equal(medians["epochs_max"], [3, np.nan])
    assert medians["reached"].tolist() == [2, 1]
    assert medians["trials"].tolist() == [2, 2]


def test_a_gap_is_measured_from_the_minimum_and_a_fraction_from_the_start(tmp_path):
    results = with_curves(tmp_path, LOSSES[:, :3], trials_of(LOSSES[:, :3]))
    assert results.minima["minimum"].tolist() == [0.1]
    np.testing.assert_array_equal(results.time_to(gap=0.1, each="trial")["epochs"], [2, np.nan, 1])
    table = results.time_to(fraction=0.5, each="trial")  # from 1 to 0.55
    np.testing.assert_array_equal(table["epochs"], [1, 3, 1])
    np.testing.assert_allclose(table["level"], 0.55)
    assert table.attrs["minimum"] == "best seen"
    assert table.attrs["goal"] == "fraction 0.5"


def test_a_start_at_the_goal_takes_no_time(tmp_path):
    results = with_curves(tmp_path, LOSSES[:, :3], trials_of(LOSSES[:, :3]))
    for interpolate in (False, True):
        assert results.time_to(target=1.0, each="trial", interpolate=interpolate)["epochs"].tolist() == [0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(0.2, 3), gap=st.floats(1e-4, 0.9))
def test_between_checkpoints_an_exponential_is_exact(tmp_path_factory, rate, gap):
    """Where the gap falls by a factor an epoch, its logarithm is a straight line."""
    epochs = np.arange(60.0)
    losses = np.stack([0.5 + np.exp(-rate * epochs), np.full(60, 0.5)], axis=1)
    results = with_curves(tmp_path_factory.mktemp("exponential") / "r", losses, trials_of(losses))
    table = results.time_to(gap=gap, interpolate=True, each="trial")
    assert table["epochs"][0] == pytest.approx(-np.log(gap) / rate, rel=1e-9)
    assert table["epochs"][1] == 0
    after = results.time_to(gap=gap, each="trial")["epochs"]
    assert after[0] - 1 - 1e-9 <= table["epochs"][0] <= after[0] + 1e-9


def test_the_last_step_to_a_best_seen_minimum_is_straight(tmp_path):
    losses = np.array([[1.0], [0.5], [0.0]])
    results = with_curves(tmp_path, losses, trials_of(losses))
    assert results.time_to(gap=0.25, interpolate=True)["epochs"].tolist() == [1.5]


def test_more_of_an_accuracy_is_better(tmp_path):
    accuracy = [[0.5, 0.5], [0.7, 0.8], [0.9, 0.6]]
    losses = np.array([[1.0, 1.0], [0.5, 0.4], [0.2, 0.5]])
    results = with_curves(tmp_path, losses, trials_of(losses), accuracy=accuracy)
    np.testing.assert_array_equal(results.time_to(target=0.75, by="accuracy", each="trial")["epochs"], [2, 1])
    best = results.best(by="accuracy")
    assert best["final_accuracy"].tolist() == [0.9, 0.6]
    assert results.best(by="accuracy", at="best")["best_accuracy"].tolist() == [0.9, 0.8]
    assert results.best(by="accuracy", target=0.75)["epochs"].tolist() == [1, 2]
    assert results.budget(by="accuracy")["expected_final_accuracy"][0] == pytest.approx(0.75)
    with pytest.raises(InputError, match="gap is measured from the least loss; for 'accuracy' give a target"):
        results.time_to(gap=0.1, by="accuracy")


def test_a_worse_accuracy_ranks_behind_and_a_diverged_one_last(tmp_path):
    accuracy = [[0.5] * 4, [0.9, 0.8, 0.7, 0.99]]
    losses = np.array([[1.0] * 4, [0.1] * 4])
    rows = trials_of(losses, status=["completed"] * 3 + ["diverged"], lr=[1.0, 1.0, 2.0, 2.0], seed=[0, 1] * 2)
    results = with_curves(tmp_path, losses, rows, accuracy=accuracy)
    best = results.best(by="accuracy")
    np.testing.assert_allclose(best["final_accuracy"], [0.85, -np.inf])
    np.testing.assert_allclose(best["final_accuracy_min"], [0.8, -np.inf])
    np.testing.assert_allclose(best["final_accuracy_max"], [0.9, 0.7])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of target, gap and fraction: .* found none"),
        ({"gap": 1.0, "target": 1.0}, "found target = 1 and gap = 1"),
        ({"gap": 0.0}, "gap must be above 0, found 0"),
        ({"fraction": 1.5}, "fraction must be above 0 and at most 1, found 1.5"),
        ({"target": float("nan")}, "target must be finite"),
        ({"gap": 1.0, "unit": "epoch"}, "there is no unit 'epoch'; did you mean 'epochs'"),
        ({"target": 1.0, "by": "acuracy"}, "the curves have no metric 'acuracy'"),
        ({"target": 1.0, "by": "param_norm"}, "'param_norm' is nothing to rank by"),
        ({"gap": 1.0, "each": "seed"}, "no times of each 'seed'"),
    ],
)
def test_goals_that_are_none(study, options, message):
    with pytest.raises(InputError, match=message):
        study.time_to(**options)


def times_of_a_loop(results, gap):
    """Times to a gap, trial by trial."""
    minimum = results.minima.set_index("problem")["minimum"]
    found = {}
    key = [name for name in ("trial_id", "start") if name in results.trials]
    axis = "step" if "start" in results.trials else "epoch"
    about = results.trials.astype({"trial_id": str}).set_index(key)
    for name, own in results.curves.astype({"trial_id": str}).groupby(key if len(key) > 1 else "trial_id"):
        level = minimum[about.loc[name, "problem"]] + gap
        there = own[own["loss"] <= level]
        found[name] = there[axis].min() if len(there) else np.nan
    return found


def test_times_are_those_of_a_loop(study, walks):
    for results, gap in ((study, 0.02), (walks, 0.1)):
        table = results.time_to(gap=gap, each="trial")
        expected = times_of_a_loop(results, gap)
        names = table[results.trial_key].astype({"trial_id": str}).itertuples(index=False, name=None)
        keys = [name if len(name) > 1 else name[0] for name in names]
        np.testing.assert_array_equal(table[table.attrs["unit"]], [expected[key] for key in keys])
        assert table["reached"].any()
        assert not table["reached"].all()


def test_landscapes_have_steps_alone(walks):
    with pytest.raises(InputError, match="measure time in steps; curves have no seconds"):
        walks.time_to(gap=1.0, unit="seconds")
    table = walks.time_to(gap=5.0)
    assert table["trials"].tolist() == [8] * 3
    assert table["steps"].is_monotonic_increasing


def test_trials_out_of_the_study_are_not_asked(tmp_path):
    rows = trials_of(LOSSES[:, :3])
    results = with_curves(tmp_path, LOSSES[:, :3], rows)
    with open_folder(tmp_path) as folder:
        folder.finish(rows["trial_id"].tolist()[1:])
    results = load(tmp_path)
    assert results.time_to(target=0.4, each="trial")["trial_id"].tolist() == rows["trial_id"].tolist()[1:]
    assert len(results.sensitivity()) == 1


def test_times_of_many_trials(tmp_path):
    """A hundred thousand trials with two million checkpoints: the medians are those of pandas."""
    write_study(tmp_path, list(OPTIMIZERS), rates=1470, seeds=4, epochs=19, validation=False)
    results = load(tmp_path)
    table = results.time_to(fraction=0.5)
    assert results.curves_dataset.count_rows() > 1_500_000
    assert table["trials"].sum() == 99_960
    curves = results.curves[["trial_id", "epoch", "loss"]]
    start = curves[curves["epoch"] == 0].set_index("trial_id")["loss"]
    level = (start + results.minima["minimum"][0]) / 2
    first = curves[curves["loss"] <= curves["trial_id"].map(level)].groupby("trial_id")["epoch"].min()
    assert table["reached"].sum() == len(first)
    own = results.trials.set_index("trial_id")
    median = first.reindex(own.index).fillna(np.inf).groupby(own["configuration"]).median()
    assert np.isfinite(median).sum() == table["epochs"].notna().sum()
    np.testing.assert_allclose(np.sort(table["epochs"].dropna()), np.sort(median[np.isfinite(median)]))


def test_sensitivity_of_a_parabola(tmp_path):
    """Final losses are 0.2 + 0.1 (decades from 0.1)^2, from 1.2: a tenth of what 0.1 gained is one decade."""
    lr = np.geomspace(1e-4, 1e2, 13)
    losses = np.stack([np.full(13, 1.2), 0.2 + 0.1 * np.log10(lr / 0.1) ** 2])
    results = with_curves(tmp_path / "inside", losses, trials_of(losses, lr=lr))
    row = results.sensitivity().iloc[0]
    np.testing.assert_allclose([row["lr"], row["low"], row["high"], row["decades"]], [0.1, 0.01, 1.0, 2.0])
    assert (row["end"], row["values"], row["moves_with"]) == ("", 13, "")
    np.testing.assert_allclose(results.sensitivity(within=0.41)["decades"], 4.0)
    np.testing.assert_allclose(results.sensitivity(within=0.0)["decades"], 0.0, atol=1e-12)
    kept = lr >= 0.09
    results = with_curves(tmp_path / "edge", losses[:, kept], trials_of(losses[:, kept], lr=lr[kept]))
    assert results.sensitivity()["end"].tolist() == ["lowest"]
    assert results.sensitivity()["decades"][0] == pytest.approx(1.0)


def test_a_gap_in_the_range_ends_it(tmp_path):
    losses = np.stack([np.full(5, 1.0), [0.1, 0.9, 0.11, 0.1, 0.12]])
    rows = trials_of(losses, lr=[1e-4, 1e-3, 1e-2, 1e-1, 1.0], status=["completed"] * 4 + ["diverged"])
    rows.loc[0, "final_loss"] = 0.2
    row = with_curves(tmp_path, losses, rows).sensitivity().iloc[0]
    assert (row["low"], row["high"]) == (1e-2, 1e-1)


def test_an_optimizer_that_always_diverges_has_no_range(tmp_path):
    losses = np.stack([np.full(3, 1.0), np.full(3, np.inf)])
    results = with_curves(tmp_path, losses, trials_of(losses, lr=[1e-2, 1e-1, 1.0], status="diverged"))
    row = results.sensitivity().iloc[0]
    assert np.isnan([row["low"], row["high"], row["decades"]]).all()


def test_the_best_rate_moves_with_the_batch(tmp_path):
    lr, batch = (np.array(values) for values in zip(*product([0.01, 0.1, 1.0], [32, 64]), strict=True))
    best = np.where(batch == 32, 0.01, 1.0)
    losses = np.stack([np.full(6, 1.0), 0.1 + 0.1 * np.abs(np.log10(lr / best)) + 0.01 * (batch == 32)])
    results = with_curves(tmp_path, losses, trials_of(losses, lr=lr, batch_size=batch))
    row = results.sensitivity().iloc[0]
    assert (row["moves_with"], row["moves_by_decades"]) == ("batch_size", pytest.approx(2.0))
    table = results.interactions()
    assert dict(zip(table["setting_value"], table["lr"], strict=True)) == {64: 1.0, 32: 0.01}
    assert results.sensitivity("batch_size")["batch_size"].tolist() == [64]
    with pytest.raises(InputError, match="no numeric 'lrr'; did you mean 'lr'"):
        results.sensitivity("lrr")


def test_sensitivity_of_every_method_and_problem(study):
    table = study.sensitivity()
    assert table[["problem", "method"]].drop_duplicates().shape == (9, 2)
    best = study.best(each="method").set_index(["problem", "optimizer"])
    for row in table.to_dict("records"):
        assert row["lr"] == best.loc[(row["problem"], row["method"]), "lr"]
        assert row["low"] <= row["lr"] <= row["high"]
    assert table[table["method"] == "momentum"]["values"].eq(6).all()


def test_ranks_of_demsars_example():
    """Table 6 of Demsar (2006): four classifiers, 14 data sets; chi-square 9.28, critical difference 1.25."""
    ranks = np.array(
        [
            *([4, 3, 2, 1], [1, 2, 3, 4], [4, 1.5, 1.5, 3], [4, 2, 3, 1], [4, 1, 2, 3], [2.5, 2.5, 2.5, 2.5]),
            *([4, 1, 2, 3], [4, 3, 2, 1], [3, 2, 4, 1], [4, 2, 1, 3], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5]),
            *([3, 2, 4, 1], [2, 3, 1, 4]),
        ]
    )
    assert nemenyi(4, 14) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), rel=1e-3)
    statistic, p_value = friedman(ranks)
    expected = scipy.stats.friedmanchisquare(*ranks.T)
    assert (statistic, p_value) == (expected.statistic, expected.pvalue)


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_the_table(methods, q):
    """Table 5(a) of Demsar (2006)."""
    assert nemenyi(methods, 10) == pytest.approx(q * np.sqrt(methods * (methods + 1) / 60), rel=1e-3)


def test_ranks_over_problems_and_seeds(study):
    best = study.best(each="method")
    values = best.pivot(index="problem", columns="optimizer", values="final_validation_loss")
    table = study.ranks()
    expected = values.rank(axis=1).mean()
    for row in table.to_dict("records"):
        assert row["mean_rank"] == expected[row["method"]]
    assert table.attrs["count"] == 3
    assert table.attrs["critical_difference"] == nemenyi(3, 3)
    seeds = study.ranks(blocks="repeat")
    assert seeds.attrs["count"] == 9
    rows = pd.concat([study.trials[study.trials["trial_id"].isin(study.seeds_of(trial))] for trial in best["trial_id"]])
    matrix = rows.pivot_table(index=["problem", "seed"], columns="optimizer", values="final_validation_loss")
    assert seeds.set_index("method")["mean_rank"].to_dict() == matrix.rank(axis=1).mean().to_dict()
    expected = scipy.stats.friedmanchisquare(*matrix.to_numpy().T)
    assert seeds.attrs["friedman"] == pytest.approx(expected.statistic)
    assert seeds.attrs["p_value"] == pytest.approx(expected.pvalue)


def test_ranks_need_two_methods(tmp_path):
    results = with_curves(tmp_path, LOSSES[:, :3], trials_of(LOSSES[:, :3]))
    with pytest.raises(InputError, match="ranks compare at least two methods"):
        results.ranks()
    with pytest.raises(InputError, match="cannot be taken in each 'seed'"):
        results.ranks(blocks="seed")


def test_profiles_are_those_of_a_loop(study):
    goal = {"fraction": 0.9}
    times = study.time_to(**goal)
    best = times.drop_duplicates(["problem", "method"])
    trial = study.time_to(**goal, each="trial").merge(study.trials[["trial_id", "configuration"]])
    names = study.trials.set_index("trial_id")["configuration"]
    fastest = study.best(**goal, each="method")
    chosen = trial[trial["configuration"].isin(names[fastest["trial_id"]])]
    assert best.groupby("problem")["epochs"].min().to_dict() == fastest.groupby("problem")["epochs"].min().to_dict()
    matrix = chosen.pivot(index=["problem", "seed"], columns="method", values="epochs").fillna(np.inf)
    table, data = study.profiles(**goal), study.profiles(**goal, kind="data")
    ecdf = study.ecdf(**goal)
    assert table.attrs["instances"] == len(matrix) == 9
    for name in matrix:
        with np.errstate(invalid="ignore"):
            ratios = (matrix[name] / matrix.min(axis=1)).to_numpy()
        own, costs = table[table["method"] == name], matrix[name].to_numpy()
        assert own["ratio"].is_monotonic_increasing
        for x in (1.0, 1.3, 2.0, 5.0, 100.0):
            assert _at(own, "ratio", x) == pytest.approx(np.mean(ratios <= x))
            for steps in (data, ecdf):
                assert _at(steps[steps["method"] == name], "epochs", x) == pytest.approx(np.mean(costs <= x))


def _at(steps, axis, x):
    before = steps[steps[axis] <= x]
    return before["share"].iloc[-1] if len(before) else 0.0


def test_the_distribution_of_all_trials(study):
    table = study.ecdf(of="all", fraction=0.5)
    times = study.time_to(fraction=0.5, each="trial")
    for name, own in table.groupby("method"):
        mine = times[times["method"] == name]
        assert own["share"].iloc[-1] == pytest.approx(mine["reached"].mean())
        assert own["trials"].iloc[0] == len(mine)


def test_a_goal_that_nobody_reaches(study):
    table = study.profiles(target=1e-9)
    assert table["share"].eq(0).all()
    assert table.attrs["solved"] == 0
    with pytest.raises(InputError, match="no 'speed' profiles"):
        study.profiles(kind="speed")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=6), st.integers(1, 4))
def test_the_best_of_k_is_that_of_all_draws(values, k):
    """Brute force: every sequence of k draws, and every subset of k."""
    values = np.sort(np.array(values, float))
    least = [min(draw) for draw in product(values, repeat=k)]
    chances = least_probabilities(len(values), k, True)
    assert chances.sum() == pytest.approx(1)
    assert chances @ values == pytest.approx(np.mean(least))
    k = min(k, len(values))
    least = [min(draw) for draw in combinations(values, k)]
    assert least_probabilities(len(values), k, False) @ values == pytest.approx(np.mean(least))


def test_a_budget_is_what_random_searches_find(tmp_path):
    random = np.random.default_rng(3)
    final = random.exponential(size=30)
    final[:3] = 50.0  # above the start: as good as not trained
    losses = np.stack([np.full(30, 2.0), final])
    status = ["diverged", *["completed"] * 29]
    results = with_curves(tmp_path, losses, trials_of(losses, status=status))
    values = np.minimum(final, 2.0)
    for replacement in (True, False):
        table = results.budget(interval=0.8, replacement=replacement).set_index("trials")
        assert len(table) == 30
        for k in (1, 3, 10, 30):
            draws = random.integers(30, size=(20_000, k))
            if not replacement:
                draws = np.argsort(random.random((20_000, 30)), axis=1)[:, :k]
            least = values[draws].min(axis=1)
            row = table.loc[k]
            assert row["expected_final_loss"] == pytest.approx(least.mean(), abs=5 * least.std() / 140 + 1e-12)
            assert np.mean(least < row["low"]) <= 0.11
            assert np.mean(least <= row["high"]) >= 0.89
            assert np.mean(least <= row["median"]) >= 0.49
    assert table.loc[30, "expected_final_loss"] == pytest.approx(values.min())
    assert table["expected_final_loss"].is_monotonic_decreasing


def test_bands_are_medians_and_quantiles_over_seeds(study):
    table = study.bands(quantiles=(0.0, 1.0))
    best = study.best(each="method")
    assert table["trial_id"].unique().tolist() == best["trial_id"].tolist()
    trial = best["trial_id"][0]
    curves = study.curves[study.curves["trial_id"].isin(study.seeds_of(trial))]
    expected = curves.groupby("epoch")["validation_loss"].agg(["median", "min", "max"])
    own = table[table["trial_id"] == trial].set_index("epoch")
    np.testing.assert_allclose(own[["validation_loss", "validation_loss_low", "validation_loss_high"]], expected)


def test_bands_over_time_are_times_to_gaps(study):
    table = study.bands(metric="loss", over="time", trials=study.best()["trial_id"].tolist()[:1])
    assert len(table) == 200
    assert table["epoch"].is_monotonic_increasing
    for place in (20, 100, 180):
        row = table.iloc[place]
        times = study.time_to(target=row["loss"] * (1 + 1e-12), each="trial").set_index("trial_id")["epochs"]
        own = times[study.seeds_of(row["trial_id"])].fillna(np.inf)
        assert row["epoch"] == np.median(own)
        assert row["reached"] == np.isfinite(own).sum()
        assert row["epoch_low"] == np.quantile(own, 0.25, method="inverted_cdf")


def test_a_band_of_a_diverged_seed_has_no_upper_end(tmp_path):
    losses = np.array([[1.0, 1.0, 1.0], [0.5, 0.6, 5.0], [0.3, 0.2, np.nan]])
    rows = trials_of(losses, lr=0.1, seed=[0, 1, 2], status=["completed"] * 2 + ["diverged"])
    table = with_curves(tmp_path, losses, rows).bands(quantiles=(0.0, 1.0))
    np.testing.assert_array_equal(table["loss"], [1.0, 0.6, 0.3])
    np.testing.assert_array_equal(table["loss_high"], [1.0, 5.0, np.inf])


def test_bands_of_starts(walks):
    table = walks.bands()
    assert table["trials"].eq(8).all()
    start = walks.curves[walks.curves["step"] == 0]["loss"].median()
    assert table["loss"].iloc[0] == pytest.approx(start)
    with pytest.raises(InputError, match="curves have no axis 'epoch'"):
        walks.bands(x="epoch")
    with pytest.raises(InputError, match="there is no trial 'x'"):
        walks.bands(trials=["x"])


def test_landscapes_answer_like_data(walks):
    assert walks.ranks().attrs["blocks"] == "repeat"
    assert walks.ranks().attrs["count"] == 8
    assert walks.compare("momentum", "rmsprop")["pairs"].tolist() == [8]
    assert walks.sensitivity()["method"].tolist() == walks.best(each="method")["optimizer"].tolist()
    assert walks.best(by="grad_norm")["final_grad_norm"].is_monotonic_increasing
    assert walks.profiles(gap=5.0).attrs["instances"] == 8
    assert sorted(walks.budget()["configurations"]) == [1, 2, 2]
    mean = walks.best(over="problem")
    assert mean["mean_rank"].tolist() == [1, 2, 3]
