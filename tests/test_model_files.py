"""From a study to a model in a file, and to predictions of new rows: `fastgd fit`, `load_model`, `fastgd predict`."""

import io
import json
import re
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather
from scipy.sparse import csr_matrix
from sklearn.datasets import dump_svmlight_file
from small_studies import rows, run
from test_cli import fastgd_cli

import fastgd
from fastgd import InputError
from fastgd.datasets.prepare import held_out

FEATURES = ["age", "height", "weight", "score", "size"]
ADAM = {"name": "adam", "lr": [0.03, 0.025, 0.02, 0.015, 0.01, 0.005]}
ALL = {"parameters": "all"}
STUDY = """
name = "late"
epochs = 4
batch_size = 32

[problem]
loss = "logistic"
path = "train.csv"
target = "late"
csv = { sep = ";" }
intercept = true
standardize = true
validation = 0.2

[[optimizer]]
name = "momentum"
lr = [0.01, 0.03, 0.1, 0.3]
"""


def table(n=130, seed=0):
    X, y = rows(n=n, seed=seed)
    return pd.DataFrame(3 * X + 1, columns=FEATURES).assign(late=np.where(y > 0, "yes", "no"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A study of a text table, the model that the command line made of it, and what it said."""
    place = tmp_path_factory.mktemp("fit")
    table().to_csv(place / "train.csv", sep=";", index=False)
    (place / "late.toml").write_text(STUDY)
    out, _ = fastgd_cli("fit", place / "late.toml", "--best", "--results", place / "r", "-o", place / "model.npz")
    return place, out


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_best_configuration_is_trained_on_all_rows(fitted):
    place, out = fitted
    best = fastgd.load(place / "r").best().iloc[0]
    chosen, made = out.splitlines()
    assert re.fullmatch(
        rf"best of 4 configurations: momentum, lr {best['lr']:g}; final validation loss 0\.\d+ "
        rf"\(trial {best['trial_id']}\)",
        chosen,
    )
    assert made == f"trained again on all 130 rows, with the 26 that were held out: {place / 'model.npz'}"
    model = fastgd.load_model(place / "model.npz")
    assert (model.trial_id, model.rows, model.study) == (best["trial_id"], 130, "late")
    study = fastgd.Study.from_toml(place / "late.toml", set=["problem.validation=0", f"optimizer.0.lr={best['lr']}"])
    study = study.model_copy(update={"record": study.record.model_copy(update=ALL)})
    alone = fastgd.run(study, place / "alone")
    expected = alone.model(alone.trials["trial_id"][0])
    np.testing.assert_array_equal(model.margins(table()[FEATURES]), expected.margins(table()[FEATURES]))


def test_coefficients_are_in_the_units_of_the_data(fitted):
    model, X = fastgd.load_model(fitted[0] / "model.npz"), table(50, seed=1)[FEATURES]
    z = X.to_numpy() @ model.coef + model.intercept
    np.testing.assert_allclose(z, model.margins(X), rtol=1e-12, atol=1e-12)
    scaled = (X.to_numpy() - table()[FEATURES].mean().to_numpy()) / table()[FEATURES].std(ddof=0).to_numpy()
    layer = model.layers[0]
    np.testing.assert_allclose(z, scaled @ layer.weights[:, 0] + layer.biases[0], rtol=1e-12, atol=1e-12)
    assert model.predict(X).tolist() == np.where(z > 0, "yes", "no").tolist()
    assert model.coef.shape == (5,)
    assert isinstance(model.intercept, float)


def test_a_trial_as_it_ended(fitted):
    place, _ = fitted
    results = fastgd.load(place / "r")
    trial = results.best()["trial_id"].iloc[1]
    out, _ = fastgd_cli(
        "fit", place / "late.toml", "--trial", trial, "--as-trained", "--results", place / "r", "-o", place / "own.npz"
    )
    assert out.splitlines()[0] == f"trial {trial}"
    assert out.splitlines()[1] == f"as it was trained on 104 rows: {place / 'own.npz'}"
    model, held = fastgd.load_model(place / "own.npz"), held_out(130, 0.2, 0)
    X, y = table()[FEATURES].iloc[held], (table()["late"] == "yes").to_numpy()[held]
    z = model.margins(X)
    measured = results.trials.set_index("trial_id")["final_validation_loss"][trial]
    assert np.mean(np.logaddexp(0, z) - y * z) == pytest.approx(measured, rel=1e-12)
    np.testing.assert_array_equal(z, results.best_model(trial=trial, progress=False).margins(X))


def test_the_best_iterate_of_a_trial_is_its_model(tmp_path):
    data = rows(n=60, d=5)
    problem = {"loss": "logistic", "intercept": True, "validation": 0.5}
    how = {"optimizer": {"name": "momentum", "lr": [3.0]}, "batch_size": 10}  # which fits the noise of thirty rows
    results = run(tmp_path, data, problem=problem, epochs=30, record={"parameters": "best_iterate"}, **how)
    (trial,) = results.trials.to_dict("records")
    assert 0 < trial["best_step"] < trial["steps"]
    curve = results.curves.set_index("step")["validation_loss"]
    assert curve[trial["best_step"]] == curve.min()
    model = results.best_model(data=data)
    w = results.parameters(trial["trial_id"])
    np.testing.assert_array_equal(model.margins(data[0]), data[0] @ w[:-1] + w[-1])
    refitted = results.best_model(refit=True, data=data)
    alone = {**problem, "validation": 0.0}
    steps = 2 * trial["best_step"]  # as many epochs, of twice as many rows
    again = run(tmp_path / "all", data, problem=alone, epochs=None, steps=int(steps), record=ALL, **how)
    expected = again.model(again.trials["trial_id"][0], data=data)
    np.testing.assert_array_equal(refitted.margins(data[0]), expected.margins(data[0]))


def test_python_has_the_same_models_and_runs_nothing_twice(fitted):
    place, _ = fitted
    study, events = fastgd.Study.from_toml(place / "late.toml"), []
    model = fastgd.fit(study, place / "r", on_event=events.append, progress=False)
    assert not [event for event in events if type(event).__name__ == "CohortStarted"]
    X = table()[FEATURES]
    np.testing.assert_array_equal(model.margins(X), fastgd.load_model(place / "model.npz").margins(X))


def test_all_that_a_trial_has_is_in_its_study_of_all_rows(tmp_path):
    optimizer = {"name": "momentum", "lr": 0.05, "form": "lecture", "lookahead": {"every": 3, "alpha": 0.8}}
    optimizer |= {"schedule": {"name": "cosine", "final": 0.1}}
    problem = {"loss": "logistic", "l2": [0.0, 0.3], "validation": 0.2, "intercept": True}
    shared = {"optimizer": optimizer, "batch_size": "full", "init": {"normal": 0.5}, "seed": 7, "record": ALL}
    found = run(tmp_path / "some", problem=problem, **shared)
    trial = found.trials.set_index("l2")["trial_id"][0.3]
    model = found.best_model(trial=trial, refit=True, data=rows(), progress=False)
    whole = run(tmp_path / "all", problem=problem | {"l2": 0.3, "validation": 0.0}, **shared)
    expected = whole.model(whole.trials["trial_id"][0], data=rows())
    np.testing.assert_array_equal(model.margins(rows()[0]), expected.margins(rows()[0]))
    np.testing.assert_array_equal(
        whole.best_model(refit=True, data=rows(), progress=False).margins(rows()[0]), expected.margins(rows()[0])
    )


def test_folds_are_trained_on_together(tmp_path):
    problem = {"loss": "logistic", "intercept": True, "standardize": True, "validation": {"folds": 3}}
    found = run(tmp_path / "folds", problem=problem, record=ALL)
    best = found.best().iloc[0]
    own = found.best_model(data=rows(), progress=False)
    trained_on = found.trials.set_index("trial_id")["n"][best["trial_id"]]
    assert (own.trial_id, own.rows) == (best["trial_id"], trained_on)
    np.testing.assert_array_equal(own.margins(rows()[0]), found.model(own.trial_id, data=rows()).margins(rows()[0]))
    model = found.best_model(refit=True, data=rows(), progress=False)
    bare = {key: value for key, value in problem.items() if key != "validation"}
    whole = run(tmp_path / "all", problem=bare, record=ALL, optimizer={"name": "momentum", "lr": float(best["lr"])})
    expected = whole.model(whole.trials["trial_id"][0], data=rows())
    np.testing.assert_array_equal(model.margins(rows()[0]), expected.margins(rows()[0]))
    assert model.rows == len(rows()[1])
    unstored = run(tmp_path / "unstored", problem=problem)
    again = unstored.best_model(data=rows(), progress=False)
    np.testing.assert_array_equal(again.margins(rows()[0]), own.margins(rows()[0]))


def test_groups_of_folds_are_no_feature_of_the_model(tmp_path):
    table().assign(who=np.arange(130) % 10).to_csv(tmp_path / "train.csv", index=False)
    problem = {"loss": "logistic", "path": str(tmp_path / "train.csv"), "target": "late", "intercept": True}
    folds = {"folds": 5, "kind": "group", "group": "who"}
    found = run(tmp_path / "r", problem=problem | {"validation": folds})
    model = found.best_model(refit=True, progress=False)
    assert (model.features, model.rows) == (tuple(FEATURES), 130)
    file = model.save(tmp_path / "model.npz")
    predictions, notes = predicted(file, tmp_path / "train.csv")
    assert "2 columns left out: 'late', 'who'" in notes
    assert predictions["prediction"].tolist() == model.predict(table()[FEATURES]).tolist()


def test_what_cannot_be_fitted(tmp_path):
    plateau = {"name": "plateau", "factor": 0.5, "patience": 1}
    problem = [{"name": name, "loss": "logistic", "validation": 0.2} for name in ("p", "q")]
    problem[1]["intercept"] = True
    found = run(tmp_path, problem=problem, schedule=plateau)
    with pytest.raises(InputError, match=r"2 problems, and each has a best trial: where = 'problem=p'"):
        found.best_model(data=rows())
    with pytest.raises(InputError, match=r"cannot be trained on all rows: .*judges the validation loss.*--as-trained"):
        found.best_model(where="problem=p", refit=True, data=rows())
    trial = found.trials["trial_id"][0]
    with pytest.raises(InputError, match="there is no trial 'none'"):
        found.best_model(trial="none", data=rows())
    with pytest.raises(InputError, match=r"model\.pickle: a model is written to a \.npz file"):
        found.best_model(trial=trial, data=rows(), progress=False).save(tmp_path / "model.pickle")
    walk = fastgd.Study(name="w", steps=2, problem={"landscape": "himmelblau"}, optimizer={"name": "sgd", "lr": 0.01})
    with pytest.raises(InputError, match="trials on landscapes train no model"):
        fastgd.fit(walk, tmp_path / "w")


# --- files ------------------------------------------------------------------------------------------------------------

DEEP = {"hidden": [6, 4], "activation": "tanh"}
KINDS = {
    "classes of a network": ({"loss": "softmax", "dataset": "digits", "network": DEEP, "standardize": True}, None),
    "several targets": (
        {"loss": "squared", "target": ["a", "b"], "standardize_target": True},
        "many",
    ),
    "numbers": ({"loss": "poisson", "intercept": False}, "counts"),
    "sparse": ({"loss": "logistic", "standardize": True, "intercept": True}, "sparse"),
}


def arrays(kind):
    X, y = rows("squared")
    made = {
        "many": (X, np.column_stack([y, 3 * y + X[:, 0]])),
        "counts": (X, np.floor(np.exp(y))),
        "sparse": (csr_matrix(np.maximum(X, 0)), (y > 0).astype(float)),
    }
    return made.get(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_has_all_of_a_model(tmp_path, kind):
    problem, name = KINDS[kind]
    data = arrays(name)
    found = run(tmp_path / "r", data, problem=problem, optimizer=ADAM, record=ALL)
    model = found.model(found.trials["trial_id"][0], data=data)
    again = fastgd.load_model(model.save(tmp_path / "deep" / "model.npz"))
    X = np.random.default_rng(1).standard_normal((40, len(model.features)))
    np.testing.assert_array_equal(again.margins(X), model.margins(X))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    if problem["loss"] in ("softmax", "logistic"):
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    for name in ("trial_id", "loss", "classes", "sparse", "targets", "study", "fingerprint", "rows", "zero_based"):
        assert getattr(again, name) == getattr(model, name)
    assert again.features == model.features
    assert list(map(type, again.classes)) == list(map(type, model.classes))
    assert repr(again) == repr(model)
    if len(model.layers) == 1:
        outputs = X @ again.coef.T + again.intercept
        np.testing.assert_allclose(outputs, model.margins(X), rtol=1e-12, atol=1e-12)
    else:
        hidden = np.tanh(X @ again.coef.T + again.intercept)
        for layer in again.layers[1:]:
            hidden = hidden @ layer.weights + layer.biases
            hidden = np.tanh(hidden) if layer.activation else hidden
        np.testing.assert_allclose(hidden, model.margins(X), rtol=1e-10, atol=1e-10)


def test_a_file_is_read_without_numba_and_without_pickle(fitted, tmp_path):
    code = f"""
import json, pickle, sys
pickle.load = pickle.loads = pickle.Unpickler = None
import fastgd
model = fastgd.load_model({str(fitted[0] / "model.npz")!r})
print(json.dumps(["numba" in sys.modules, model.predict([[1.0] * 5]).tolist()]))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    numba, (label,) = json.loads(done.stdout)
    assert not numba
    assert label in ("yes", "no")
    with np.load(fitted[0] / "model.npz", allow_pickle=False) as archive:
        said = json.loads(str(archive["model"]))
        assert (said["loss"], said["classes"], said["features"]) == ("logistic", ["no", "yes"], FEATURES)
        assert archive["output.weights"].shape == (5, 1)


def rewritten(file, target, **changes):
    """Write a model with other arrays; None leaves one out, and a function changes what is said beside them."""
    with np.load(file, allow_pickle=False) as archive:
        held = dict(archive)
    for name, change in changes.items():
        name = name.replace("__", ".")
        if change is None:
            del held[name]
        elif callable(change):
            said = json.loads(str(held["model"]))
            change(said)
            held["model"] = np.array(json.dumps(said))
        else:
            held[name] = change
    np.savez(target, **held)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "holds no model; fastgd fit and TrainedModel.save write such files"),
        ({"model": np.array("{")}, "is damaged: "),
        ({"model": np.array("[]")}, "is of format None, and this fastgd reads format 1"),
        (
            {"model": lambda said: said.update(format=2)},
            "is of format 2, and this fastgd reads format 1",
        ),
        ({"model": lambda said: said.pop("loss")}, "is damaged: loss is missing"),
        ({"model": lambda said: said.update(rows="many")}, "is damaged: rows must be a whole number, found 'many'"),
        ({"model": lambda said: said.update(layers=[])}, "is damaged: the model has no layers"),
        (
            {"model": lambda said: said.update(features=["a"])},
            r"shape \(1, 1\); found shape \(5, 1\)",
        ),
        ({"output__weights": None}, "output.weights must have shape .*; there is none"),
        ({"output__weights": np.full((5, 1), np.nan)}, "output.weights must hold finite numbers"),
        ({"output__biases": np.zeros(2)}, r"output.biases must have shape \(1,\); found shape \(2,\)"),
        ({"columns__mean": np.zeros(4)}, r"columns.mean must have shape \(5,\); found shape \(4,\)"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(fitted, tmp_path, changes, message):
    file = rewritten(fitted[0] / "model.npz", tmp_path / "bad.npz", **changes)
    with pytest.raises(InputError, match=rf"^{re.escape(str(file))}: .*{message}|^{re.escape(str(file))}: {message}"):
        fastgd.load_model(file)


def test_files_that_are_no_models(fitted, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.npz: there is no such file"):
        fastgd.load_model(tmp_path / "nowhere.npz")
    for name, content in {"text.npz": b"words", "cut.npz": (fitted[0] / "model.npz").read_bytes()[:300]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: holds no model"):
            fastgd.load_model(tmp_path / name)
    np.savez(tmp_path / "pickled.npz", model=np.array([{}], object))
    with pytest.raises(InputError, match=r"pickled\.npz cannot be read: .*allow_pickle"):
        fastgd.load_model(tmp_path / "pickled.npz")
    spoilt = bytearray((fitted[0] / "model.npz").read_bytes())
    with zipfile.ZipFile(fitted[0] / "model.npz") as archive:
        start = archive.getinfo("output.weights.npy").header_offset
    spoilt[start + 190] ^= 1  # a number of the weights
    (tmp_path / "spoilt.npz").write_bytes(spoilt)
    with pytest.raises(InputError, match=r"spoilt\.npz cannot be read: Bad CRC-32"):
        fastgd.load_model(tmp_path / "spoilt.npz")


# --- predictions ------------------------------------------------------------------------------------------------------


def predicted(*arguments):
    out, notes = fastgd_cli("predict", *arguments)
    return pd.read_csv(io.StringIO(out)), notes


def test_predictions_of_a_table_are_those_of_the_model(fitted, tmp_path):
    place, new = fitted[0], table(40, seed=2)
    model = fastgd.load_model(place / "model.npz")
    turned = new[new.columns[::-1]].assign(id=range(40))
    turned.to_csv(tmp_path / "new.csv", sep=";", index=False)
    found, notes = predicted(place / "model.npz", tmp_path / "new.csv", "--probabilities")
    assert notes.strip() == f"note: {tmp_path / 'new.csv'}: 2 columns left out: 'late', 'id'"
    assert found["row"].tolist() == list(range(1, 41))
    assert found["prediction"].tolist() == model.predict(new[FEATURES]).tolist()
    p = model.predict_proba(new[FEATURES])
    np.testing.assert_array_equal(found[["probability_no", "probability_yes"]], p)
    z = new[FEATURES].to_numpy() @ model.coef + model.intercept
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-12)
    new[FEATURES].to_parquet(tmp_path / "new.parquet")
    out, notes = fastgd_cli(
        "predict", place / "model.npz", tmp_path / "new.parquet", "--probabilities", "-o", tmp_path / "p.parquet"
    )
    assert (out, notes) == ("", "")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "p.parquet"), found, check_dtype=False)
    fastgd_cli("predict", place / "model.npz", tmp_path / "new.parquet", "-o", tmp_path / "p.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "p.csv"), found[["row", "prediction"]])
    turned.to_feather(tmp_path / "new.feather")
    again, notes = predicted(place / "model.npz", tmp_path / "new.feather", "--probabilities")
    pd.testing.assert_frame_equal(again, found)
    assert notes.strip() == f"note: {tmp_path / 'new.feather'}: 2 columns left out: 'late', 'id'"
    np.savez(tmp_path / "new.npz", X=new[FEATURES].to_numpy())
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(new[FEATURES].to_numpy().ravel()), len(FEATURES))
    feather.write_feather(pa.table({"v": vectors}), tmp_path / "new.arrow")
    for name in ("new.npz", "new.arrow"):
        by_place, _ = predicted(place / "model.npz", tmp_path / name)
        assert by_place["prediction"].tolist() == found["prediction"].tolist()


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_a_row_of_a_folder_is_told_with_its_part(fitted, tmp_path, kind):
    new = table(9, seed=3)[FEATURES]
    (tmp_path / "new").mkdir()
    for part, content in enumerate((new, new.assign(size=[1.0] * 8 + [np.nan]))):
        getattr(content, f"to_{kind}")(tmp_path / "new" / f"{part}.{kind}")
    options = ("--format", "arrow" if kind == "feather" else kind)
    _, errors = fastgd_cli("predict", fitted[0] / "model.npz", tmp_path / "new", *options, code=2)
    assert f"row 9 of 1.{kind}, column 'size': found nan" in errors.replace("\n", " ")


def test_a_table_that_is_written_otherwise(fitted, tmp_path):
    new = table(9, seed=3)
    new.to_csv(tmp_path / "new.txt", index=False)
    told = ("--format", "csv", "--csv", '{ sep = "," }')
    found, _ = predicted(fitted[0] / "model.npz", tmp_path / "new.txt", *told)
    expected = fastgd.load_model(fitted[0] / "model.npz").predict(new[FEATURES])
    assert found["prediction"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda new: new.drop(columns="score"), "new.csv: there is no column 'score'; valid: age, height,"),
        (lambda new: new.rename(columns={"score": "scor"}), "no column 'score'; did you mean 'scor'?"),
        (lambda new: new.assign(size="large"), "column 'size' is not numeric: line 2 holds 'large'"),
        (lambda new: new.assign(size=[1.0, None, 3.0]), "line 3, column 'size': found nan; every feature must be a"),
        (lambda new: new[:0], "new.csv: a header, but no rows"),
    ],
)
def test_rows_that_do_not_fit_are_refused(fitted, tmp_path, change, message):
    change(table(3)[FEATURES]).to_csv(tmp_path / "new.csv", sep=";", index=False)
    _, errors = fastgd_cli("predict", fitted[0] / "model.npz", tmp_path / "new.csv", code=2)
    assert message in errors.replace("\n", " ")


def test_options_that_do_not_fit_are_refused(fitted, tmp_path):
    model, data = fitted[0] / "model.npz", fitted[0] / "train.csv"
    for options, message in {
        ("-o", "p.json"): "p.json: predictions are written to a .csv or .parquet file",
        ("--format", "xml"): "--format: there is no 'xml'",
        ("--csv", "sep = "): "--csv sep = : is no table as",
        ("--csv", 'sepp = ";"'): "sepp",
    }.items():
        assert message in fastgd_cli("predict", model, data, *options, code=2)[1]
    study = fitted[0] / "late.toml"
    assert "--trial says which trial it is" in fastgd_cli("fit", study, "--trial", "a", "--best", code=2)[1]
    assert "written to a .npz file" in fastgd_cli("fit", study, "-o", "model.pkl", code=2)[1]


@pytest.mark.parametrize("zero_based", [True, False])
def test_sparse_rows_keep_their_columns(tmp_path, zero_based):
    X, y = arrays("sparse")
    first = tmp_path / "train.svm"
    dump_svmlight_file(X, y, str(first), zero_based=zero_based)
    problem = {"loss": "logistic", "path": str(first), "n_features": 7 if zero_based else None, "intercept": True}
    problem = {key: value for key, value in problem.items() if value is not None}
    found = run(tmp_path / "r", problem=problem, optimizer=ADAM, record=ALL)
    model = found.best_model(progress=False)
    assert model.zero_based == zero_based
    model.save(tmp_path / "model.npz")
    new = csr_matrix(np.array([[0, 0, 1.5, 0, 0], [0, 2.0, 0, 0, 0]]))  # no entry in the first column
    dump_svmlight_file(new, [1, 0], str(tmp_path / "new.svm"), zero_based=zero_based)
    table, _ = predicted(tmp_path / "model.npz", tmp_path / "new.svm", "--probabilities")
    z = new @ model.coef[:5] + model.intercept
    np.testing.assert_allclose(table["probability_1"], 1 / (1 + np.exp(-z)), rtol=1e-12)
    assert table["prediction"].tolist() == (z > 0).astype(int).tolist()
    lists = pd.DataFrame({"indices": [[2], [1]], "values": [[1.5], [2.0]]})
    lists.to_parquet(tmp_path / "new.parquet")
    pd.testing.assert_frame_equal(
        predicted(tmp_path / "model.npz", tmp_path / "new.parquet", "--probabilities")[0], table
    )
    wide = csr_matrix(([1.0], ([0], [9])), shape=(1, 10))
    dump_svmlight_file(wide, [1], str(tmp_path / "wide.svm"), zero_based=zero_based)
    assert "there is a column x9" in fastgd_cli("predict", tmp_path / "model.npz", tmp_path / "wide.svm", code=2)[1]


def test_a_model_of_arrays_does_not_guess_where_columns_begin(tmp_path):
    found = run(tmp_path / "r", arrays("sparse"), problem=KINDS["sparse"][0], optimizer=ADAM, record=ALL)
    model = found.best_model(data=arrays("sparse"), progress=False)
    file = model.save(tmp_path / "model.npz")
    dump_svmlight_file(csr_matrix([[0, 1.0, 0, 0, 2.0]]), [1], str(tmp_path / "new.svm"), zero_based=False)
    errors = fastgd_cli("predict", file, tmp_path / "new.svm", code=2)[1]
    assert "it is not known whether the columns count from 0 or from 1: --zero-based, or --one-based" in errors
    found, _ = predicted(file, tmp_path / "new.svm", "--one-based")
    assert found["prediction"].tolist() == model.predict(csr_matrix([[0, 1.0, 0, 0, 2.0]])).astype(int).tolist()


def test_several_targets_have_a_column_each(tmp_path):
    X, Y = arrays("many")
    pd.DataFrame(X, columns=FEATURES).assign(a=Y[:, 0], b=Y[:, 1]).to_csv(tmp_path / "train.csv", index=False)
    problem = KINDS["several targets"][0] | {"path": str(tmp_path / "train.csv")}
    model = run(tmp_path / "r", problem=problem, optimizer=ADAM, record=ALL).best_model(progress=False)
    found, notes = predicted(model.save(tmp_path / "model.npz"), tmp_path / "train.csv")
    assert "2 columns left out: 'a', 'b'" in notes
    assert found.columns.tolist() == ["row", "a", "b"]
    np.testing.assert_array_equal(found[["a", "b"]], model.predict(X))
