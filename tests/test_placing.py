"""Where rows are while a study runs: what memory has no room for goes to files, and these are not to change."""

import gc
import os

import numpy as np
import pandas as pd
import pytest
from small_studies import assert_same, rows, study_of
from test_mapped import FILES, outcome, written

import fastgd
from fastgd import InputError
from fastgd.common import system
from fastgd.common.watched import require_unchanged, watched
from fastgd.datasets import Source, load
from fastgd.datasets.load import keep_in_files
from fastgd.datasets.mapped import row_files
from fastgd.plan.estimates import memory
from fastgd.plan.planner import make_plan
from fastgd.runs.data.loading import Loader, load_data
from fastgd.runs.reporting.events import Progress, Retracing, Surveying
from fastgd.runs.stored import fitting, trial_surfaces
from fastgd.sklearn import GDClassifier, GDSearchCV


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of rows for each test; kernels stay where they are."""
    monkeypatch.setattr("fastgd.datasets.mapped.row_cache.cache_folder", lambda _: tmp_path)
    (tmp_path / "locks").mkdir()


def budget_of(mapped, data, part):
    """Return the bytes with which a study runs over mapped rows, and a part of so many more."""
    gc.collect()  # what other tests left would be freed later, and count as room
    memory.release()
    plan = make_plan(mapped, load_data(mapped, data, print))
    room = memory.room(plan.methods.values(), 2)
    return system.memory_use().own + room.limit.left - room.left + max(map(memory.of, plan.units)) + part


@pytest.mark.parametrize(("name", "content", "keys"), FILES.values(), ids=FILES)
def test_rows_that_were_read_into_memory_are_kept_as_they_would_be_read(name, content, keys, tmp_path, monkeypatch):
    where = written(tmp_path / name, content) | keys
    expected, source = outcome("memory", where), Source(**where, source="auto")
    kind = name.split(".")[1]
    straight = load(Source(**where, source="map"))
    copied = (straight.folder / "X.npy").exists() or (straight.folder / "data.npy").exists()
    os.utime(tmp_path / name)  # so that it counts as another file
    keep_in_files(source, load(source))
    monkeypatch.setitem(row_files.OF_FORMAT, kind, None)
    assert outcome("map", where) == expected
    kept = load(Source(**where, source="map"))
    assert kept.folder != straight.folder
    assert ((kept.folder / "X.npy").exists() or (kept.folder / "data.npy").exists()) == copied


def test_rows_of_a_file_that_changed_since_are_not_kept(tmp_path):
    path = tmp_path / "a.csv"
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 0, 1]})
    source = Source(**written(path, table), target="y", source="auto")
    before = load(source)
    written(path, table.assign(a=[1.0, 2.0, 3.0, 5.0]))
    keep_in_files(source, before)
    after = load(Source(path=str(path), target="y", source="map"))
    assert after.X[3, 0] == 5
    assert after.fingerprint != before.fingerprint


def test_a_study_that_needs_the_room_of_its_rows_reads_them_once(tmp_path, monkeypatch):
    X, y = rows(n=20_000, d=250)  # 40 MB
    path = tmp_path / "a.parquet"
    pd.DataFrame(X, columns=[f"f{j}" for j in range(250)]).assign(y=y).to_parquet(path)
    auto, in_memory, mapped = (
        study_of(problem={"loss": "logistic", "path": str(path), "target": "y", "source": source})
        for source in ("auto", "memory", "map")
    )
    expected = fastgd.run(in_memory, tmp_path / "memory", threads=2, progress=False)
    budget = budget_of(mapped, None, X.nbytes / 2)
    os.utime(path)  # what is mapped now is another file
    monkeypatch.setitem(row_files.OF_FORMAT, "parquet", None)
    found = fastgd.run(auto, tmp_path / "r", threads=2, memory=budget, progress=False)
    assert_same(found, expected)
    assert any("they would leave too little for the study" in note for note in found.manifest.notes)


def test_rows_as_they_were_read_are_free_before_a_study_begins(tmp_path):
    """Those that have another form in the study, or are split; of others there is no copy."""
    X, y = rows()
    where = written(tmp_path / "a.csv", pd.DataFrame(X).assign(y=y)) | {"target": "y"}
    for form, spare in (({}, 0), ({"standardize": True}, X.nbytes), ({"validation": 0.2}, X.nbytes)):
        for source, own in (("memory", spare), ("map", 0)):
            loader = Loader(print)
            data = loader.load(study_of(problem={"loss": "logistic", "source": source} | where | form))
            assert loader.unshared_bytes(data) == own
            loader.let_go()
            assert loader.unshared_bytes(data) == 0
    given = Loader(print, (X, y))
    data = given.load(study_of(problem={"loss": "logistic", "standardize": True}))
    assert given.unshared_bytes(data) == 0, "the caller has them"
    with system.memory_to_be_freed(10**6):
        less = system.memory_limits()[0].taken
    assert system.memory_limits()[0].taken >= less + 10**6 - 10**5


# --- files that change ------------------------------------------------------------------------------------------------


def in_use(path, X, y):
    """Write an archive that maps, and return a study of it."""
    for length in range(1, 9):
        np.savez(path, **{"z" * length: np.zeros(0), "X": X, "y": y})
        found = load(Source(path=str(path), source="map"))
        if not (found.folder / "X.npy").exists():
            return study_of(epochs=40, problem={"loss": "logistic", "path": str(path), "source": "map"})
    raise AssertionError("no archive maps")


def overwritten(path):
    """Change a value where it stands, and its time."""
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0" * 8)
    os.utime(path, ns=(0, 10**18))


def replaced(path):
    """Put another file in its place, which leaves the pages of the first one."""
    other = path.with_name("other.npz")
    np.savez(other, X=np.zeros((9, 5)), y=np.zeros(9))
    other.replace(path)


@pytest.mark.parametrize("change", [overwritten, replaced, os.remove])
def test_a_file_that_changes_while_a_study_runs_gives_no_numbers(change, tmp_path):
    X, y = rows(n=2_000, d=5)
    path = tmp_path / "a.npz"
    study = in_use(path, X, y)
    expected = fastgd.run(study, tmp_path / "before", progress=False)
    done = []

    def at_work(event):
        if isinstance(event, Progress) and not done:
            done.append(change(path))

    def again():
        return fastgd.run(study, tmp_path / "r", progress=False, on_event=at_work)

    if change is overwritten:
        with pytest.raises(InputError, match=r"a\.npz: the file was changed while its rows were in use"):
            again()
        assert len(fastgd.load(tmp_path / "r").trials) == 0
    else:
        assert_same(again(), expected)
    assert done


@pytest.mark.parametrize("compute", [fitting.best_model, trial_surfaces.surface])
def test_what_is_computed_of_results_is_refused_as_well(compute, tmp_path):
    X, y = rows(n=2_000, d=5)
    path = tmp_path / "a.npz"
    results = fastgd.run(in_use(path, X, y), tmp_path / "r", progress=False)
    at_work = [Retracing, Surveying]

    def change(event):
        if isinstance(event, tuple(at_work)):
            at_work.clear()
            overwritten(path)

    compute(results, trial=results.trials["trial_id"][0], progress=False)
    with pytest.raises(InputError, match=r"a\.npz: the file was changed while its rows were in use"):
        compute(results, trial=results.trials["trial_id"][1], progress=False, on_event=change)
    assert not at_work
    assert len(results.trial_surfaces) == (compute is trial_surfaces.surface)


def test_an_array_that_a_user_mapped_is_watched_and_one_that_is_written_to_is_not(tmp_path):
    np.save(tmp_path / "X.npy", rows()[0])
    for mode, counts in {"r": True, "c": True, "r+": False}.items():
        files = watched([np.load(tmp_path / "X.npy", mmap_mode=mode)[2:]])
        assert len(files) == counts
        require_unchanged(files)
        overwritten(tmp_path / "X.npy")
        os.utime(tmp_path / "X.npy")
        assert [file.changed for file in files] == [True] * counts


# --- scikit-learn's arrays --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_search_whose_lanes_need_the_room_of_copies_makes_none(sparse, generator, tmp_path):
    """Rows of float64 in a mapped file, or sparse ones, and lanes of float32."""
    X, y = rows(n=40_000, d=250)
    np.save(tmp_path / "X.npy", X)
    given = np.load(tmp_path / "X.npy", mmap_mode="r")
    if sparse:
        from scipy.sparse import csr_array

        given = csr_array(X)

    def searched(limit=None):
        seed = np.random.RandomState(3) if generator else 3
        model = GDClassifier(dtype="float32", max_iter=2, tol=None, batch_size=64, n_jobs=2, random_state=seed)
        grid = GDSearchCV(model, {"eta0": [0.01, 0.1]}, cv=3, error_score="raise")
        with system.memory_budget(limit):
            return grid.fit(given, y), GDClassifier(**model.get_params()).set_params(eta0=0.01).fit(given, y)

    study = study_of(dtype="float32", batch_size=64, problem={"loss": "logistic", "source": "map"})
    expected = searched()
    found = searched(budget_of(study, (given, y), X.nbytes / 4))
    for ours, theirs in zip(found, expected, strict=True):
        best, other = (getattr(each, "best_estimator_", each) for each in (ours, theirs))
        np.testing.assert_array_equal(best.coef_, other.coef_)
    np.testing.assert_array_equal(found[0].cv_results_["mean_test_score"], expected[0].cv_results_["mean_test_score"])
