"""Rows that take a study's form as they are passed: the bits of a copy, in every kind of kernel."""

import ctypes
import mmap
import os
import time
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from cohorts import PARTS, SINGLE, SMALL, make_cohort, pool
from hypothesis import given
from scipy.sparse import csr_array
from small_studies import rows
from sparse_cohorts import pair, problem
from test_folds import LANES, WAYS, state_of

from fastgd.core.compile import jit
from fastgd.datasets.csr import from_dense
from fastgd.datasets.mapped import array_files, pages
from fastgd.datasets.record import Scaling
from fastgd.datasets.staged_rows import StagedRows
from fastgd.engine import row_places
from fastgd.engine.calls import InTurn, KernelCall, side_by_side
from fastgd.engine.rows import read_ahead, staging
from fastgd.engine.rows.visit import Visit
from fastgd.problems import LOSSES

N, D = 10_000, 5
X, Y = rows("logistic", N, D)
RNG = np.random.default_rng(3)
SOME = np.sort(RNG.permutation(N)[:9000]).astype(np.int32)
REST = np.setdiff1d(np.arange(N), SOME).astype(np.int32)
SCALING = Scaling(RNG.normal(size=D), RNG.uniform(0.5, 2.0, D), 0, 0)


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """Buffers with room for a block of 4,096 rows, of the 10,000."""
    monkeypatch.setattr(staging, "WHOLE_BYTES", 0)
    monkeypatch.setattr(staging, "BUFFER_BYTES", 1)


def copy_of(staged):
    """All rows in the form that they take some at a time."""
    assert isinstance(staged.source, np.ndarray)
    with np.errstate(over="ignore"):
        scaled = staged.source if staged.scaling is None else (staged.source - SCALING.mean) / SCALING.deviation
    return scaled.astype(staged.dtype)


def mapped(X, path):
    """The same rows in a file that is mapped."""
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def states(staged, copy, given, loss):
    for Z in (staged, copy):
        cohort = make_cohort(Z, Y.astype(Z.dtype), LANES, rows=SOME, **given)
        yield state_of(cohort, (Z, Y.astype(Z.dtype), loss, SOME), (Z, Y.astype(Z.dtype), loss, REST))


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_cohorts_have_the_bits_of_a_copy(how):
    given = {"batch_size": 600, "init": 0.3, "l2": 1e-3, "optimizer": "momentum"} | how
    if given["batch_size"] == 100:  # in these ways of folds, all rows
        given["batch_size"] = len(SOME)
    staged = StagedRows(X, SCALING, X.dtype, "X")
    found, expected = states(staged, copy_of(staged), given, [LOSSES[given.get("loss", "logistic")]])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scaling", [None, SCALING])
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_they_are_rounded_as_a_copy_is(source, scaling):
    staged = StagedRows(X.astype(source), scaling, np.dtype("float32"), "X")
    given = {"batch_size": 32, "optimizer": "adam", "dtype": "float32"}
    found, expected = states(staged, copy_of(staged), given, [LOSSES["logistic"]])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kernel", [SINGLE, SMALL], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("batch_size", [1, 2, 7, 17, 255, 257])
def test_batches_that_leave_a_rest_have_the_bits_of_a_copy(batch_size, kernel):
    staged = StagedRows(X, SCALING, X.dtype, "X")
    given = {"batch_size": batch_size, "kernel": kernel, "optimizer": "momentum"}
    np.testing.assert_array_equal(*states(staged, copy_of(staged), given, [LOSSES["logistic"]]))


@pytest.mark.parametrize("batch_size", [1, 8])
def test_sparse_cohorts_have_the_bits_of_a_copy(batch_size):
    Z, y = problem(n=9000)
    scaling = Scaling(np.zeros(Z.shape[1]), RNG.uniform(0.5, 2.0, Z.shape[1]), 0, 0)
    staged, loss = StagedRows(from_dense(Z), scaling, np.dtype("float64"), "Z"), [LOSSES["logistic"]]
    found = []
    for rows_ in (staged, from_dense(Z / scaling.deviation)):
        _, cohort = pair("adagrad", data=(Z, y), batch_size=batch_size)
        cohort = type(cohort)(cohort.spec, rows_, y, cohort.threads)
        found.append(state_of(cohort, (rows_, y, loss), (rows_, y, loss)))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("order", ["blocks", "shuffle", "sequential"])
@pytest.mark.parametrize("batch_size", [1, 64, len(SOME)])
def test_mapped_rows_have_the_bits_of_those_in_memory(batch_size, order, tmp_path, monkeypatch):
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 4096 * D * 8)
    given, loss = {"batch_size": batch_size, "order": order, "optimizer": "adam"}, [LOSSES["logistic"]]
    given["kernel"] = PARTS if batch_size == len(SOME) else SMALL
    found, expected = states(mapped(X, tmp_path / "X.npy"), X, given, loss)
    np.testing.assert_array_equal(found, expected)
    scaled = StagedRows(mapped(X, tmp_path / "X.npy"), SCALING, X.dtype, "X")
    found, expected = states(scaled, copy_of(scaled), given, loss)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell")
def test_what_was_passed_of_a_mapped_file_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 1 << 20)
    rows_ = mapped(np.random.default_rng(0).normal(size=(800_000, 10)), tmp_path / "rows_of_a_test.npy")  # 64 MB
    visit = Visit(rows_, np.zeros((len(rows_), 1)), np.arange(len(rows_), dtype=np.int32), False)
    most = 0
    for first in range(0, len(rows_), visit.room):
        end = min(first + visit.room, len(rows_))
        visit.hold(pool(2), (first, end))
        rows_[first:end].sum()
        most = max(most, resident("rows_of_a_test"))
    assert 1 << 19 < most < (2 * read_ahead.AT_ONCE + 4) << 20


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell")
def test_only_maps_of_its_own_are_told_that_rows_are_read_in_any_order(tmp_path):
    np.save(tmp_path / "own_rows.npy", np.zeros((9000, 10)))
    users = mapped(np.zeros((9000, 10)), tmp_path / "users_rows.npy")
    own = array_files.mapped(tmp_path / "own_rows.npy")
    assert all(map(read_ahead.ReadAhead, (users, own)))
    assert "rr" not in about_map("users_rows", "VmFlags"), "it would stay so after the run"
    assert "rr" in about_map("own_rows", "VmFlags")
    bare = np.frombuffer(users.base, np.float64, users.size, 128).reshape(users.shape)
    assert not read_ahead.ReadAhead(bare), "nothing tells whether its pages are those of the file"


def test_what_a_user_wrote_into_a_copy_of_a_file_is_not_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 4096 * D * 8)
    np.save(tmp_path / "X.npy", X - 1)
    changed = np.load(tmp_path / "X.npy", mmap_mode="c")
    changed += 1
    copy, given = np.array(changed), {"batch_size": 64, "order": "sequential", "kernel": SMALL}
    found, expected = states(changed, copy, given, [LOSSES["logistic"]])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(changed, copy)


def about_map(name, key):
    """The words after a key in what the system tells of a mapped file; none, where it is not there."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if name in line:
            return next(each.split()[1:] for each in lines if each.startswith(f"{key}:"))
    return []


def resident(name):
    """The bytes that this process has of a mapped file."""
    return 1024 * int((about_map(name, "Rss") or ["0"])[0])


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system is not told to forget")
def test_all_that_is_ahead_is_read(tmp_path):
    """Linux reads of a single request no more than a disk's `read_ahead_kb`; the rest would come page by page."""
    path = tmp_path / "X.npy"
    rows_ = mapped(np.random.default_rng(0).normal(size=(300_000, 10)), path)  # 24 MB
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    visit = Visit(rows_, np.zeros((len(rows_), 1)), np.arange(len(rows_), dtype=np.int32), False)
    visit.hold(pool(2), (0, 1))
    end = time.monotonic() + 60
    while not in_cache(rows_).all() and time.monotonic() < end:
        time.sleep(0.01)
    assert in_cache(rows_).all()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system is not told to forget")
def test_only_what_the_system_lacks_is_asked_for(tmp_path):
    path, piece = tmp_path / "X.npy", pages.ASKED_BYTES
    rows_ = mapped(np.zeros((64, piece // 8)), path)  # 8 MB: a row is a piece, but for the header
    found = pages.mapped(rows_)
    rows_.sum()
    assert not found.read(0, rows_.nbytes), "all of it is there"
    found.let_go()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # or it would read more than this:
        os.pread(file.fileno(), 8 * piece, 16 * piece)
    held = in_cache(rows_)
    assert held[16 * piece // mmap.PAGESIZE : 24 * piece // mmap.PAGESIZE].all()
    assert not held.all()
    missing = [each // piece for each in found._missing(0, len(rows_.base))]
    assert set(missing) == {page * mmap.PAGESIZE // piece for page in np.flatnonzero(~held)}
    assert found.read(0, rows_.nbytes)
    assert found._replace(tells=False).read(0, piece), "nothing is known"


def test_sparse_rows_are_brought_for_who_asks_for_them():
    """What was brought ahead counts where the same rows are asked for, with the same targets, and all have come."""
    staged, y = StagedRows(from_dense(X), SCALING, X.dtype, "X"), Y.reshape(-1, 1).astype(float)
    stage, (one, other) = staging.Stage(staged, 1), np.zeros((2, 10_000, 1))
    copy, some = X / SCALING.deviation, np.arange(100, 3000, dtype=np.int32)

    def taken(numbers, targets):
        at = stage.take(numbers, y, targets, pool(2))
        values, columns, begins = stage.matrix
        begins = begins[at : at + len(numbers) + 1]
        held = slice(begins[0], begins[-1])
        found = csr_array((values[held], columns[held], begins - begins[0]), shape=(len(numbers), D))
        np.testing.assert_array_equal(found.toarray(), copy[numbers])
        np.testing.assert_array_equal(targets[at : at + len(numbers)], y[numbers])

    for numbers, targets in ((some, one), (some[::-1], one), (some, other), (some[:10], one)):
        for call in stage.bring(some, y, one, 2):
            call()
        stage.arrived()
        taken(numbers, targets)
    stage.bring(some[:50], y, one, 2)  # calls that are never made
    taken(some[:50], one)
    order = some.copy()
    for call in stage.bring(order, y, one, 2):
        call()
    stage.arrived()
    order[:] = some[::-1]  # the next epoch's
    taken(order, one)


@jit
def put_rows(source, order, form, d, X):
    """All rows of an order in the form that kernels give them."""
    row_places.form_rows(source, order, 0, order.shape[0], form, d, X, 0)


def given_form(X, scaling, dtype):
    """Rows as kernels form them."""
    (n, d), form = X.shape, staging.form_of(scaling, X.shape[1])
    out = np.full((n, len(form.mean)), np.nan, dtype)
    put_rows(X.reshape(-1), np.arange(n, dtype=np.int32), form, d, out.reshape(-1))
    return out[:, :d]


def assert_formed(X, mean, deviation):
    """Kernels give rows the bits of a difference and a quotient."""
    scaling = Scaling(mean, deviation, 0, 0)
    for dtype in ("float32", "float64"):
        with np.errstate(all="ignore"):
            expected = ((X.astype(np.float64) - mean) / deviation).astype(dtype)
        found = given_form(X, scaling, dtype)
        np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))


NORMAL = st.floats(-(2.0**300), 2.0**300)
POSITIVE = st.floats(2.0**-300, 2.0**300)


@given(st.lists(st.tuples(NORMAL, NORMAL, POSITIVE), min_size=1, max_size=40))
def test_products_make_the_bits_of_quotients(columns):
    X, mean, deviation = np.array(columns).T
    assert_formed(np.stack([X, mean, np.nextafter(mean, np.inf), np.zeros(len(X))]), mean, deviation)


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 7, 8, 1000])
def test_products_make_the_bits_of_many_quotients(source, d):
    """Also of those next to numbers between two of float64, which are found where a reciprocal is rounded most."""
    random = np.random.default_rng(d)
    for size in (1e-30, 1.0, 1e5):
        deviation = random.uniform(0.5, 2.0, d) * size
        deviation[::2] = np.nextafter(2.0 ** np.floor(np.log2(deviation[::2])), 0)  # all digits are ones
        assert_formed(random.normal(size=(5000, d)).astype(source), random.normal(size=d) * size, deviation)


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, -1e-310, 2.0**-1000, 1e308, -1e308, np.inf, np.nan])
@pytest.mark.parametrize("mean", [0.0, -0.0, 1e-310, 1.0, -1e308])
@pytest.mark.parametrize("deviation", [1.0, 3.0, 1e-310, 1e-200, 1e200, np.pi])
def test_what_products_cannot_make_is_divided(value, mean, deviation):
    X = np.array([[value, 1.0, 2.0], [1.0, value, 3.0]])
    assert_formed(X, np.array([mean, 0.5, mean]), np.array([deviation, deviation, 3.0]))


def test_calls_that_meet_begin_together():
    calls = [KernelCall(None, (i,)) for i in range(3)]
    others = [KernelCall(None, (-i,)) for i in range(2)]
    firsts = [turn.calls[0] for turn in side_by_side(calls, others)]
    assert firsts == [others[0], calls[1], calls[2]]
    meeting = [InTurn([KernelCall(None, (i,), "counters")]) for i in range(2)]
    assert [turn.calls[0] for turn in side_by_side(meeting, others)] == others
    assert all(turn.counters == "counters" for turn in side_by_side(meeting, others))


def in_cache(array):
    """Which pages of a mapped array the system holds."""
    first = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    size = array.ctypes.data + array.nbytes - first
    held = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    assert (
        ctypes.CDLL(None).mincore(ctypes.c_void_p(first), ctypes.c_size_t(size), ctypes.c_void_p(held.ctypes.data)) == 0
    )
    return held & 1 == 1
