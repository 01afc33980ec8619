"""In which order a study's work is done, and who is told how far it is."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from small_studies import Log, assert_same, run

import fastgd
from fastgd.plan.turns import in_turns
from fastgd.runs.reporting import display
from fastgd.runs.reporting.events import CohortStarted, Finished
from fastgd.runs.reporting.reports import reported


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers())))
def test_everybody_has_a_turn_before_anybody_has_another(items):
    placed = in_turns(items, lambda item: item[0])
    assert sorted(placed) == sorted(items)
    turn = {owner: 0 for owner, _ in items}
    rounds = []
    for owner, _ in placed:
        rounds.append(turn[owner])
        turn[owner] += 1
    assert rounds == sorted(rounds)
    for owner in turn:
        assert [item for item in placed if item[0] == owner] == [item for item in items if item[0] == owner]


OPTIMIZERS = [{"name": name, "lr": [0.01, 0.1]} for name in ("momentum", "sgd")]


def test_a_study_that_is_cut_short_has_something_on_each_optimizer(tmp_path):
    fields = {"optimizer": OPTIMIZERS, "seed": [0, 1, 2]}

    def interrupt(event, seen=[]):  # noqa: B006 (it counts)
        seen.append(event)
        if sum(isinstance(each, CohortStarted) for each in seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", log=interrupt, **fields)
    trials = fastgd.load(tmp_path / "cut").trials
    assert sorted(zip(trials["optimizer"], trials["seed"], strict=True)) == [("momentum", 0)] * 2 + [("sgd", 0)] * 2
    assert_same(run(tmp_path / "cut", **fields), run(tmp_path / "whole", **fields))


# --- progress ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch):
    """A terminal in place of standard error."""
    shown = io.StringIO()
    made = Console(file=shown, force_terminal=True, width=100, highlight=False, markup=False, legacy_windows=False)
    monkeypatch.setattr(display, "errors", lambda: made)
    return shown


def test_a_terminal_shows_how_far_a_run_is(tmp_path, terminal):
    log = Log()
    run(tmp_path, log=log, optimizer=OPTIMIZERS)
    assert "of 4 trials done" in terminal.getvalue()
    assert isinstance(log[-1], Finished), "the user's function receives everything too"
    assert log.of(CohortStarted)


def test_a_run_shows_nothing_where_it_is_told_so(tmp_path, terminal):
    run(tmp_path, optimizer=OPTIMIZERS[:1], progress=False)
    assert terminal.getvalue() == ""


def test_a_run_shows_nothing_where_nobody_would_see_it(tmp_path, capfd):
    run(tmp_path, optimizer=OPTIMIZERS[:1])
    assert capfd.readouterr() == ("", "")


def test_a_notebook_shows_it_in_lines_without_its_package_for_more(monkeypatch):
    monkeypatch.setattr(display, "find_spec", lambda name: None)
    notebook = Console(file=io.StringIO(), force_jupyter=True, force_terminal=False)
    assert not display._is_live(notebook)
    monkeypatch.setattr(display, "find_spec", lambda name: object())
    assert display._is_live(notebook)
    assert not display._is_live(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}))


def test_a_search_shows_one_display_for_all_rounds(tmp_path, terminal, monkeypatch):
    made = []

    class Counted(display.Reporter):
        def __enter__(self):
            made.append(self)
            return super().__enter__()

    monkeypatch.setattr(display, "Reporter", Counted)
    from small_studies import rows, study_of

    fastgd.tune(study_of(optimizer={"name": "sgd", "lr": [0.1, 1.0]}), tmp_path, points=3, data=rows())
    assert len(made) == 1
    with reported(None, progress=False) as emit:
        emit(CohortStarted(0, 1, 1, ""))
    assert len(made) == 1
