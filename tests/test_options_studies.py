"""Options around rules in study files and in results."""

from typing import NamedTuple

import numpy as np
import pytest
import small_studies
from small_studies import numbers, study_of

import fastgd

OPTIMIZER = {
    "name": "momentum",
    "lr": [0.05, 0.1],
    "clip": {"norm": [0.1, 1.0]},
    "averaging": [{"kind": "ema", "decay": 0.9}, {"kind": "polyak", "start": [0, 10]}],
}


def test_tables_are_alternatives_and_numbers_are_crossed(tmp_path):
    results = small_studies.run(tmp_path / "r", optimizer=[OPTIMIZER, {"name": "momentum", "lr": 0.1}])
    trials = results.trials
    assert trials.groupby("variant").size().to_dict() == {
        "": 1, "clip=norm, averaging=ema": 4, "clip=norm, averaging=polyak": 8,
    }  # fmt: skip
    assert set(trials["clip.norm"].dropna()) == {0.1, 1.0}
    assert set(trials.loc[trials["variant"].str.endswith("polyak"), "averaging.start"]) == {0.0, 10.0}
    assert trials.loc[trials["variant"] == "", ["clip.norm", "averaging.decay"]].isna().all(axis=None)
    assert trials["trial_id"].is_unique
    assert {"clip.norm", "averaging.decay", "averaging.start"} <= set(results.best().columns)


@fastgd.optimizer()
class Clipping(NamedTuple):
    """A rule of one's own that clips."""

    lr: float
    clip: float = 1.0

    def rule(h, c, w, g, s):  # noqa: N805
        return w - h.lr * np.minimum(g, h.clip), s


def test_a_rule_of_ones_own_may_not_take_their_names():
    with pytest.raises(fastgd.InputError, match=r"optimizer\.name: the optimizer's 'clip' has the name of a key"):
        study_of(optimizer={"name": f"{__name__}:Clipping", "lr": 0.1})


def test_the_study_file_keeps_them(tmp_path):
    study = study_of(optimizer=[OPTIMIZER, {"name": "sgd", "lr": 0.1, "proximal": {"l1": [0.1, 0.2]}, "lookahead": {}}])
    path = tmp_path / "study.toml"
    path.write_text(study.to_toml())
    assert fastgd.Study.from_toml(path) == study
    assert [block.kinds for block in study.optimizer] == [
        {"clip": "norm", "averaging": "ema"},
        {"clip": "norm", "averaging": "polyak"},
        {"proximal": "", "lookahead": ""},
    ]


def test_the_command_line_replaces_their_numbers(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(study_of(optimizer={"name": "sgd", "lr": 0.1, "clip": {"norm": 1.0}}).to_toml())
    study = fastgd.Study.from_toml(path, set=["optimizer.0.clip.norm=0.25"])
    assert study.optimizer[0].grids["clip.norm"] == [0.25]


def test_a_trial_alone_and_a_grown_study_have_the_same_bits(tmp_path):
    whole = small_studies.run(tmp_path / "whole", optimizer=OPTIMIZER)
    small_studies.run(tmp_path / "grown", optimizer={**OPTIMIZER, "averaging": OPTIMIZER["averaging"][1]})
    grown = small_studies.run(tmp_path / "grown", optimizer=OPTIMIZER)
    for mine, theirs in zip(numbers(grown), numbers(whole), strict=True):
        assert mine[list(theirs.columns)].equals(theirs)
    trial = whole.trials["trial_id"].iloc[5]
    alone = small_studies.run(tmp_path / "alone", optimizer=OPTIMIZER, trial=trial)
    expected = whole.curves[whole.curves["trial_id"] == trial]
    np.testing.assert_array_equal(alone.curves["loss"], expected["loss"])


def test_trials_without_options_have_the_ids_that_they_had(tmp_path):
    plain = small_studies.run(tmp_path / "plain")
    both = small_studies.run(
        tmp_path / "both", optimizer=[{"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3]}, OPTIMIZER]
    )
    assert set(plain.trials["trial_id"]) < set(both.trials["trial_id"])


def test_schedules_drive_numbers_of_options(tmp_path):
    schedule = {"name": "linear", "of": "clip.norm", "start": 1.0, "final": 0.01}
    optimizer = {"name": "sgd", "lr": 0.5, "clip": {"norm": 1.0}}
    falling = small_studies.run(tmp_path / "falling", optimizer=optimizer, schedule=schedule)
    constant = small_studies.run(tmp_path / "constant", optimizer=optimizer)
    assert falling.trials["final_loss"].iloc[0] != constant.trials["final_loss"].iloc[0]
    with pytest.raises(fastgd.InputError, match=r"gives clip\.norm the value 0 at index 2; it must be greater than 0"):
        study_of(optimizer=optimizer, schedule={**schedule, "final": 0.0})
    with pytest.raises(fastgd.InputError, match=r"of = 'clip\.norm', which the optimizer 'momentum' does not have"):
        study_of(schedule=schedule)


def test_the_penalty_of_proximal_steps_has_metrics_of_its_own(tmp_path):
    """The recorded loss is without it; an intercept is not penalised."""
    optimizer = {"name": "sgd", "lr": 0.5, "proximal": {"l1": [0.02, 0.3], "l2": 0.1}}
    results = small_studies.run(
        tmp_path / "r", optimizer=[optimizer, {"name": "sgd", "lr": 0.5}],
        record={"metrics": ["composite_loss", "nonzeros"], "parameters": "all"}, epochs=20,
    )  # fmt: skip
    ends = results.curves.groupby("trial_id").last()
    for trial in results.trials.to_dict("records"):
        end, weights = ends.loc[trial["trial_id"]], results.parameters(trial["trial_id"])[:-1]
        penalty = 0.0
        if trial["variant"]:
            penalty = trial["proximal.l1"] * np.abs(weights).sum() + 0.05 * weights @ weights
        assert end["composite_loss"] == pytest.approx(end["loss"] + penalty, rel=1e-12)
        assert end["nonzeros"] == np.count_nonzero(weights)
    assert ends["nonzeros"].nunique() > 1


def test_a_scheduled_penalty_counts_as_it_stands(tmp_path):
    """The penalty of the last step's numbers, whatever stands in the block."""
    schedule = {"name": "linear", "of": "proximal.l1", "start": 0.1, "final": 0.02}
    results = small_studies.run(
        tmp_path / "r", optimizer={"name": "sgd", "lr": 0.5, "proximal": {"l1": 5.0}}, schedule=schedule,
        record={"metrics": ["composite_loss"], "parameters": "all"},
    )  # fmt: skip
    end, trial = results.curves.iloc[-1], results.trials["trial_id"].iloc[0]
    weights = results.parameters(trial)[:-1]
    assert end["composite_loss"] == pytest.approx(end["loss"] + 0.02 * np.abs(weights).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"clip": 1.0}, r"optimizer\.clip must be a table, found 1\.0"),
        ({"clip": []}, r"optimizer\.clip is an empty list; give at least one table"),
        ({"clip": {"nrm": 1.0}}, r"optimizer\.clip: 'nrm' is not a known key; did you mean 'norm'"),
        ({"clip": {"kind": "norm"}}, r"optimizer\.clip\.norm is missing"),
        ({"clip": {"kind": "norm", "value": 1.0}}, r"optimizer\.clip\.value is not a known key; valid: kind, norm"),
        ({"clip": {"norm": [1.0, -1.0]}}, r"optimizer\.clip\.norm\.1 must be greater than 0, found -1"),
        ({"averaging": {}}, r"optimizer\.averaging: an empty table does not tell which kind is meant"),
        ({"averaging": {"kind": "mean"}}, r"optimizer\.averaging: there is no kind 'mean'"),
        ({"averaging": {"kind": ["ema", "polyak"]}}, r"optimizer\.averaging: kind must be a string, found \['ema'"),
        (
            {"averaging": {"kind": "ema", "start": 2.5}},
            r"optimizer\.averaging\.start must be a whole number, found 2\.5",
        ),
        ({"proximal": {"kind": "l1"}}, r"optimizer\.proximal: there is no kind 'l1'; the table has one kind"),
        ({"lookahead": {"every": 0}}, r"optimizer\.lookahead\.every must be at least 1"),
        ({"lookahead": {"every": 2.5}}, r"optimizer\.lookahead\.every must be a whole number, found 2\.5"),
        ({"lookahed": {}}, r"optimizer\.lookahed is not a known key; did you mean 'lookahead'"),
        (
            {"name": "nesterov", "proximal": {"l1": 1.0}},
            r"optimizer\.proximal: does not go with 'nesterov': its step",
        ),
        ({"name": "dog", "proximal": {"l1": 1.0}}, r"optimizer\.proximal: does not go with 'dog'"),
        (
            {"name": "ftrl", "lookahead": {}},
            r"optimizer\.lookahead: does not go with 'ftrl': .* from sums of all gradients",
        ),
        (
            {"name": "schedule_free_sgd", "lookahead": {}},
            r"optimizer\.lookahead: does not go with 'schedule_free_sgd'",
        ),
    ],
)
def test_what_is_wrong_is_named(optimizer, message):
    with pytest.raises(fastgd.InputError, match=message):
        study_of(optimizer={"name": "sgd", "lr": 0.1, **optimizer})
