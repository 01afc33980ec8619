"""Networks on the way of a study: from its file to results, with what is refused on the way."""

import numpy as np
import pytest
import reference_networks
import small_studies
from sklearn.datasets import load_digits
from small_studies import Log, assert_same, rows

import fastgd
from fastgd import InputError, Study
from fastgd.core.vectors import register_bits
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data

WIDEST = register_bits()[0] // 64  # lanes of float64 in a vector
NETWORK = {"hidden": [6, 4], "activation": "tanh"}
SEARCHED = {"name": "sgd", "lr": 1.0, "line_search": {"kind": "exact"}}
OPTIMIZER = {"name": "momentum", "lr": [0.01, 0.02, 0.03, 0.05, 0.1, 0.3]}  # so many that a tile has eight lanes
PROBLEM = {"loss": "logistic", "network": NETWORK, "l2": [0.0, 0.01]}


def study_of(**changes):
    return small_studies.study_of(**{"optimizer": OPTIMIZER, **changes})


def run(path, data=None, **changes):
    return small_studies.run(path, data, **{"optimizer": OPTIMIZER, **changes})


def network_study(**changes):
    return study_of(**{"problem": PROBLEM, **changes})


def plan_of(study, data=None):
    return make_plan(study, load_data(study, data or rows(), Log()))


def test_a_study_trains_networks(tmp_path):
    problem = PROBLEM | {"validation": 0.2}
    metrics = {"metrics": ["accuracy", "validation_accuracy", "grad_norm", "nonzeros"], "parameters": "all"}
    results = run(tmp_path, problem=problem, epochs=30, record=metrics, seed=[0, 1])
    assert len(results.trials) == 24
    assert set(results.trials["kernel"]) == {f"network-tile-{WIDEST}"}
    assert set(results.trials["status"]) == {"completed"}
    last = results.curves.groupby("trial_id").last()
    assert (last["nonzeros"] == 5 * 6 + 6 * 4 + 4).all()
    assert last["validation_accuracy"].max() > 0.8
    first = results.curves.groupby("trial_id").first()
    assert (last["loss"] < first["loss"]).mean() > 0.9
    sizes = {len(results.parameters(trial)) for trial in results.trials["trial_id"]}
    assert sizes == {5 * 6 + 6 + 6 * 4 + 4 + 4 + 1}


def test_seeds_have_starts_of_their_own_that_all_lanes_share(tmp_path):
    results = run(tmp_path, problem=PROBLEM, seed=[0, 1], epochs=1)
    curves = results.curves.merge(results.trials[["trial_id", "seed"]], on="trial_id")
    starts = curves[curves["step"] == 0].groupby("seed")["param_norm"]
    assert (starts.nunique() == 1).all()
    assert starts.first().nunique() == 2


@pytest.mark.parametrize("init", ["he", "glorot", "lecun", "pytorch", {"normal": 0.1}])
def test_starts(tmp_path, init):
    results = run(tmp_path, problem=PROBLEM | {"init": init}, epochs=1)
    assert results.curves["param_norm"].min() > 0


def test_the_default_start_suits_the_activation():
    ids = [
        plan_of(network_study(problem=PROBLEM | {"network": {"hidden": [6], "activation": activation}} | start))
        .table["trial_id"]
        .tolist()
        for activation, start in (("tanh", {}), ("tanh", {"init": "glorot"}), ("relu", {}), ("relu", {"init": "he"}))
    ]
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_a_study_that_is_cut_short_goes_on_with_the_same_bits(tmp_path):
    changes = {"problem": PROBLEM, "epochs": 6, "seed": [0, 1]}
    whole = run(tmp_path / "whole", **changes)
    run(tmp_path / "parts", **changes | {"seed": [0]})
    assert_same(run(tmp_path / "parts", **changes), whole)
    assert_same(run(tmp_path / "one thread", threads=1, **changes), whole)


def test_one_trial_alone_has_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole", problem=PROBLEM, epochs=4)
    trial = whole.trials["trial_id"].iloc[3]
    alone = run(tmp_path / "alone", problem=PROBLEM, epochs=4, trial=trial)
    ours, theirs = (each.curves[each.curves["trial_id"] == trial] for each in (alone, whole))
    assert np.array_equal(ours["loss"], theirs["loss"])


def test_a_study_that_gets_more_rates_keeps_its_trials(tmp_path):
    few, more = [0.01], [0.01, 0.02, 0.03, 0.05, 0.1, 0.3]
    metrics = {"metrics": ["grad_norm", "layer_grad_norm", "layer_update_ratio"]}
    found = [
        run(tmp_path / str(len(lr)), problem=PROBLEM, optimizer={"name": "adam", "lr": lr}, record=metrics)
        for lr in (few, more)
    ]
    alone, among = (each.trials.set_index("trial_id") for each in found)
    assert set(alone["kernel"]) == {"network-single"} != set(among["kernel"])
    assert set(alone.index) < set(among.index)
    ours, theirs = (each.curves.set_index(["trial_id", "step"]).loc[list(alone.index)] for each in found)
    columns = [name for name in ours if not name.endswith("seconds")]
    assert ours[columns].equals(theirs[columns]), "with the same bits"


def test_a_study_survives_its_file():
    study = network_study(problem=PROBLEM | {"init": {"normal": 0.5}})
    assert Study.of_fields(fastgd.common.parsing.from_toml(study.to_toml()), "study.toml") == study
    assert study.problem[0].intercept, "networks have biases"
    assert not network_study(problem=PROBLEM | {"intercept": False}).problem[0].intercept


def test_several_problems_are_several_networks(tmp_path):
    problems = [
        {"name": "linear", "loss": "logistic"},
        {"name": "none", "loss": "logistic", "network": {"hidden": []}, "intercept": False},
        {"name": "deep", "loss": "logistic", "network": {"hidden": [4, 4, 4], "activation": "gelu"}},
    ]
    results = run(tmp_path, problem=problems, epochs=5)
    ends = results.trials.groupby("problem")["final_loss"].min()
    assert ends["linear"] == pytest.approx(ends["none"], rel=1e-12)
    assert ends["deep"] != pytest.approx(ends["linear"])


@pytest.mark.parametrize("batch_size", [[16], ["full"]])
def test_softmax_in_a_study(tmp_path, batch_size):
    labels = np.array(["three", "one", "two"])
    X, _ = rows(n=200)
    y = labels[np.argmax(X[:, :3], axis=1)]
    problem = {"loss": "softmax", "intercept": True, "validation": 0.25}
    metrics = {"metrics": ["accuracy", "validation_accuracy", "validation_top_5"]}
    results = run(tmp_path, (X, y), problem=problem, epochs=200, batch_size=batch_size, record=metrics)
    last = results.curves.groupby("trial_id").last()
    assert last["accuracy"].max() > 0.95
    assert (last["validation_top_5"] == 1).all()
    start = results.curves[results.curves["step"] == 0]
    assert start["loss"].to_numpy() == pytest.approx(np.log(3))
    right = start["accuracy"] * 150 + start["validation_accuracy"] * 50
    assert right.to_numpy() == pytest.approx(np.sum(y == "one")), "of zeros the first class is predicted"


def test_digits_by_a_network(tmp_path):
    X, y = load_digits(return_X_y=True)
    problem = {"loss": "softmax", "network": {"hidden": [32]}, "validation": 0.2, "standardize": True}
    results = run(tmp_path, (X, y), problem=problem, epochs=10, record={"metrics": ["validation_accuracy"]})
    assert results.curves["validation_accuracy"].max() > 0.95


@pytest.mark.parametrize("kind", ["best", "armijo"])
def test_line_searches_in_a_study(tmp_path, kind):
    search = {"kind": kind} | ({"rates": [0.01, 0.1, 1.0]} if kind == "best" else {})
    optimizer = {"name": "sgd", "lr": [1.0, 10.0], "line_search": search}
    results = run(tmp_path, problem=PROBLEM, optimizer=optimizer, batch_size="full", epochs=20)
    for _, curve in results.curves.groupby("trial_id"):
        assert (np.diff(curve["loss"]) <= 0).all()
        assert curve["loss_evaluations"].iloc[-1] >= 20


def test_baselines_look_at_networks(tmp_path):
    search = {"name": "random_search", "low": -1.0, "high": 1.0}
    results = run(tmp_path, problem={"loss": "logistic", "network": {"hidden": [3]}}, optimizer=search, epochs=30)
    curve = results.curves["loss"].to_numpy()
    assert (np.diff(curve) <= 0).all()
    assert curve[-1] < curve[0]


def test_what_is_compiled_is_known_by_activation_and_no_width():
    networks = [
        {"hidden": hidden, "activation": activation}
        for hidden, activation in (([4], "tanh"), ([9, 3], "tanh"), ([4], "relu"))
    ]
    problems = [{"name": str(at), "loss": "logistic", "network": each} for at, each in enumerate(networks)]
    study = network_study(problem=problems)
    one, deeper, other = (unit.method for unit in plan_of(study).units)
    assert one == deeper != other


def test_the_plan_says_what_networks_take():
    few, many = (
        plan_of(network_study(problem={"loss": "logistic", "network": {"hidden": [width]}}), rows(n=5000)).summary()
        for width in (10, 1000)
    )
    assert many.bytes > few.bytes
    assert many.cost.training > 2 * few.cost.training


def test_norms_of_each_layers_gradient(tmp_path):
    problems = [{"name": "linear", "loss": "logistic"}, PROBLEM | {"name": "network", "l2": 0.1}]
    metrics = {"metrics": ["grad_norm", "layer_grad_norm"], "parameters": "all"}
    results = run(tmp_path, problem=problems, epochs=2, record=metrics)
    columns = [f"layer_grad_norm.{layer}" for layer in (1, 2, 3, 4)]
    curves = results.curves.merge(results.trials[["trial_id", "problem"]], on="trial_id").set_index("problem")
    assert curves.loc["linear", columns].isna().all(axis=None)
    assert curves.loc["network", columns[3]].isna().all()
    squares = np.square(curves.loc["network", columns[:3]].to_numpy()).sum(axis=1)
    assert np.sqrt(squares) == pytest.approx(curves.loc["network", "grad_norm"].to_numpy(), rel=1e-12)
    trial = results.trials.set_index("problem").loc["network", "trial_id"].iloc[0]
    (X, y), w = rows(), results.parameters(trial)
    g = reference_networks.gradient(w, X, y, (5, 6, 4, 1), "tanh", loss="logistic", l2=0.1)
    of_layers = [np.linalg.norm(part) for part in np.split(g, [36, 36 + 28])]
    last = results.curves[results.curves["trial_id"] == trial].iloc[-1]
    assert last[columns[:3]].to_numpy(float) == pytest.approx(of_layers, rel=1e-9)


def test_targets_in_their_own_deviation(tmp_path):
    X, y = rows("squared", n=300)
    y = 1000 + 50 * y
    problem = {"loss": "squared", "network": NETWORK, "validation": 0.2}
    metrics = {"metrics": ["r2", "validation_r2"]}
    plain, scaled, by_hand = (
        run(tmp_path / name, (X, targets), problem=problem | more, epochs=20, record=metrics).curves
        for name, targets, more in (
            ("plain", y, {}),
            ("scaled", y, {"standardize_target": True}),
            ("by hand", (y - 1000) / 50, {"standardize_target": True}),
        )
    )
    assert scaled["validation_r2"].max() > 0.5 > plain["validation_r2"].max()
    assert scaled["loss"].to_numpy() == pytest.approx(by_hand["loss"].to_numpy(), rel=1e-9)
    assert scaled["r2"].to_numpy() == pytest.approx(1 - 2 * scaled["loss"].to_numpy(), rel=1e-9), "of a variance of 1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": PROBLEM | {"init": "zeros"}}, "problem.init = 'zeros' leaves all units of a hidden layer alike"),
        ({"problem": PROBLEM | {"init": "hee"}}, "problem.init must be one of 'he', 'glorot'"),
        ({"problem": {"loss": "logistic", "init": "he"}}, "problem.init goes with network"),
        ({"problem": PROBLEM | {"network": {"hidden": [5] * 4}}}, "problem.network.hidden"),
        ({"problem": PROBLEM | {"network": {"hidden": [0]}}}, "problem.network.hidden"),
        ({"problem": PROBLEM | {"network": {"hidden": [5], "activation": "rely"}}}, "did you mean 'relu'"),
        ({"problem": PROBLEM | {"network": {"units": [5]}}}, "problem.network"),
        (
            {"problem": PROBLEM, "init": {"normal": 0.1}},
            "problem has layers, whose weights start as problem.init",
        ),
        ({"problem": PROBLEM, "surface": {"low": -1.0, "high": 1.0}}, "surface is of two parameters of a linear model"),
        (
            {"problem": PROBLEM | {"layout": "sparse", "sparse": "masked"}},
            "problem.sparse: 'masked' leaves the weights of features alone",
        ),
        (
            {"problem": PROBLEM, "optimizer": {"name": "sgd", "lr": 0.1, "estimator": "saga"}},
            "optimizer.estimator: 'saga' keeps one number for each row",
        ),
        (
            {"problem": PROBLEM, "batch_size": "full", "optimizer": SEARCHED},
            "optimizer.line_search: 'exact' needs the derivative of the objective along a direction",
        ),
        (
            {"problem": PROBLEM, "optimizer": {"name": "adam", "lr": 0.1}, "record": {"metrics": ["effective_lr"]}},
            "'effective_lr' is of features' weights",
        ),
        (
            {"problem": PROBLEM | {"standardize_target": True}},
            "standardize_target = true goes with losses of numbers, and 'logistic' is none",
        ),
        ({"record": {"metrics": ["layer_grad_norm"]}}, "no problem has 'layer_grad_norm', which is of networks"),
        ({"record": {"metrics": ["top_5"]}}, "no problem has 'top_5', which needs a loss of softmax"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        study_of(**changes)


@pytest.mark.parametrize(
    ("y", "problem", "message"),
    [
        (np.zeros(130), {}, "all rows have the label 0"),
        (np.arange(130.0) / 7, {"positive": 1.0}, "positive = 1.0 makes two classes"),
        (np.random.default_rng(0).standard_normal(2000), {}, "the targets have 2,000 values; this loss takes classes"),
    ],
)
def test_targets_that_are_no_classes(tmp_path, y, problem, message):
    X = np.random.default_rng(0).standard_normal((len(y), 5))
    with pytest.raises(InputError, match=message):
        run(tmp_path, (X, y), problem={"loss": "softmax"} | problem)


def test_targets_without_a_deviation(tmp_path):
    problem = {"loss": "squared", "standardize_target": True}
    with pytest.raises(InputError, match=r"the targets cannot be standardised: their deviation is \S+e-17"):
        run(tmp_path, (rows()[0], np.full(130, 0.1)), problem=problem)


def test_the_first_layer_takes_sparse_rows(tmp_path):
    rows_of = {"loss": "logistic", "network": NETWORK, "synthetic": {"n": 100, "d": 50, "nonzeros": 5}}
    problems = [rows_of | {"name": layout, "layout": layout, "l2": [0.0, 0.1]} for layout in ("sparse", "dense")]
    study = study_of(problem=problems, optimizer={"name": "adam", "lr": [0.01, 0.02, 0.05, 0.1]}, epochs=5)
    results = fastgd.run(study, tmp_path / "r", threads=2)
    sparse, dense = (results.trials[results.trials["problem"] == name] for name in ("sparse", "dense"))
    assert set(sparse["kernel"]) == {f"network-sparse-tile-{WIDEST}"}
    assert set(sparse["sparse"]) == {"exact, dense updates"}
    assert sparse["final_loss"].to_numpy() == pytest.approx(dense["final_loss"].to_numpy(), rel=1e-12)
    notes = make_plan(study, load_data(study, None, Log())).summary().notes
    assert any("each step updates all of the first layer's weights" in note for note in notes)
