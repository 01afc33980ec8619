"""Where parts of a run meet: one trial of several optimizers, a scheduled decay, time that is over, foreign rules."""

import numpy as np
import pytest

import fastgd
from fastgd import InputError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((200, 5))
Y = (X[:, 0] + 0.5 * RANDOM.standard_normal(200) > 0).astype(float)
OPTIMIZERS = [{"name": "adam", "lr": [0.01, 0.1]}, {"name": "momentum", "lr": [0.01, 0.1]}]


def study(**fields):
    defaults = {"name": "s", "epochs": 2, "batch_size": 64, "problem": {"loss": "logistic"}, "optimizer": OPTIMIZERS}
    return fastgd.Study(**{**defaults, **fields})


def run(tmp_path, **fields):
    return fastgd.run(study(**fields), out=tmp_path / "s", data=(X, Y))


def test_one_trial_of_a_study_with_several_optimizers(tmp_path):
    whole = run(tmp_path)
    for row in whole.trials.groupby("optimizer").head(1).itertuples():
        alone = fastgd.run(study(), out=tmp_path / row.trial_id, data=(X, Y), trial=row.trial_id)
        assert alone.trials["final_loss"].tolist() == [row.final_loss]


def test_one_trial_in_the_studys_own_folder_leaves_the_others_in_the_study(tmp_path):
    trial = run(tmp_path).trials["trial_id"][0]
    again = fastgd.run(study(), out=tmp_path / "s", data=(X, Y), trial=trial)
    assert again.trials["in_study"].all()
    assert len(again.best()) == 4


def test_an_intercept_does_not_decay_when_the_decay_is_scheduled(tmp_path):
    adamw = {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}
    schedule = {"name": "exponential", "of": "weight_decay", "start": 0.5, "gamma": 0.999}
    fields = {
        "problem": {"loss": "squared", "intercept": True},
        "epochs": 400,
        "batch_size": "full",
        "record": {"parameters": "all"},
    }
    for name, optimizer in (("constant", adamw), ("scheduled", adamw | {"schedule": schedule})):
        results = fastgd.run(study(optimizer=[optimizer], **fields), out=tmp_path / name, data=(X, np.full(200, 3.0)))
        intercept = results.parameters(results.trials["trial_id"][0])[-1]
        assert intercept == pytest.approx(3, abs=0.05), name


def test_a_trial_that_took_all_its_steps_is_complete_however_late_it_is(tmp_path):
    results = run(tmp_path, epochs=None, steps=1, max_seconds=1e-9, optimizer=OPTIMIZERS[:1])
    assert set(results.trials["status"]) <= {"completed", "timeout"}
    assert (results.trials["status"] == "completed").eq(results.trials["steps"] == 1).all()


def test_cohorts_that_come_too_late_end_as_timeout_without_being_measured(tmp_path):
    results = run(tmp_path, max_seconds=1e-9)
    assert set(results.trials["status"]) == {"timeout"}
    assert results.trials["reason"].str.contains("max_seconds = 1e-09 was over").all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def broken(:\n", "cannot import the module"),
        ("undefined_name\n", "cannot import the module"),
        (
            "import fastgd\nfrom typing import NamedTuple\n\n@fastgd.optimizer()\nclass Rule(NamedTuple):\n"
            "    lr: float\n\n    def rule(h, c, w, g, s):\n"
            "        if g > 0:\n            return w - h.lr, s\n        return w + h.lr, s\n",
            r"line 9 of .*`g > 0`: lanes differ, so there is no `if`",
        ),
    ],
)
def test_a_foreign_rule_that_is_broken_is_the_users_to_mend(tmp_path, monkeypatch, body, message):
    name = f"foreign_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=message):
        run(tmp_path, optimizer=[{"name": f"{name}:Rule", "lr": 0.1}])
