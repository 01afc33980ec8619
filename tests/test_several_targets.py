"""Several targets: each has an output of a layered model, and a row's loss is the mean over them."""

import numpy as np
import pandas as pd
import pytest
import reference
import reference_networks
from cohorts import TYPES, relative_error, spread
from scipy.sparse import csr_array
from sklearn.metrics import r2_score
from small_studies import assert_same, rows, run, study_of
from test_engine_networks import FEATURES, PARTS, ROWS, TILE, TORCH_LOSSES, make, torch_network
from test_user_losses import half_square

import fastgd
from fastgd import InputError
from fastgd.common.parsing import from_toml
from fastgd.datasets import from_arrays, prepare
from fastgd.datasets.prepare import held_out
from fastgd.engine.network.model import Network
from fastgd.optimizers.line_search import Armijo, Best
from fastgd.plan.planner import make_plan
from fastgd.problems import LOSSES, of_each_target, with_outputs
from fastgd.problems.activations import ACTIVATIONS
from fastgd.runs.data.loading import load_data

NETWORK = {"hidden": [6, 4], "activation": "tanh"}
BOTH = {"loss": "squared", "target": ["a", "b"]}
DEEP = BOTH | {"network": NETWORK}
ADAM = {"name": "adam", "lr": [0.01, 0.014, 0.018, 0.022, 0.026, 0.03]}  # so many that a tile has eight lanes


def model_of(hidden, targets):
    return Network(tuple(hidden), ACTIVATIONS["tanh"], outputs=targets)


def problem_of(targets, n=ROWS, seed=0):
    """Rows (n, d), and targets (n, targets) of different sizes."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, FEATURES))
    Y = np.tanh(X @ rng.standard_normal((FEATURES, targets))) * np.arange(1, targets + 1)
    return X, Y + 0.3 * rng.standard_normal((n, targets))


def cohort_of(X, Y, lanes, optimizer="sgd", *, loss="squared", hidden=(6, 3), **options):
    record = loss if not isinstance(loss, str) else LOSSES[loss]
    how = {"model": model_of(hidden, Y.shape[1]), "loss": with_outputs(record, Y.shape[1]), "init": "pytorch"}
    return make(X, Y, lanes, optimizer, **how | options)


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "targets", "hidden", "batch_size", "kernel"),
    [
        ("squared", 2, (6, 3), 20, TILE),
        ("squared", 7, (), 64, TILE),
        ("huber", 3, (9,), 150, TILE),
        ("huber", 2, (6, 3), ROWS, PARTS),
    ],
)
def test_train_as_the_reference(loss, targets, hidden, batch_size, kernel):
    X, Y = problem_of(targets)
    model, lanes = model_of(hidden, targets), [{"lr": 0.05}, {"lr": 0.2}]
    cohort = cohort_of(X, Y, lanes, loss=loss, hidden=hidden, batch_size=batch_size, kernel=kernel, l2=[0.0, 0.1])
    start, how = cohort.parameters()[0], {"loss": loss}
    cohort.advance(50)
    for found, lane, l2 in zip(cohort.parameters(), lanes, (0.0, 0.1), strict=True):
        w = start
        for _, batch in zip(range(50), reference.batches(ROWS, batch_size, 3), strict=False):
            g = reference_networks.gradient(w, X[batch], Y[batch], model.widths(FEATURES), "tanh", l2=l2, **how)
            w = w - lane["lr"] * g
        assert relative_error(found, w) < 1e-10


@pytest.mark.parametrize(
    ("loss", "targets", "optimizer", "hidden"),
    [("squared", 3, "adam", (7, 5)), ("huber", 2, "momentum", (8,)), ("squared", 2, "momentum", ())],
)
def test_train_as_pytorch(loss, targets, optimizer, hidden):
    torch = pytest.importorskip("torch", reason="PyTorch is an outside witness")
    X, Y = problem_of(targets)
    values = {"momentum": 0.9} if optimizer == "momentum" else {"eps": 1e-8}
    cohort = cohort_of(
        X, Y, [{"lr": 0.02, **values}], optimizer, loss=loss, hidden=hidden, batch_size=25, shuffled=False
    )
    theirs = torch_network(torch, model_of(hidden, targets), FEATURES, cohort.parameters()[0])
    kind = {"momentum": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    stepper, inputs, outputs = kind(theirs.parameters(), lr=0.02, **values), torch.tensor(X), torch.tensor(Y)
    for step in range(50):
        batch = slice(25 * (step % (ROWS // 25)), 25 * (step % (ROWS // 25)) + 25)
        stepper.zero_grad()
        TORCH_LOSSES[loss](torch.nn.functional, theirs(inputs[batch]), outputs[batch]).backward()
        stepper.step()
    cohort.advance(50)
    layers = reference_networks.layers_of(cohort.parameters()[0], model_of(hidden, targets).widths(FEATURES))
    for layer, (W, b) in zip(theirs[::2], layers, strict=True):
        assert relative_error(W.T, layer.weight.detach().numpy()) < 1e-9
        assert relative_error(b, layer.bias.detach().numpy()) < 1e-9


@TYPES
@pytest.mark.parametrize("batch_size", [20, 100])
def test_equal_targets_are_one(batch_size, dtype):
    """The mean over two equal targets is one of them, and so is each step of two outputs that begin alike."""
    X, Y = problem_of(1)
    one = cohort_of(X, Y, [{"lr": 0.1}], hidden=(), init="zeros", batch_size=batch_size, dtype=dtype)
    two = cohort_of(X, np.tile(Y, 2), [{"lr": 0.2}], hidden=(), init="zeros", batch_size=batch_size, dtype=dtype)
    for each in (one, two):
        each.advance(50)
    W, b = reference_networks.layers_of(two.parameters()[0], (FEATURES, 2))[0]
    np.testing.assert_array_equal(np.append(W[:, 0], b[0]), np.append(W[:, 1], b[1]))
    assert relative_error(np.append(W[:, 0], b[0]), one.parameters()[0]) < (1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.full
def test_float32_trains_as_float64():
    X, Y = problem_of(3)
    double, single = (cohort_of(X, Y, [{"lr": 0.01}], "adam", batch_size=16, dtype=t) for t in ("float64", "float32"))
    for cohort in (double, single):
        cohort.advance(100)
    assert relative_error(single.parameters(), double.parameters()) < 1e-3


def test_a_loss_of_ones_own_has_several_targets():
    X, Y = problem_of(2)
    own, known = (cohort_of(X, Y, [{"lr": 0.1}], loss=loss) for loss in (half_square.loss, "squared"))
    for cohort in (own, known):
        cohort.advance(20)
    np.testing.assert_array_equal(own.parameters(), known.parameters())


@pytest.mark.parametrize("search", [Best(rates=(0.01, 0.1, 1.0)), Armijo()], ids=["best", "armijo"])
def test_line_searches(search):
    X, Y = problem_of(2)
    widths, rates, how = (FEATURES, 6, 3, 2), [0.5, 5.0, 20.0], {"loss": "squared", "l2": 0.01}
    cohort = cohort_of(
        X, Y, [{"lr": rate} for rate in rates], batch_size=ROWS, l2=0.01, kernel=PARTS, line_search=search
    )
    for _ in range(3):
        before = cohort.parameters()
        cohort.advance(1)
        for w, largest, chosen in zip(before, rates, cohort.line.rates, strict=True):
            g = reference_networks.gradient(w, X, Y, widths, "tanh", **how)

            def value(rate, w=w, g=g):
                return reference_networks.objective(w - rate * g, X, Y, widths, "tanh", **how)

            if isinstance(search, Best):
                tried = [value(largest * factor) for factor in search.rates]
                assert chosen == pytest.approx(largest * search.rates[int(np.argmin(tried))])
            else:
                assert value(chosen) <= value(0) - search.slope * chosen * (g @ g) * (1 - 1e-9)


@pytest.mark.parametrize("dtype", spread(["float64", "float32"], ["float64"]))
def test_measures_are_those_of_the_reference(dtype):
    X, Y = problem_of(3)
    cohort = cohort_of(X, Y, [{"lr": 0.1}, {"lr": 0.2}], loss="huber", dtype=dtype)
    cohort.advance(10)
    measures = [cohort.spec.loss, *of_each_target(with_outputs(LOSSES["squared"], 3))]
    found = cohort.measure([(X.astype(dtype), Y.astype(dtype), measures)]).sums[0]
    for lane, w in enumerate(cohort.parameters()):
        layers = reference_networks.layers_of(w, (FEATURES, 6, 3, 3))
        z = reference_networks.forward(layers, X, "tanh")[1][-1]
        expected = [LOSSES["huber"].value(z, Y).mean(axis=1).sum(), *(np.square(z - Y) / 2).sum(axis=0)]
        np.testing.assert_allclose(found[:, lane], expected, rtol=1e-12 if dtype == "float64" else 1e-4)


# --- studies ----------------------------------------------------------------------------------------------------------


def targets_of(n=130):
    """Rows (n, 5) and two targets (n, 2), of which the second is large and far from zero."""
    X, y = rows("squared", n=n)
    return X, np.column_stack([y, 50 + 20 * np.sin(X[:, 1])])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A text table with the targets between the features."""
    (X, Y), file = targets_of(), tmp_path_factory.mktemp("targets") / "rows.csv"
    frame = pd.DataFrame(X, columns=list("pqrst"))
    frame.insert(1, "b", Y[:, 1])
    frame.insert(4, "a", Y[:, 0])
    frame.to_csv(file, index=False)
    frame.to_parquet(file.with_suffix(".parquet"))
    np.savez(file.with_suffix(".npz"), X=X, y=Y)
    return file


@pytest.mark.parametrize("network", [None, NETWORK])
def test_predictions_are_those_that_the_engine_measured(tmp_path, table, network):
    problem = BOTH | {"path": str(table), "standardize": True, "standardize_target": True, "intercept": True}
    problem |= {"validation": 0.2} | ({"network": network} if network else {})
    record = {"parameters": "all", "metrics": ["r2", "validation_r2"]}
    results = run(tmp_path / "r", problem=problem, optimizer=ADAM, record=record, epochs=20)
    (X, Y), held = targets_of(), held_out(130, 0.2, 0)
    trained = np.delete(np.arange(130), held)
    for trial in results.trials["trial_id"]:
        model, last = results.model(trial), results.curves[results.curves["trial_id"] == trial].iloc[-1]
        assert (model.targets, model.predict(X).shape) == (("a", "b"), (130, 2))
        for which, prefix in ((trained, ""), (held, "validation_")):
            found = model.predict(X[which])
            assert last[f"{prefix}r2"] == pytest.approx(r2_score(Y[which], found), rel=1e-10)
            half_squares = np.square((found - Y[which]) / Y[trained].std(axis=0)) / 2
            assert last[f"{prefix}loss"] == pytest.approx(half_squares.mean(), rel=1e-10)
    torch = pytest.importorskip("torch", reason="PyTorch is an outside witness")
    with torch.no_grad():
        np.testing.assert_allclose(model.to_torch()(torch.tensor(X)).numpy(), model.predict(X), rtol=1e-10)


def ids_of(data=None, **problem):
    study = study_of(problem=problem)
    return make_plan(study, load_data(study, data, lambda _: None)).table["trial_id"].tolist()


def test_tables_and_arrays_are_the_same_trials(table):
    X, Y = targets_of()
    expected = ids_of(**DEEP, path=str(table))
    for other in (".parquet", ".npz"):
        assert ids_of(**DEEP, path=str(table.with_suffix(other))) == expected
    assert ids_of((X, Y), **DEEP) == expected
    assert ids_of((X, pd.DataFrame(Y[:, ::-1], columns=["b", "a"])), **DEEP) == expected
    assert ids_of(**DEEP | {"target": ["b", "a"]}, path=str(table)) != expected


def test_one_name_in_a_list_is_the_name(table):
    where = {"loss": "squared", "path": str(table)}
    (listed,) = study_of(problem=where | {"target": ["a"]}).problem
    assert (listed.target, listed.targets, listed.layered) == ("a", (), False)
    assert ids_of(**where, target=["a"]) == ids_of(**where, target="a")


def test_a_study_survives_its_file():
    study = study_of(problem=DEEP)
    assert fastgd.Study.of_fields(from_toml(study.to_toml()), "study.toml") == study
    assert study.problem[0].targets == ("a", "b")


def test_a_trial_alone_and_fewer_threads_have_the_same_bits(tmp_path):
    data, changes = targets_of(), {"problem": DEEP | {"validation": 0.2}, "optimizer": ADAM, "record": {"rows": 40}}
    whole = run(tmp_path / "whole", data, **changes)
    assert_same(run(tmp_path / "one thread", data, threads=1, **changes), whole)
    trial = whole.trials["trial_id"].iloc[1]
    alone = run(tmp_path / "alone", data, trial=trial, **changes)
    ours, theirs = (each.curves[each.curves["trial_id"] == trial] for each in (alone, whole))
    assert np.array_equal(ours["loss"], theirs["loss"])


def test_baselines_look_at_several_targets(tmp_path):
    search = {"name": "random_search", "low": -1.0, "high": 1.0}
    record = {"metrics": ["r2"]}
    results = run(tmp_path, targets_of(), problem=DEEP, optimizer=search, epochs=20, record=record)
    curves = results.curves
    assert (np.diff(curves["loss"]) <= 0).all()
    assert curves["loss"].iloc[-1] < curves["loss"].iloc[0]
    assert curves["r2"].nunique() > 1


def test_held_out_rows_have_the_same_targets(tmp_path, table):
    other = tmp_path / "other.csv"
    pd.read_csv(table)[:30].to_csv(other, index=False)
    archive = table.with_suffix(".npz")
    assert len(ids_of(**DEEP, path=str(table), validation=str(other))) == 4
    assert len(ids_of(**DEEP, path=str(archive), validation=str(archive))) == 4
    X, Y = targets_of()
    with pytest.raises(InputError, match=r"validation data must have the targets of arrays, 'a', 'b': found one$"):
        prepare(from_arrays(X, Y, targets=("a", "b")), targets="real", validation=from_arrays(X, Y[:, 0], "held"))


def test_targets_without_a_deviation(tmp_path):
    X, Y = targets_of()
    Y[:, 1] = 0.1
    with pytest.raises(InputError, match=r"the target 'b' cannot be standardised: its deviation is \S+"):
        run(tmp_path, (X, Y), problem=BOTH | {"standardize_target": True})


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"problem": BOTH | {"loss": loss}}, f"target names 2 columns, and the loss '{loss}' is of one: several")
            for loss in ("logistic", "softmax", "poisson", "sigmoid_squared")
        ),
        ({"problem": BOTH | {"target": ["a", "b", "a"]}}, "target names 'a' twice"),
        ({"problem": BOTH | {"target": []}}, "target is an empty list"),
        ({"problem": BOTH | {"target": ["a", 3]}}, "target must be a column's name, or a list of such names"),
        ({"problem": BOTH | {"positive": 1}}, "positive makes 0 and 1 of one target, and there are several"),
        ({"problem": BOTH | {"dataset": "diabetes"}}, "the dataset 'diabetes' has the target 'target'"),
        ({"problem": BOTH, "init": {"normal": 1.0}}, "problem has layers, whose weights start as problem.init says"),
        (
            {"problem": BOTH, "optimizer": ADAM | {"name": "sgd", "estimator": "svrg"}},
            "'svrg' keeps one number for each row",
        ),
        (
            {
                "problem": BOTH,
                "batch_size": "full",
                "optimizer": ADAM | {"name": "sgd", "line_search": {"kind": "exact"}},
            },
            "'exact' needs the derivative of the objective along a direction",
        ),
        ({"problem": BOTH, "surface": {"low": -1.0, "high": 1.0}}, "surface is of two parameters of a linear model"),
        ({"problem": BOTH, "record": {"metrics": ["accuracy"]}}, "no problem has 'accuracy'"),
    ],
)
def test_studies_that_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        study_of(**changes)


X, Y = targets_of()


@pytest.mark.parametrize(
    ("data", "problem", "message"),
    [
        ((X, Y), {"target": "a"}, r'y must have one value a row, \(n,\); found shape \(130, 2\); target = \["...", '),
        ((X, Y[:, 0]), {}, r"target names 2 columns of y, 'a', 'b'; found shape \(130,\)"),
        ((X, np.column_stack([Y, Y])), {}, r"target names 2 columns of y, 'a', 'b'; found shape \(130, 4\)"),
        ((X, pd.DataFrame(Y, columns=["a", "c"])), {}, "target names 'a', 'b', and y has the columns 'a', 'c'"),
        ((pd.DataFrame(X, columns=list("abcde")), Y), {}, "the target 'a' is a column of X, too, which would tell it"),
        ((X, np.where(np.arange(130)[:, None] == [1, 7], np.nan, Y)), {}, "row 2: the target 'a' is nan; it must be"),
        ((X, Y.astype(str)), {}, "several targets are numbers; found <U"),
    ],
)
def test_arrays_that_are_refused(tmp_path, data, problem, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, data, problem=BOTH | problem)


def test_of_sparse_rows(tmp_path):
    found = [
        run(tmp_path / str(at), (data, Y), problem=BOTH, optimizer=ADAM).trials["final_loss"]
        for at, data in enumerate((np.where(X > 0, X, 0), csr_array(np.where(X > 0, X, 0))))
    ]
    assert found[1].to_numpy() == pytest.approx(found[0].to_numpy(), rel=1e-12)


def test_a_table_of_lists_has_one_target(tmp_path):
    file, lists = tmp_path / "lists.parquet", {"indices": [[0, 1], [2]], "values": [[1.0, 2.0], [3.0]]}
    pd.DataFrame(lists | {"a": [1.0, 2.0], "b": [3.0, 4.0]}).to_parquet(file)
    with pytest.raises(InputError, match=r"sparse rows have one target; found target = \['a', 'b'\]"):
        ids_of(**BOTH, path=str(file))


def test_a_missing_target_is_named_by_its_line(tmp_path):
    (tmp_path / "rows.csv").write_text("p,a,b\n1,2,3\n4,5,\n")
    with pytest.raises(InputError, match=r"rows\.csv: line 3: the target 'b' is nan; it must be a finite number"):
        ids_of(**BOTH, path=str(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"target": ["a", "c"]}, "there is no column 'c'; valid: p, b, q, r, a, s, t"),
        (
            {"path": "rows.svm"},
            r"target = \['a', 'b'\] is for .csv, .parquet, .arrow and .npz; a .svm file knows its own target",
        ),
        ({"path": None, "synthetic": {"n": 9, "d": 2}}, r"synthetic has no target \['a', 'b'\]; valid: y"),
    ],
)
def test_files_that_are_refused(table, problem, message):
    with pytest.raises(InputError, match=message):
        ids_of(**BOTH | {"path": str(table)} | problem)
