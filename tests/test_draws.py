"""Random search: values that are drawn, together or each key alone, beside grids."""

import pickle
import tomllib

import numpy as np
import pytest
from small_studies import Log, rows, run, study_of

import fastgd
from fastgd import InputError
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import load_data
from fastgd.study.draws import Drawn

MOMENTUM = {"name": "momentum", "lr": {"loguniform": [0.01, 0.3]}, "momentum": {"uniform": [0.0, 0.9]}}
PROBLEM = {"loss": "logistic", "intercept": True, "l2": {"loguniform": [1e-6, 1e-2]}}


def searched(draws, seed=0, **changes):
    fields = {"optimizer": MOMENTUM, "problem": PROBLEM} | changes
    return study_of(search={"draws": draws, "seed": seed}, **fields)


def values(study):
    block = study.optimizer[0]
    return {**block.grids, "l2": study.problem[0].l2, "batch_size": study.batch_size}


def test_values_are_within_their_ranges_and_fill_them():
    found = values(searched(2000))
    for name, (low, high) in {"lr": (0.01, 0.3), "l2": (1e-6, 1e-2)}.items():
        share = np.log(np.array(found[name]) / low) / np.log(high / low)
        assert len(share) == 2000
        assert 0 <= share.min() < 0.01 < 0.99 < share.max() <= 1
        assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert np.mean(found["momentum"]) == pytest.approx(0.45, abs=0.03)
    logarithms = np.log(found["lr"]), found["momentum"], np.log(found["l2"])
    np.testing.assert_allclose(np.corrcoef(logarithms), np.eye(3), atol=0.1)


def test_more_draws_begin_with_the_fewer_ones_and_another_seed_has_others():
    few, many, other = (values(searched(*each)) for each in ((5,), (9,), (5, 1)))
    for name in ("lr", "momentum", "l2"):
        assert many[name][:5] == few[name]
        assert not set(few[name]) & set(other[name])


def test_a_value_depends_on_its_key_and_not_on_what_else_is_drawn():
    alone = searched(5, problem={"loss": "logistic"}, optimizer={"name": "adam", "lr": {"loguniform": [0.01, 0.3]}})
    assert alone.optimizer[0].hyper["lr"] == values(searched(5))["lr"]


def test_whole_numbers_are_drawn_with_both_ends():
    block = {"name": "sgd", "lr": 0.1, "lookahead": {"every": {"uniform": [2, 4]}}}
    found = searched(300, optimizer=block, batch_size={"loguniform": [1, 4]})
    assert np.unique(found.optimizer[0].grids["lookahead.every"], return_counts=True)[1] == pytest.approx(100, abs=30)
    sizes, counts = np.unique(found.batch_size, return_counts=True)
    assert sizes.tolist() == [1, 2, 3, 4]
    assert all(np.diff(counts) < 0)


def test_a_key_with_a_number_of_its_own_is_a_list():
    block = {"name": "adam", "lr": {"loguniform": [1e-4, 1.0], "num": 3}, "beta1": {"choice": [0.5, 0.9], "num": 9}}
    (read,) = study_of(optimizer=block).optimizer
    assert len(read.hyper["lr"]) == 3
    assert sorted(read.hyper["beta1"]) == [0.5, 0.9]
    assert not any(isinstance(each, Drawn) for each in read.hyper.values())
    scheduled = {"name": "sgd", "lr": 0.1, "schedule": {"name": "cosine", "final": {"uniform": [0, 0.1], "num": 3}}}
    assert len(study_of(optimizer=scheduled).optimizer) == 3


def test_a_study_as_toml_is_the_same_study():
    choices = {"form": {"choice": ["torch", "lecture"]}, "clip": {"norm": {"uniform": [1, 2]}}}
    study = searched(6, optimizer=MOMENTUM | choices, batch_size={"choice": [16, "full"]})
    again = fastgd.Study(**tomllib.loads(study.to_toml()))
    assert again == study
    assert again.to_toml() == study.to_toml()
    assert values(again) == values(study)
    assert pickle.loads(pickle.dumps(study.batch_size)).law == {"choice": [16, "full"]}
    assert (
        values(fastgd.Study(**(tomllib.loads(study.to_toml()) | {"search": {"draws": 8}})))["lr"][:6]
        == (values(study)["lr"])
    )


# --- plans and runs ---------------------------------------------------------------------------------------------------


def planned(study):
    return make_plan(study, load_data(study, rows(), lambda _: None)).table


def test_random_axes_run_together_and_are_crossed_with_grids():
    study = searched(6, optimizer=MOMENTUM | {"dampening": [0.0, 0.1]})
    table, own = planned(study), values(study)
    assert len(table) == 12
    together = sorted(zip(own["lr"], own["momentum"], own["l2"], strict=True))
    for _, each in table.groupby("dampening"):
        assert sorted(zip(each["lr"], each["momentum"], each["l2"], strict=True)) == together


def test_choices_and_batch_sizes_are_drawn_with_the_numbers():
    block = MOMENTUM | {"form": {"choice": ["torch", "lecture"]}}
    study = searched(16, optimizer=block, batch_size={"choice": [16, 64]})
    table, own = planned(study).set_index("lr"), values(study)
    assert len(table) == 16
    for number, lr in enumerate(own["lr"]):
        assert (table["variant"][lr] == "form=lecture") == (study.optimizer[0].options["form"][number] == "lecture")
        assert table["batch_size"][lr] == own["batch_size"][number]
    assert table.groupby(["variant", "batch_size"]).ngroups == 4


def test_a_grid_is_crossed_with_penalties_that_are_drawn():
    study = searched(3, optimizer={"name": "momentum", "lr": [0.01, 0.1]})
    assert sorted(zip(*planned(study)[["lr", "l2"]].to_numpy().T.tolist(), strict=True)) == sorted(
        (lr, l2) for lr in (0.01, 0.1) for l2 in study.problem[0].l2
    )


def test_drawn_trials_are_those_of_the_same_values_in_a_list():
    (lr,), (momentum,), (l2,) = (values(searched(1))[name] for name in ("lr", "momentum", "l2"))
    plain = study_of(optimizer={"name": "momentum", "lr": lr, "momentum": momentum}, problem=PROBLEM | {"l2": l2})
    assert planned(searched(1))["trial_id"].tolist() == planned(plain)["trial_id"].tolist()


def test_a_search_goes_on_with_more_draws(tmp_path):
    shared = {"optimizer": MOMENTUM, "problem": PROBLEM}
    few = set(run(tmp_path, search={"draws": 5}, **shared).trials["trial_id"])
    log = Log()
    many = run(tmp_path, log=log, search={"draws": 7}, **shared)
    assert log.computed == [2]
    assert few < set(many.trials["trial_id"])
    assert many.trials["in_study"].all()
    budget = many.budget()
    assert budget["configurations"].tolist() == [7] * 7
    best = many.best()["final_loss"].iloc[0]
    assert budget.query("trials == 7")["low"].item() == pytest.approx(best)


def test_starts_on_a_landscape_under_a_random_search(tmp_path):
    study = fastgd.Study(
        name="walk",
        steps=5,
        problem={"landscape": "himmelblau"},
        optimizer={"name": "sgd", "lr": {"loguniform": [1e-4, 1e-2]}},
        search={"draws": 4},
    )
    assert sorted(make_plan(study).table["lr"]) == sorted(study.optimizer[0].hyper["lr"])


def test_rates_are_not_searched_among_draws(tmp_path):
    for search in (fastgd.tune, fastgd.range_test):
        with pytest.raises(InputError, match=r"^search\.draws = 4: rates are searched from a grid"):
            search(searched(4), tmp_path)


def test_what_is_mistyped_is_told_once_with_what_is_meant():
    law = {"loguniform": [1e-3, 1.0]}
    axes = {
        "optimizer": [{"name": "sgd", "lr": law}, {"name": "momentum", "lr": law, "momentum": {"uniform": [0, 0.9]}}]
    }
    with pytest.raises(InputError, match=r"^search\.draw is not a known key; did you mean 'draws'\?$"):
        study_of(search={"draw": 5}, **axes)
    with pytest.raises(InputError, match=r"^optimizer\.0\.lr\.nun is not a known key; did you mean 'num'\?$"):
        study_of(optimizer=[{"name": "sgd", "lr": law | {"nun": 5}}])
    with pytest.raises(
        InputError, match=r"^optimizer\.0\.lr\.draws is not a known key; .*num = 50 draws this key alone$"
    ):
        study_of(optimizer=[{"name": "sgd", "lr": law | {"draws": 5}}])
