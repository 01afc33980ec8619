"""What a study is said to take on other machines, and the simulation of workers that are slow or fail."""

import math
import pickle
import re
import runpy
from dataclasses import replace

import numpy as np
import pytest
from doc_blocks import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from landscape_studies import study as landscape_study
from small_studies import rows, study_of
from test_cli import fastgd_cli

from benchmarks.scale import Conditions, simulate, table, units
from fastgd import InputError
from fastgd.common.numbers import rate_of
from fastgd.datasets import from_arrays, prepare
from fastgd.engine.machine import Machine
from fastgd.plan.estimates.costs import Pace
from fastgd.plan.estimates.scaling import (
    BANDWIDTH,
    CALLS,
    COMMIT_SECONDS,
    OPERATIONS,
    READING,
    TASK_SECONDS,
    Task,
    Workers,
    data_bytes,
    end_of,
    extrapolated,
)
from fastgd.plan.planner import make_plan

HERE = Pace(Machine(100.0, 200.0, 20.0), 2)
SGD = {"name": "sgd", "lr": np.geomspace(1e-4, 1e-1, 32).tolist()}
LONG = 300_000_000  # rows, of which a pass takes minutes


@pytest.fixture(scope="module")
def plan():
    """64 cohorts of 32 lanes: as many seeds."""
    data = prepare(from_arrays(*rows(n=500)), targets="binary", validation=0.2)
    return make_plan(study_of(optimizer=SGD, seed=list(range(64)), batch_size=64), [data])


def on(plan, number, threads=2, **options):
    every = [*plan.units, *plan.surfaces]
    return extrapolated(every, Workers(number, threads, **options), plan.cost(), plan.methods, HERE)


# --- the order of units -----------------------------------------------------------------------------------------------

TASKS = st.lists(st.builds(Task, st.floats(0.01, 100), st.floats(0.001, 1.0)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(TASKS, st.integers(1, 12), st.floats(0, 10))
def test_the_model_and_the_simulation_agree_where_no_worker_is_slow_or_fails(tasks, workers, start):
    found = simulate(tasks, workers, start=start)
    assert found.seconds == pytest.approx(end_of(tasks, workers, start))
    assert found.coordinating == pytest.approx(sum(task.commit for task in tasks))
    assert found.lost == 0


@settings(max_examples=60, deadline=None)
@given(TASKS, st.integers(1, 12))
def test_bounds_of_the_model(tasks, workers):
    seconds, commits = [task.seconds for task in tasks], [task.commit for task in tasks]
    end, free = end_of(tasks, workers), end_of([Task(each, 0.0) for each in seconds], workers)
    assert free >= max(max(seconds), sum(seconds) / workers) * (1 - 1e-12)
    assert free <= (max(seconds) + sum(seconds) / workers) * (1 + 1e-12)
    assert end >= max(free, min(seconds) + sum(commits)) * (1 - 1e-12)
    assert end <= (free + sum(commits)) * (1 + 1e-12)
    alone = end_of([Task(each, 1e-9) for each in seconds], 1)
    assert alone == pytest.approx(sum(seconds)), "a single worker takes the sum"


def test_slow_and_failing_workers_take_longer_and_lose_nothing():
    tasks = units(200, 10.0)
    model, commits = end_of(tasks, 10), sum(task.commit for task in tasks)
    slow = simulate(tasks, 10, Conditions(slow=0.3, times=4.0))
    failing = simulate(tasks, 10, Conditions(failures=60.0, away=30.0))
    assert min(slow.seconds, failing.seconds) > model
    assert failing.lost > 5
    assert failing.coordinating == pytest.approx(commits), "each unit is committed once"
    assert simulate(tasks, 10, Conditions(failures=60.0, away=30.0)) == failing, "chances have a seed"


def test_the_table_shows_where_the_coordinator_is_the_limit():
    title, short, long = table([50], [0.01, 500.0], each=4)
    assert "coordinator" in title
    busy = [float(re.findall(r"(\d+)%", row)[1]) for row in (short, long)]
    assert busy[0] > 95
    assert busy[1] < 5


# --- a study ----------------------------------------------------------------------------------------------------------


def test_more_workers_and_threads_take_less_time_until_something_else_binds(plan):
    large = plan.of_rows(LONG)
    one, four, all_of_them, more = (on(large, number) for number in (1, 4, 64, 200))
    assert one.seconds == pytest.approx(one.starting + sum(one.shares.values()), rel=1e-3), "one worker takes the sum"
    assert 3.8 < one.seconds / four.seconds < 4.2
    assert four.limit == one.limit == max(one.shares, key=one.shares.get)
    assert more.seconds == all_of_them.seconds
    assert more.limit == "units"
    assert more.core_hours > 3 * all_of_them.core_hours
    assert one.work == pytest.approx(more.work)
    assert 0.9 < one.busy <= 1
    tiles = plan.units[0].spec.kernel.tiles(32)
    assert on(large, 4, tiles).seconds < four.seconds or tiles <= 2
    assert on(large, 4, tiles).resting == 0
    wide, wider = on(large, 4, 2 * tiles), on(large, 4, 4 * tiles)
    assert wide.resting == 64
    assert wider.shares[OPERATIONS] > 0.5 * wide.shares[OPERATIONS], "threads beyond the tiles rest"


def test_which_limit_binds(plan):
    small, large = plan, plan.of_rows(LONG)
    assert on(small, 2).limit == "start"
    assert on(large, 2).limit in (OPERATIONS, BANDWIDTH)
    assert on(large, 2, read=1e6).limit == "start", "a network that is slow"
    assert on(large, 2, read=1e6).loading > 0.9 * on(large, 2, read=1e6).starting
    streamed = on(large, 2, read=1e8, memory=8e9)
    assert streamed.limit == READING
    assert streamed.memory < 8e9 < streamed.streamed
    assert streamed.data == 0
    assert on(large, 2, memory=1e12).limit == on(large, 2).limit, "they stay in memory"
    often = replace(plan, units=plan.units * 100)
    assert on(often, 10_000).limit == "coordinator"
    single = on(replace(large, units=large.units[:1]), 1)
    assert single.limit != "units"
    uneven = on(replace(large, units=[*plan.units[1:], large.units[0]]), 8)
    assert uneven.limit == "unit"
    for found in (on(small, 2), on(large, 2), streamed, on(often, 10_000), uneven, on(large, 200)):
        assert len(found.in_words()) in (5, 6)
        assert any("what binds: " in line for line in found.in_words())
    assert CALLS in on(small, 2).shares


def test_bytes_that_travel(plan):
    found, unit = on(plan, 4), plan.units[0]
    assert found.sent == sum(len(pickle.dumps(unit)) for unit in plan.units)
    assert found.data == 4 * data_bytes(plan.units) == 4 * 500 * (unit.d + 1) * 8
    more = on(replace(plan, units=[replace(unit, checkpoints=np.arange(100)) for unit in plan.units]), 4)
    assert more.returned > 8 * found.returned
    assert on(plan, 100).data == 64 * data_bytes(plan.units), "workers without a unit read nothing"


def test_as_if_there_were_more_rows(plan):
    unit, (larger, *_) = plan.units[0], plan.of_rows(400 * 1000).units
    assert (larger.n, larger.epochs, larger.workload.held_out) == (400_000, unit.epochs, 100_000)
    assert len(larger.checkpoints) == len(unit.checkpoints)
    assert larger.checkpoints[-1] == larger.steps
    full = make_plan(study_of(optimizer=SGD, batch_size="full"), [prepare(from_arrays(*rows()), targets="binary")])
    assert full.of_rows(10_000).units[0].batches == 1


def test_swarms_are_dealt_out_in_parts():
    plan = make_plan(landscape_study(starts={"grid": 100}, surface={"low": -1, "high": 1, "num": 10}))
    found = on(plan, 8)
    assert found.units > 8
    assert found.data == 0
    assert found.returned > on(make_plan(landscape_study()), 8).returned > 0


def test_threads_elsewhere_are_like_those_here():
    one, many = (HERE.with_threads(threads).speed("float64") for threads in (1, 32))
    assert (one.operation, one.byte) == (many.operation, many.byte)
    assert many.threads == 32


def test_a_task_takes_more_than_its_unit(plan):
    found = on(plan, 1)
    assert found.longest > TASK_SECONDS
    assert found.coordinating >= COMMIT_SECONDS * found.units


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("studies") / "study.toml"
    path.write_text(landscape_study().to_toml())
    return str(path)


def test_a_dry_run_says_it(file):
    plan, _ = fastgd_cli("run", file, "--dry-run", "--workers", "100", "--threads", "32", "--read", "200MB/s")
    assert re.search(r"^on 100 workers of 32 threads: about .+, .+ core-hours, \d+% of them in units; ", plan, re.M)
    for words in ("over the network: ", "what binds: ", "it reads 200 MB/s", "assumed: threads there are as fast as"):
        assert words in plan
    assert "workers" not in fastgd_cli("run", file, "--dry-run")[0]


@pytest.mark.parametrize(("options", "error"), [
    (["--workers", "4"], "--workers goes with --dry-run"),
    (["--dry-run", "--workers", "0"], "--workers"),
    (["--dry-run", "--read", "1GB/s"], "--read goes with --workers"),
    (["--dry-run", "--workers", "4", "--read", "fast"], "--read must be bytes a second, such as 1GB/s or 200MB/s"),
])  # fmt: skip
def test_options_that_do_not_go_together(file, options, error):
    _, text = fastgd_cli("run", file, *options, code=2)
    assert error in text


def test_rates_of_reading():
    assert (rate_of("1GB/s", "--read"), rate_of(" 2.5 MB/s", "--read")) == (10**9, 2_500_000)
    for text in ("1GB", "", "/s", "1GB/sec", "-1GB/s", "GB/s", "nan/s"):
        with pytest.raises(InputError, match="must be bytes a second"):
            rate_of(text, "--read")
    assert math.isinf(Workers(1, 1).memory)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_shows_what_its_blocks_print(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(ROOT / "docs" / "make_scale.py"))
    number = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
    (shown, texts), (found, others) = (
        ([float(each.replace(",", "")) for each in number.findall(page)], number.sub("", page))
        for page in (made["PAGE"].read_text(encoding="utf-8"), made["page"]())
    )
    assert not [*tmp_path.iterdir()], "its results are left behind"
    assert texts == others, "python docs/make_scale.py"
    assert shown == pytest.approx(found, rel=0.05, abs=1), "python docs/make_scale.py"
