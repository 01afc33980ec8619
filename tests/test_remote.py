"""Results and data in stores of objects are those of a disk, also where a run or the store dies on its way."""

import gzip
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import fsspec
import numpy as np
import object_store
import pandas as pd
import pyarrow as pa
import pytest
import snapshot_studies
from object_store import BUCKET, MortalStore
from sklearn.datasets import dump_svmlight_file
from store_samples import write_study
from store_victim import first_run, second_run
from test_snapshots import assert_same
from test_store_crash import check_committed
from typer.testing import CliRunner

import fastgd
from fastgd.cli.app import app
from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.runs.data.loading import load_data
from fastgd.runs.reporting.events import Progress
from fastgd.runs.sinks import FolderSink
from fastgd.store.disk import object_lock
from fastgd.store.verifying.verification import verify

RANDOM = np.random.default_rng(3)
X, Y = RANDOM.standard_normal((60, 3)), np.arange(60) % 2


@pytest.fixture(autouse=True)
def store(monkeypatch):
    """An empty store, whose locks settle at once."""
    monkeypatch.setattr(object_lock, "SETTLE_SECONDS", 0.0)
    object_store.empty()
    return MortalStore


MOMENTUM = {"name": "momentum", "lr": [0.01, 0.1]}
MORE = (MOMENTUM, {"name": "adam", "lr": 0.1})


def study(optimizers=(MOMENTUM,), **changes):
    return fastgd.Study(
        **{
            "name": "small",
            "epochs": 2,
            "batch_size": 16,
            "seed": [0, 1],
            "problem": {"loss": "logistic", "validation": 0.2},
            "optimizer": list(optimizers),
            "record": {"parameters": "all"},
            **changes,
        }
    )


def run(out, optimizers=(MOMENTUM,), **options):
    return fastgd.run(study(optimizers), out, data=(X, Y), progress=False, threads=2, **options)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """The results of the study, and of the one with an optimizer more, on a disk."""
    path = tmp_path_factory.mktemp("disk")
    return run(path / "r"), run(path / "more", MORE)


def test_a_run_is_that_of_a_disk_and_every_command_reads_it(on_disk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"{BUCKET}/results/x"
    assert_same(run(url), on_disk[0])
    assert_same(run(url, MORE), on_disk[1])
    assert_same(fastgd.load(url), on_disk[1])
    assert str(fastgd.load(url).path) == url
    assert all(name.startswith("/bucket/results/x/") for name in MortalStore.store)
    assert not any("/." in name for name in MortalStore.store), "neither temporary objects nor a lock are left"
    answers = [
        ["best", url],
        ["verify", url],
        ["compare", url, str(on_disk[1].path)],
        ["plot", url, "--kind", "curves"],
        ["plot", url, "--kind", "sensitivity", "-o", "here.png"],
        ["report", url],
        ["versus", url, "momentum", "momentum"],
    ]
    for arguments in answers[:-1]:
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 0, found.output
    assert {"/bucket/results/x/curves.png", "/bucket/results/x/report.html"} <= set(MortalStore.store)
    assert [path.name for path in tmp_path.iterdir()] == ["here.png"]


def test_file_urls_are_folders(on_disk, tmp_path):
    assert_same(run(f"file://{tmp_path}/r"), on_disk[0])
    assert fastgd.load(tmp_path / "r").path == tmp_path / "r"


def test_protocols_are_written_in_any_case():
    assert str(expanded("S3://Bucket/X")) == "s3://Bucket/X"
    assert expanded("Memory://b/x") == expanded("memory://b/x")


@pytest.mark.parametrize(
    ("url", "valid"),
    [("file://r/x", "file:///r/x"), ("FILE://localhost/r/x", "FILE:///r/x"), ("local://r/x", "local:///r/x")],
)
def test_file_urls_of_other_machines_are_refused(url, valid, tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(study(problem={"loss": "logistic", "dataset": "iris", "positive": 0}).to_toml())
    calls = [
        lambda: run(url),
        lambda: fastgd.load(url),
        lambda: fastgd.merge(tmp_path / "merged", [url]),
        lambda: study(problem={"loss": "logistic", "path": f"{url}.npz"}),
        lambda: study(problem={"loss": "logistic", "path": "/a.npz", "validation": f"{url}.npz"}),
    ]
    for call in calls:
        with pytest.raises(InputError, match=rf"{url}.* is a machine, here '(r|localhost)', .*: write {valid}"):
            call()
    commands = [
        ["run", str(file), "--out", url],
        ["run", str(file), f"--out={url}"],
        ["run", str(file), "--set", f'problem.path="{url}"'],
        ["best", url],
        ["merge", str(tmp_path / "merged"), url],
    ]
    for command in commands:
        found = CliRunner().invoke(app, command)
        assert found.exit_code == 2
        assert f": write {valid} for /r/x" in found.output


def test_an_old_folder_is_moved_aside(on_disk):
    url = f"{BUCKET}/results/x"
    run(url, MORE)
    assert_same(run(url, fresh=True), on_disk[0])
    (aside,) = {name.split("/")[3] for name in MortalStore.store} - {"x"}
    assert len(fastgd.load(f"{BUCKET}/results/{aside}").trials) == 6


@pytest.mark.parametrize(("seconds", "changes"), [(0.0, 15), (60.0, 5)], ids=["one by one", "together"])
def test_a_run_that_dies_anywhere_goes_on_with_the_same_bits(seconds, changes, on_disk, monkeypatch):
    """The store dies before each change that a run makes to it: a writer that was killed looks the same."""
    monkeypatch.setattr("fastgd.runs.executor.GATHER_SECONDS", seconds)
    url = f"{BUCKET}/r"
    whole = set(on_disk[0].trials["trial_id"])
    for point in range(200):
        object_store.empty()
        MortalStore.dies_at = point
        try:
            run(url)
        except InputError:
            assert MortalStore.dead
        ended = not MortalStore.dead
        object_store.revive()
        if (expanded(url) / "manifest.json").exists():
            ids = fastgd.load(url).trials["trial_id"].tolist()
            assert len(ids) == len(set(ids))
            assert whole.issuperset(ids)
            assert set(fastgd.load(url).curves["trial_id"]) == set(ids), "the trials part comes last"
        assert_same(run(url), on_disk[0])
        assert not any("/." in name for name in MortalStore.store)
        if ended:
            break
    assert changes < point < 199


def test_a_store_that_dies_anywhere_loses_and_doubles_nothing(tmp_path):
    """The same for a study that is extended and compacted, and whose rows have been rotated."""
    first_run(tmp_path / "reference")
    second_run(tmp_path / "reference")
    expected = fastgd.load(tmp_path / "reference")
    for point in range(200):
        object_store.empty()
        folder, log = expanded(f"{BUCKET}/r"), tmp_path / f"{point}.log"
        MortalStore.dies_at = point
        try:
            first_run(folder, log)
            second_run(folder, log)
        except InputError:
            assert MortalStore.dead
        ended = not MortalStore.dead
        object_store.revive()
        if log.exists():
            check_committed(folder, log.read_text().split())
        second_run(folder)
        for kind, key in (("trials", ["trial_id"]), ("curves", ["trial_id", "step"])):
            frames = [
                each.table(kind).to_pandas().sort_values(key, ignore_index=True) for each in _both(folder, expected)
            ]
            pd.testing.assert_frame_equal(*[frame.drop(columns="cohort_id", errors="ignore") for frame in frames])
        assert len(list(folder.rglob("*"))) == sum(path.is_file() for path in (tmp_path / "reference").rglob("[!.]*"))
        if ended:
            break
    assert 30 < point < 199


def _both(folder, expected):
    return fastgd.load(folder), expected


@pytest.mark.parametrize("case", ["tiles", "swarm"])
def test_work_goes_on_from_snapshots_in_the_store(case, tmp_path, monkeypatch):
    seen, load = [], FolderSink.saved

    def saved(self, name, trial_ids):
        state = load(self, name, trial_ids)
        seen.extend([] if state is None else [int(state["engine.t"])])
        return state

    monkeypatch.setattr(FolderSink, "saved", saved)
    expected = snapshot_studies.run(case, tmp_path / case)
    MortalStore.dies_at = 15
    with pytest.raises(InputError, match="cannot"):
        snapshot_studies.save_often(case, f"{BUCKET}/r")
    object_store.revive()
    assert any("/snapshots/" in name for name in MortalStore.store)
    assert_same(snapshot_studies.run(case, f"{BUCKET}/r"), expected)
    assert seen, "it went on from a snapshot"
    assert max(seen) > 0
    assert not any("/snapshots/" in name or "/." in name for name in MortalStore.store)


def test_a_damaged_object_is_found_and_repaired(on_disk):
    url = f"{BUCKET}/r"
    run(url)
    object_store.damage("/curves/", 200)
    with pytest.raises(InputError, match="is damaged"):
        fastgd.load(url).curves  # noqa: B018
    found = verify(url)
    assert [finding.file.partition("/")[0] for finding in found.findings] == ["curves"]
    assert verify(url, repair=True).repaired
    assert any("/damaged/" in name for name in MortalStore.store)
    assert_same(run(url), on_disk[0])
    assert verify(url).ok


def test_a_store_that_cannot_be_reached_is_not_damaged(on_disk):
    url = f"{BUCKET}/r"
    run(url)
    results, before = fastgd.load(url), set(MortalStore.store)
    MortalStore.dead = True
    asked = [lambda: results.curves, lambda: fastgd.load(url), lambda: verify(url, repair=True), lambda: run(url)]
    for ask in asked:
        with pytest.raises(InputError, match=f"cannot .* {url}.*: the store cannot be reached"):
            ask()
    MortalStore.dead = False
    for name in sorted(before):
        MortalStore.lost = name
        for ask in (lambda: verify(url, repair=True), lambda: fastgd.load(url).study):
            with pytest.raises(InputError, match=rf"cannot read mortal:/{name}: the store cannot be reached"):
                ask()
        with suppress(InputError):
            run(url)  # which writes the study file anew, and needs all others
    object_store.revive()
    assert set(MortalStore.store) == before
    assert_same(fastgd.load(url), on_disk[0])


def test_readers_read_what_they_are_asked_for():
    write_study(expanded(f"{BUCKET}/r"), ["sgd", "adam"], rates=24, log_steps=300, epochs=60)
    size = sum(file.size for name, file in MortalStore.store.items() if "/curves/" in name)
    results = fastgd.load(f"{BUCKET}/r")
    MortalStore.bytes_read = 0
    results.table("curves", columns=["step"])
    assert MortalStore.bytes_read < size / 5


# --- locks ------------------------------------------------------------------------------------------------------------


def lock(name="r"):
    return object_lock.ObjectLock(expanded(f"{BUCKET}/{name}/.lock"))


def test_a_second_writer_is_refused_until_the_lock_is_stale():
    first, second = lock(), lock()
    first.acquire()
    with pytest.raises(InputError, match=r"another process writes to mortal://bucket/r \(process .*seen 0 s ago"):
        second.acquire()
    with pytest.raises(InputError, match="another process writes"):
        run(f"{BUCKET}/r")
    object_store.revive()  # which makes it stale
    second.acquire()
    first.release()
    assert MortalStore.store, "a lock that another took over is left to it"
    second.confirm()
    second.release()
    assert not MortalStore.store


def test_a_lock_is_kept_fresh_and_its_loss_ends_the_run(monkeypatch):
    monkeypatch.setattr(object_lock, "REFRESH_SECONDS", 0.01)
    first = lock()
    first.acquire()
    begin = json.loads(first._path.read_bytes())["time"]
    while json.loads(first._path.read_bytes())["time"] == begin:
        first.confirm()
    first._path.write_bytes(b'{"owner": "another", "time": 1.0}')
    first._thread.join()
    with pytest.raises(InputError, match="could not be refreshed"):
        first.confirm()
    first.release()
    assert b"another" in first._path.read_bytes()


def test_a_run_whose_lock_another_took_over_commits_nothing_more(monkeypatch):
    monkeypatch.setattr(object_lock, "REFRESH_SECONDS", 0.01)
    taken = []

    def take_over(event):
        if isinstance(event, Progress) and not taken:
            taken.append(event)
            (expanded(f"{BUCKET}/r") / ".lock").write_bytes(b'{"owner": "another", "time": 1.0}')
            time.sleep(0.3)

    with pytest.raises(InputError, match="another process may write"):
        run(f"{BUCKET}/r", MORE, on_event=take_over)
    assert taken
    assert len(fastgd.load(f"{BUCKET}/r").trials) < 6


# --- data -------------------------------------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    table = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=Y)
    table.to_csv(folder / "rows.csv", index=False)
    for name, pack in (("rows.csv.gz", gzip.compress), ("rows.csv.zst", _zstd)):
        (folder / name).write_bytes(pack((folder / "rows.csv").read_bytes()))
    table.to_csv(folder / "rows.csv.zip", index=False)
    table.to_parquet(folder / "rows.parquet", index=False)
    for fold in (0, 1):
        (folder / "parts.parquet" / f"fold={fold}").mkdir(parents=True)
        table[fold::2].to_parquet(folder / "parts.parquet" / f"fold={fold}" / "part.parquet", index=False)
    table.to_feather(folder / "rows.feather", compression="zstd")
    columns, vectors = pa.Table.from_pandas(table), pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 3)
    for name, content in {"rows.arrow": columns, "vectors.ipc": pa.table({"v": vectors, "y": Y})}.items():
        with pa.ipc.new_stream(folder / name, content.schema) as writer:
            writer.write_table(content, max_chunksize=7)
    for fold in (0, 1):
        (folder / "parts.arrow" / f"fold={fold}").mkdir(parents=True)
        table[fold::2].reset_index(drop=True).to_feather(folder / "parts.arrow" / f"fold={fold}" / "part.arrow")
    np.savez(folder / "rows.npz", X=X, y=Y)
    dump_svmlight_file(X, Y, str(folder / "rows.svm"))
    np.save(folder / "points.npy", X[:, :2])


def _zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of files."""
    folder = tmp_path_factory.mktemp("files")
    write_data(folder)
    return folder


@pytest.fixture
def uploaded(files):
    """Their URL in the store."""
    for path in files.rglob("*"):
        if path.is_file():
            (expanded(f"{BUCKET}/data") / path.relative_to(files)).upload(path)
    return f"{BUCKET}/data"


@pytest.mark.parametrize(
    "name",
    [
        "rows.csv",
        "rows.csv.gz",
        "rows.csv.zst",
        "rows.csv.zip",
        "rows.parquet",
        "parts.parquet",
        "rows.feather",
        "rows.arrow",
        "vectors.ipc",
        "parts.arrow",
        "rows.npz",
        "rows.svm",
    ],
)
def test_data_in_a_store_are_those_of_a_file(name, files, uploaded, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGD_CACHE_DIR", str(tmp_path))
    target = {} if name.endswith((".npz", ".svm")) else {"target": "y"}
    expected, found, streamed = (
        load_data(
            study(problem={"loss": "logistic", "path": f"{place}/{name}", "source": source, **target}),
            None,
            lambda event: None,
        )[0]
        for place, source in ((files, "memory"), (uploaded, "auto"), (uploaded, "stream"))
    )
    assert found.fingerprint == streamed.fingerprint == expected.fingerprint
    assert len(found.y) == 60


def test_starts_in_a_store_are_those_of_a_file(files, uploaded, tmp_path):
    ids = [
        fastgd.run(
            fastgd.Study(
                name="s",
                steps=5,
                problem={"landscape": "rosenbrock"},
                starts={"path": f"{place}/points.npy"},
                optimizer={"name": "sgd", "lr": 1e-3},
            ),
            tmp_path / str(number),
            progress=False,
        ).trials["trial_id"]
        for number, place in enumerate((uploaded, files))
    ]
    assert ids[0].astype(str).tolist() == ids[1].astype(str).tolist()


def test_a_study_file_names_data_in_a_store(uploaded, tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(
        f'epochs = 1\nproblem = {{ loss = "logistic", path = "{uploaded}/rows.csv", target = "y" }}\n'
        'optimizer = { name = "sgd", lr = 0.1 }\nbatch_size = 16\nname = "s"\n'
    )
    assert fastgd.Study.from_toml(file).data_problems[0].path == f"{uploaded}/rows.csv"
    found = CliRunner().invoke(app, ["run", str(file), "--out", f"{BUCKET}/r"])
    assert found.exit_code == 0, found.output
    assert len(fastgd.load(f"{BUCKET}/r").trials) == 1


# --- messages ---------------------------------------------------------------------------------------------------------


def read_rows(path):
    return load_data(study(problem={"loss": "logistic", "path": path, "target": "y"}), None, lambda event: None)


def test_what_is_not_there_is_named():
    with pytest.raises(InputError, match=r"mortal://bucket/none\.csv: there is no such file"):
        read_rows(f"{BUCKET}/none.csv")
    with pytest.raises(InputError, match="mortal://bucket/none holds no fastgd results"):
        fastgd.load(f"{BUCKET}/none")


def test_a_missing_package_is_named(monkeypatch):
    fsspec.register_implementation("unheard", "not_there.Store", clobber=True, errtxt="Install not_there")
    with pytest.raises(InputError, match=r"unheard://bucket/r needs another package: Install not_there"):
        run("unheard://bucket/r")
    with pytest.raises(InputError, match=r"nothing://bucket/r.*Protocol not known: nothing"):
        fastgd.load("nothing://bucket/r")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InputError, match=r"needs fsspec: pip install 'fastgd\[remote\]'"):
        run(f"{BUCKET}/r")


def test_whatever_a_store_raises_is_one_message(uploaded):
    MortalStore.dead = True
    with pytest.raises(InputError, match=r"cannot read mortal://bucket/data/rows.csv: the store cannot be reached"):
        read_rows(f"{uploaded}/rows.csv")
    found = CliRunner().invoke(app, ["best", f"{BUCKET}/r"])
    assert found.exit_code == 2
    assert "Traceback" not in found.output
    with pytest.raises(InputError, match=r"a path within another one"):
        fastgd.load("zip://x::mortal://bucket/r.zip")
