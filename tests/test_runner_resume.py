"""A run that was interrupted goes on, and a study that grew runs what is missing: nothing is lost or doubled."""

import itertools
import signal

import pytest
from small_studies import Log, assert_same, rows, run

import fastgd
from fastgd import InputError
from fastgd.runs.reporting.events import CohortFinished, CohortStarted, Compiling, Progress
from fastgd.runs.sinks import FolderSink

SEEDS = {"seed": [0, 1], "batch_size": [32, 64]}  # four cohorts


class Interrupt(Log):
    """Interrupts a run as Ctrl-C does, at the nth event of a kind."""

    def __init__(self, kind, count):
        super().__init__()
        self.kind, self.count = kind, count

    def __call__(self, event):
        super().__call__(event)
        if isinstance(event, self.kind):
            self.count -= 1
            if self.count == 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "count", "finished"),
    [(CohortStarted, 1, 0), (CohortStarted, 3, 2), (Progress, 5, 0), (Progress, 12, 1), (CohortFinished, 4, 4)],
)
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, kind, count, finished):
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", log=Interrupt(kind, count), **SEEDS)
    assert len(fastgd.load(tmp_path / "r").trials) == 4 * finished, "whole cohorts"
    log = Log()
    results = run(tmp_path / "r", log=log, **SEEDS)
    assert log.computed == [4] * (4 - finished)
    assert_same(results, run(tmp_path / "whole", **SEEDS))
    assert results.manifest.ended


@pytest.mark.parametrize(("seconds", "parts"), [(60.0, [1, 1, 1, 1]), (0.0, [1, 2, 3, 4])])
def test_short_cohorts_are_committed_together(tmp_path, monkeypatch, seconds, parts):
    monkeypatch.setattr("fastgd.runs.executor.GATHER_SECONDS", seconds)
    found = []

    def look(event):
        if isinstance(event, CohortFinished):
            found.append(len(list((tmp_path / "r" / "trials").glob("[!.]*"))))

    results = run(tmp_path / "r", log=look, **SEEDS)
    assert found == parts
    assert_same(results, run(tmp_path / "whole", **SEEDS))


def test_a_short_cohort_does_not_wait_for_the_end_of_a_long_one(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("fastgd.runs.executor.GATHER_SECONDS", 60.0)
    log = Log()

    def wait_no_longer(event):
        log.append(event)
        if isinstance(event, CohortStarted) and event.index == 1:
            monkeypatch.setattr("fastgd.runs.executor.GATHER_SECONDS", 0.0)

    run(tmp_path / "r", log=wait_no_longer, **SEEDS)
    first, second = (log.index(event) for event in log.of(CohortFinished)[:2])
    assert any(isinstance(event, Progress) and event.cohort == 1 for event in log[first:second])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_cohort_that_is_handed_over_in_part_is_not_committed(tmp_path, monkeypatch, error):
    """Nor are those before it in its part: half of its rows would stand there twice when it has run again."""
    whole, cohorts = FolderSink.hand_over, []

    def hand_over(self, other):
        cohorts.append(self)
        if len(cohorts) < 3:
            return whole(self, other)
        other.take("curves", self._writer._buffers["curves"].take())
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(FolderSink, "hand_over", hand_over)
        with pytest.raises(error):
            run(tmp_path / "r", **SEEDS)
    assert fastgd.load(tmp_path / "r").curves.empty
    assert_same(run(tmp_path / "r", **SEEDS), run(tmp_path / "whole", **SEEDS))
    assert fastgd.verify(tmp_path / "r").findings == ()


def test_a_signal_while_a_cohort_is_handed_over_loses_none(tmp_path, monkeypatch):
    """It is heard when all of the cohort has been handed over."""
    whole, cohorts = FolderSink.hand_over, []

    def hand_over(self, other):
        cohorts.append(self)
        if len(cohorts) == 3:
            signal.raise_signal(signal.SIGINT)
        return whole(self, other)

    monkeypatch.setattr(FolderSink, "hand_over", hand_over)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", **SEEDS)
    assert len(fastgd.load(tmp_path / "r").trials) == 4 * 3


def test_interrupted_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    for count in itertools.count(1, 7):
        try:
            results = run(tmp_path / "r", log=Interrupt(Progress, count), **SEEDS)
        except KeyboardInterrupt:
            assert count < 200
        else:
            break
    assert_same(results, run(tmp_path / "whole", **SEEDS))


def test_a_repeated_run_computes_nothing(tmp_path):
    first, log = run(tmp_path / "r", **SEEDS), Log()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.parquet")}
    again = run(tmp_path / "r", log=log, **SEEDS)
    assert log.computed == []
    assert not log.of(Compiling)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*.parquet")}
    assert_same(again, first)
    assert again.timings == first.timings


def test_an_extended_study_runs_what_is_missing(tmp_path):
    def blocks(*rates):
        return {"name": "momentum", "lr": list(rates)}

    steps = [
        ({"optimizer": blocks(0.1, 0.2, 0.3)}, [3]),
        ({"optimizer": blocks(0.1, 0.2, 0.3, 0.4, 0.05)}, [2]),
        ({"optimizer": [blocks(0.3, 0.4, 0.05), {"name": "adam", "lr": 0.1}]}, [1]),
        ({"optimizer": [blocks(0.3, 0.4, 0.05), {"name": "adam", "lr": 0.1}], "seed": [0, 1]}, [3, 1]),
        ({"optimizer": blocks(0.1, 0.2, 0.3)}, []),
    ]
    for changes, expected in steps:
        log = Log()
        results = run(tmp_path / "r", log=log, **changes)
        assert log.computed == expected
        trials = results.trials
        assert trials["trial_id"].is_unique
        fresh = run(tmp_path / f"fresh-{len(list(tmp_path.iterdir()))}", **changes)
        assert set(trials.loc[trials["in_study"], "trial_id"]) == set(fresh.trials["trial_id"])
    assert len(results.trials) == 5 + 1 + 3 + 1
    assert results.trials["in_study"].sum() == 3
    assert len(results.best()) == 3


def test_a_seed_more_of_a_full_batch(tmp_path):
    run(tmp_path / "r", batch_size="full", seed=[0])
    log = Log()
    results = run(tmp_path / "r", log=log, batch_size="full", seed=[0, 1])
    assert log.computed == [4]
    assert_same(results, run(tmp_path / "whole", batch_size="full", seed=[0, 1]))


def test_another_problem_is_added(tmp_path):
    first = {"name": "a", "loss": "logistic", "synthetic": {"n": 100, "d": 2}}
    second = {"name": "b", "loss": "hinge", "synthetic": {"n": 100, "d": 2}}
    run(tmp_path / "r", problem=first)
    log = Log()
    results = run(tmp_path / "r", log=log, problem=[first, second])
    assert log.computed == [4]
    assert set(results.trials["problem"]) == {"a", "b"}


def test_fresh_moves_the_old_results_aside(tmp_path):
    run(tmp_path / "r")
    log = Log()
    run(tmp_path / "r", log=log, fresh=True)
    assert log.computed == [4]
    (aside,) = (path for path in tmp_path.iterdir() if path.name != "r")
    assert_same(fastgd.load(aside), fastgd.load(tmp_path / "r"))


def test_other_data_in_the_same_folder_are_refused(tmp_path):
    run(tmp_path / "r")
    X, y = rows()
    X[0, 0] += 1e-12
    with pytest.raises(InputError, match="data"):
        run(tmp_path / "r", (X, y))
    assert_same(run(tmp_path / "r"), run(tmp_path / "again"))


def test_the_folder_is_that_of_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = run(None)
    assert results.path.resolve() == tmp_path / "results" / "small"
    trial = results.trials["trial_id"][0]
    assert run(None, trial=trial).path.resolve() == tmp_path / "results" / f"small.{trial}"
