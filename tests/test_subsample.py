"""`record.rows`: between a trial's first and last checkpoint the training loss is that of a fixed subsample."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from small_studies import rows, run, study_of

from fastgd import InputError
from fastgd.engine.rows.order import subsample

ROWS = 40
RATES = [0.01, 0.03, 0.1, 0.3]
# The engines: changes of the study, and what becomes of its rows.
ENGINES = {
    "tile": ({}, lambda data: data),
    "single": ({"optimizer": {"name": "momentum", "lr": 0.1}}, lambda data: data),
    "large": ({"batch_size": "full", "epochs": 5}, lambda data: data),
    "float32": ({"dtype": "float32"}, lambda data: data),
    "sparse": ({}, lambda data: (csr_array(data[0] * (np.abs(data[0]) > 0.5)), data[1])),
}


def losses(X, y, w):
    """The logistic losses of rows at parameters with an intercept."""
    z = X @ w[:-1] + w[-1]
    return np.logaddexp(0, z) - y * z


def test_a_subsample_is_a_function_of_the_two_numbers():
    assert subsample(20, 5).tolist() == [0, 1, 3, 9, 18]
    found = subsample(1_000, 300)
    assert len(set(found.tolist())) == 300
    assert (np.diff(found) > 0).all()
    assert found.max() < 1_000
    assert 400 < found.mean() < 600


@pytest.mark.parametrize("engine", ENGINES)
def test_first_and_last_are_exact_and_the_others_of_the_subsample(tmp_path, engine):
    changes, form = ENGINES[engine]
    X, y = form(rows())
    problem = {"loss": "logistic", "intercept": True, "validation": 0.25, "l2": 0.1}
    changes = {"problem": problem, **changes}
    record = {"metrics": ["accuracy", "grad_norm"], "parameters": "all"}
    whole = run(tmp_path / "whole", data=(X, y), **changes, record=record)
    fewer = run(tmp_path / "fewer", data=(X, y), **changes, record={**record, "rows": ROWS})
    a, b = (
        results.curves.merge(results.trials[["trial_id", "lr"]].rename(columns={"lr": "rate"}))
        .sort_values(["rate", "step"])
        .reset_index(drop=True)
        for results in (whole, fewer)
    )
    exact = a["step"].isin([0, a["step"].max()])
    assert len(a) == len(b)
    assert 0 < exact.sum() < len(a)
    for column in ("validation_loss", "param_norm", "grad_norm"):
        assert a[column].equals(b[column]), "only the sums over training rows are others"
    assert a.loc[exact, ["loss", "accuracy"]].equals(b.loc[exact, ["loss", "accuracy"]])
    assert (a.loc[~exact, "loss"] != b.loc[~exact, "loss"]).all()
    assert whole.trials["final_loss"].tolist() == fewer.trials["final_loss"].tolist()


def test_the_losses_between_are_those_of_the_subsample(tmp_path):
    X, y = rows()
    problem = {"loss": "logistic", "intercept": True}
    fewer = run(tmp_path / "r", data=(X, y), problem=problem, epochs=3, record={"rows": ROWS})
    short = run(tmp_path / "s", data=(X, y), problem=problem, epochs=2, record={"parameters": "all"})
    which = subsample(len(y), ROWS)
    rates = short.trials.set_index("trial_id")["lr"]
    for trial in rates.index:
        same = fewer.trials.loc[fewer.trials["lr"] == rates[trial], "trial_id"].item()
        curves = fewer.curves
        found = curves[(curves["trial_id"] == same) & (curves["epoch"] == 2)]["loss"].item()
        assert found == pytest.approx(losses(X[which], y[which], short.parameters(trial)).mean(), rel=1e-12)


def test_a_trial_that_ends_early_ends_with_an_exact_loss(tmp_path):
    changes = {"epochs": 30, "stop": {"target": 0.5}, "optimizer": {"name": "sgd", "lr": [*RATES, 1.0]}}
    whole = run(tmp_path / "whole", **changes)
    fewer = run(tmp_path / "fewer", **changes, record={"rows": ROWS})
    ended = fewer.trials[fewer.trials["status"] == "target"]
    assert len(ended) > 1
    for row in ended.itertuples():
        same = whole.trials.loc[whole.trials["lr"] == row.lr, "trial_id"].item()
        curve = whole.curves[(whole.curves["trial_id"] == same) & (whole.curves["step"] == row.steps)]
        if len(curve):  # all rows may have reached the target earlier
            assert row.final_loss == curve["loss"].item()
    goes_on = fewer.trials[fewer.trials["status"] == "completed"]
    assert len(goes_on), "some go on to the end"


def test_it_is_noted_and_part_of_the_identity(tmp_path):
    plain, asked = study_of(), study_of(record={"rows": ROWS})
    assert "rows" not in plain.record.model_dump()
    assert asked.record.model_dump()["rows"] == ROWS
    assert type(asked).from_toml(_written(tmp_path, asked)).record.rows == ROWS
    without = run(tmp_path / "r")
    with_rows = run(tmp_path / "s", record={"rows": ROWS})
    assert set(without.trials["trial_id"]).isdisjoint(with_rows.trials["trial_id"])
    assert any(f"{ROWS} of the 130 training rows (record.rows)" in note for note in with_rows.manifest.notes)
    assert not any("record.rows" in note for note in without.manifest.notes)
    enough = run(tmp_path / "t", record={"rows": 130})
    assert not any("record.rows" in note for note in enough.manifest.notes), "all rows are no subsample"
    assert enough.curves["loss"].tolist() == without.curves["loss"].tolist()


def test_it_is_a_whole_number():
    with pytest.raises(InputError, match=r"record\.rows"):
        study_of(record={"rows": 0})


def _written(tmp_path, study):
    file = tmp_path / "study.toml"
    file.write_text(study.to_toml())
    return file
