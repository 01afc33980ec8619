"""What plans say of schedules that reach beyond the budget, and of minima that are none; which minima are refused."""

import numpy as np
import pytest
from landscape_studies import study as landscape_study
from small_studies import rows, study_of

import fastgd
from fastgd import InputError
from fastgd.plan.planner import make_plan
from fastgd.problems import LANDSCAPES
from fastgd.runs.data.loading import load_data
from fastgd.runs.reporting.events import Warning_
from fastgd.schedules import SCHEDULES
from fastgd.study.landscapes import no_minimum, read_landscape

# Of 10 epochs of 5 steps: a schedule, and what its note says; "" where there is nothing to say.
NOTES = [
    ({"name": "warmup", "length": 500}, "'warmup' is longer than the budget: its end is at step 500, and there are 50"),
    ({"name": "warmup", "length": 50}, "its end is at step 50, and there are 50 steps, from 0"),
    ({"name": "warmup", "length": 49}, ""),
    ({"name": "warmup", "length": 60, "then": {"name": "cosine"}}, "'cosine' never begins: it would at step 60"),
    ({"name": "warmup", "length": 10, "then": {"name": "cosine"}}, ""),
    ({"name": "cosine", "length": 20}, "its end is at epoch 20, and there are 10 epochs"),
    ({"name": "cosine_restarts", "period": 3}, "'cosine_restarts' has 10 epochs: its last period is cut after 1 of 3"),
    ({"name": "cosine_restarts", "period": 20}, "its last period is cut after 10 of 20"),
    ({"name": "cosine_restarts", "period": 1, "growth": 2}, "its last period is cut after 3 of 8"),
    ({"name": "cosine_restarts", "period": 2, "growth": 4}, ""),
    ({"name": "cosine_restarts", "period": 5}, ""),
    ({"name": "cosine_restarts", "period": 4, "length": 8, "then": {"name": "constant"}}, ""),
    ({"name": "step", "every": 10}, "its first drop, at 10, never comes"),
    ({"name": "step", "every": 9}, ""),
    ({"name": "step", "every": 30, "per": "step"}, ""),
    ({"name": "multistep", "milestones": [5, 10, 20]}, "its milestones at 10, 20 are never reached"),
    ({"name": "piecewise", "at": [0, 12], "values": [1, 2]}, "its point at 12 is never reached"),
    ({"name": "cyclic"}, "its peak, at 2000, is never reached"),
    ({"name": "cyclic", "up": 10}, "its last cycle is cut after 10 of 20"),
    ({"name": "cyclic", "up": 5}, ""),
    ({"name": "sutskever", "every": 50}, "it keeps its first value until 50"),
    ({"name": "plateau", "patience": 8}, "its first drop, at 10 if the first epoch stays the best, never comes"),
    ({"name": "plateau", "patience": 7}, ""),
    (
        {"name": "cosine", "also": {"name": "step", "of": "momentum", "start": 0.9, "every": 30}},
        "the schedule of momentum: 'step'",
    ),
    *(({"name": name}, "") for name in ("constant", "linear", "polynomial", "cosine", "one_cycle", "wsd", "optimal")),
    *(({"name": name}, "") for name in ("inverse_sqrt", "invscaling", "halve_on_rise")),
    ({"name": "exponential", "gamma": 0.9}, ""),
    ({"name": "inverse_time", "k": 0.1}, ""),
    ({"name": "pegasos", "alpha": 0.1}, ""),
]


@pytest.mark.parametrize(("schedule", "note"), NOTES, ids=[str(row[0]) for row in NOTES])
def test_a_schedule_that_reaches_beyond_the_budget_has_a_note(schedule, note):
    study = study_of(epochs=10, schedule=schedule, problem={"loss": "logistic", "validation": 0.01})
    notes = make_plan(study, load_data(study, rows(), lambda _: None)).notes
    assert len(notes) == (note != "") + (" never begins: it would" in note)
    assert note in " ".join(notes)


def test_every_schedule_is_in_the_table():
    assert {schedule["name"] for schedule, _ in NOTES} == set(SCHEDULES)


def test_swarms_say_so_too():
    study = landscape_study(schedule={"name": "warmup", "length": 500, "per": "step"})
    (note,) = make_plan(study).notes
    assert note.endswith("'warmup' is longer than the budget: its end is at step 500, and there are 300 steps, from 0")


# --- minima that a study gives ----------------------------------------------------------------------------------------

VALLEY = '''
import numpy as np

def valley(x):
    """A valley, lowest at (3, 1); its value at (1, 0) is 7."""
    return (x[0] - 3) ** 2 + 3 * (x[1] - 1) ** 2

def wells(x):
    """Two wells along the first coordinate, the one at -2 the deeper; another offset."""
    return 0.1 * (x[0] ** 2 - 4) ** 2 + 0.5 * x[0] + x[1] ** 2 - 20
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_valley_of_test.py").write_text(VALLEY)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_valley_of_test"


def with_minima(module, *minima, name="valley", **changes):
    return landscape_study(problem={"landscape": f"{module}:{name}", "minima": list(minima)}, **changes)


def test_a_point_on_a_slope_is_refused_as_a_minimum(module):
    with pytest.raises(
        InputError, match=r"problem\.minima\.1 must be a minimum; the value there is 7, and close by, at"
    ):
        with_minima(module, [3.0, 1.0], [1.0, 0.0])


def test_minima_are_taken_as_they_are_and_near_ones_have_a_note(module):
    assert make_plan(with_minima(module, [3.0, 1.0])).notes == ()
    assert make_plan(with_minima(module, [3.004, 1.0])).notes == ()  # rounded
    (note,) = make_plan(with_minima(module, [3.2, 1.0])).notes
    assert note.startswith(f"{module}:valley: minima has [3.2, 1.0], which is no minimum: the value there is 0.04, and")


def test_at_the_edge_of_the_domain_a_minimum_may_be_on_a_slope(module):
    problem = {"landscape": f"{module}:valley", "minima": [[2.0, 1.0]], "domain": [[-2.0, 2.0], [0.0, 2.0]]}
    assert make_plan(landscape_study(problem=problem)).notes == ()


@pytest.mark.parametrize("name", LANDSCAPES)
def test_the_minima_of_the_landscapes_are_minima(name):
    least, most = LANDSCAPES[name].dimension
    for d in {least, min(most, 2), min(most, 10)}:
        problem = read_landscape({"landscape": name, "dimension": d})
        assert [no_minimum(problem, point) for point in problem.known_minima()[:30]] == [("", False)] * len(
            problem.known_minima()[:30]
        )


def test_a_value_below_all_known_minima_is_reported_and_no_trial_that_has_one_has_converged(module, tmp_path):
    events: list = []
    wells = np.roots([0.4, 0, -1.6, 0.5])  # where 0.4 x^3 - 1.6 x + 0.5 is zero
    higher, lowest = float(wells.max()), float(wells.min())
    fields = {"starts": {"points": [[2.0, 0.5], [-2.0, 0.5]]}, "optimizer": [{"name": "sgd", "lr": 0.1}]}
    study = with_minima(module, [higher, 0.0], name="wells", **fields)
    trials = fastgd.run(study, tmp_path / "higher", on_event=events.append).trials
    assert trials["status"].tolist() == ["converged", "trapped"]
    (warning,) = [event.message for event in events if isinstance(event, Warning_)]
    assert warning.startswith(f"{module}:wells: the value -2")
    assert "below all minima that are known" in warning
    both = with_minima(module, [higher, 0.0], [lowest, 0.0], name="wells", **fields)
    assert fastgd.run(both, tmp_path / "both").trials["status"].tolist() == ["trapped", "converged"]


def test_a_plan_does_not_print_a_hundred_notes():
    schedule = {"name": "warmup", "length": list(range(1000, 1100))}
    study = study_of(epochs=10, schedule=schedule, problem={"loss": "logistic", "validation": 0.01})
    plan = make_plan(study, load_data(study, rows(), lambda _: None))
    assert len(plan.notes) == 100
    assert plan.summary().notes[20:] == ("... and 80 more of this kind",)
