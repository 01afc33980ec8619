"""What lands on disk: schemas, the commit protocol, extension, compaction, and what is refused."""

import contextlib
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_samples import block, commit, files, in_a_child, manifest, open_folder, read, trials

import fastgd
from fastgd.common.errors import InputError
from fastgd.store import Columns, Contents, Manifest, compaction
from fastgd.store.schema import trials_table

TRIALS = """
    trial_id problem dataset loss n d l2 optimizer variant lr beta schedule schedule.final batch_size seed dtype layout
    sparse kernel status reason steps epochs final_loss best_loss final_validation_loss best_validation_loss in_study
    cohort_id cohort_lanes compile_seconds train_seconds evaluate_seconds configuration split_seed fold best_step
""".split()  # noqa: SIM905
CURVES = """
    trial_id step epoch samples_seen loss validation_loss param_norm lr train_seconds grad_norm
""".split()  # noqa: SIM905


def test_the_columns_are_the_contracts():
    schema = Columns(("lr", "beta"), ("final",)).trials
    assert schema.names == TRIALS
    assert {schema.field(name).type for name in ("lr", "beta", "l2", "epochs", "final_loss")} == {pa.float64()}
    assert Columns(metrics=("loss", "grad_norm")).curves.names == CURVES
    assert Columns().curves.field("loss").type == pa.float64()


def test_a_union_of_columns_keeps_the_order_and_adds():
    union = Columns(("lr", "a"), ("final",), ("grad_norm",)) | Columns(("lr", "b"), ("schedule.every",), ("r2",))
    assert union == Columns(("lr", "a", "b"), ("schedule.final", "schedule.every"), ("grad_norm", "r2"))
    assert Columns.of(union.trials.names, union.curves.names) == union


def test_a_hyper_parameter_with_the_name_of_a_column_is_refused(tmp_path):
    with pytest.raises(InputError, match="'seed' has the name of a column"):
        open_folder(tmp_path / "r", hyper=["lr", "seed"])
    assert files(tmp_path) == []


def test_results_read_back_through_plain_pandas(tmp_path):
    with open_folder(tmp_path, metrics=["grad_norm"]) as folder:
        ids = commit(folder, trials(5), checkpoints=4, grad_norm=0.5, parameters=True)
        assert folder.committed() == set(ids)
        folder.finish(ids, timings=lambda: {"train": 2.0})
    stored = read(tmp_path, "trials")
    assert stored["trial_id"].tolist() == ids
    assert stored["in_study"].all()
    assert stored["cohort_id"].unique().tolist() == ["cohort-t00000"]
    curves = read(tmp_path, "curves")
    assert len(curves) == 20
    expected = np.concatenate([[0.7 * np.exp(-0.1 * k) + i * 1e-3 for k in range(4)] for i in range(5)])
    np.testing.assert_array_equal(curves["loss"], expected)
    assert curves["grad_norm"].eq(0.5).all()
    assert curves["validation_loss"].isna().all()
    parameters = pd.read_parquet(tmp_path / "parameters")
    np.testing.assert_array_equal(np.stack(parameters["parameters"]), np.arange(15.0).reshape(5, 3))
    assert files(tmp_path) == [
        ".lock",
        "curves/0000-000000-00.parquet",
        "manifest.json",
        "parameters/0000-000000-00.parquet",
        "study.toml",
        "trials/0000-000000.parquet",
    ]


def test_null_is_not_measured_and_a_nan_is_a_nan(tmp_path):
    with open_folder(tmp_path, hyper=["lr", "beta"], schedule_params=["final"], metrics=["grad_norm"]) as folder:
        rows = trials(3, beta=[0.9, np.nan, 0.9], final_loss=[np.nan, np.inf, 0.5], final_validation_loss=None)
        masked = np.ma.masked_array([np.nan, 1.0, -np.inf], mask=[False, True, False])
        ids = rows["trial_id"].tolist()
        with folder.writer() as cohort:
            cohort.append("curves", block(ids, 0, grad_norm=masked, loss=np.array([np.nan, np.inf, 1.0])))
            cohort.append("curves", block(ids, 1, grad_norm=None))
            cohort.commit(rows)
    table = pq.read_table(tmp_path / "trials")
    assert table["beta"].to_pylist() == [0.9, None, 0.9]
    assert table["schedule.final"].null_count == table["final_validation_loss"].null_count == 3
    assert table["final_loss"].null_count == 0
    np.testing.assert_array_equal(table["final_loss"].to_numpy(), [np.nan, np.inf, 0.5])
    curves = pq.read_table(tmp_path / "curves")
    assert curves["grad_norm"].is_null().to_pylist() == [False, True, False, True, True, True]
    assert np.isnan(curves["grad_norm"][0].as_py())
    assert curves["loss"].null_count == 0


def test_trials_are_a_frame_or_columns():
    """A value that all trials have stands for a column of it; what is masked, missing or None is null."""
    columns, frame = Columns(("lr", "beta"), ("final",)), trials(3)
    frame = frame.assign(
        lr=[0.1, np.nan, 0.2], final_loss=[np.nan, 1.0, 2.0], best_step=pd.array([2, None, 4], "Int64")
    )
    frame = frame.assign(fold=pd.array([None] * 3, "Int64"), sparse=None, optimizer="sgd", seed=7, best_loss=None)
    told = {name: frame[name].to_numpy() for name in frame} | {"fold": None, "sparse": None, "optimizer": "sgd"}
    told |= {"best_step": np.ma.masked_less([2, -1, 4], 0), "seed": 7, "best_loss": None, "beta": np.nan}
    found = trials_table(told, columns)
    without_nan = [name for name in found.column_names if name != "final_loss"]
    assert found.select(without_nan).equals(trials_table(frame, columns).select(without_nan))
    np.testing.assert_array_equal(found["final_loss"].to_numpy(), frame["final_loss"])
    assert found["best_step"].to_pylist() == [2, None, 4]
    assert found["lr"].to_pylist() == [0.1, None, 0.2]
    assert found["final_loss"].null_count == 0
    assert found["beta"].null_count == found["fold"].null_count == found["best_loss"].null_count == 3
    assert found["in_study"].to_pylist() == [True] * 3


def test_columns_that_the_schema_lacks_are_a_bug_and_not_dropped(tmp_path):
    with open_folder(tmp_path) as folder, folder.writer() as cohort:
        with pytest.raises(ValueError, match="grad_norm"):
            cohort.append("curves", block(["t0"], 0, grad_norm=1.0))
        with pytest.raises(ValueError, match="momentum"):
            cohort.commit(trials(1, momentum=0.9))
        with pytest.raises(ValueError, match="'steps'"):
            cohort.commit(trials(1).drop(columns="steps"))
    assert Contents.read(tmp_path).trials == ()


def test_blocks_are_copied(tmp_path):
    with open_folder(tmp_path) as folder, folder.writer() as cohort:
        loss = np.array([1.0, 2.0])
        cohort.append("curves", block(["a", "b"], 0, loss=loss))
        loss[:] = -1.0
        cohort.commit(trials(2, trial_id=["a", "b"]))
    assert read(tmp_path, "curves")["loss"].tolist() == [1.0, 2.0]


def test_files_are_compressed_split_and_say_where_they_come_from(tmp_path):
    with open_folder(tmp_path) as folder:
        commit(folder, trials(3), parameters=True)
    for kind, floats in {"trials": "final_loss", "curves": "loss", "parameters": "parameters.list.element"}.items():
        (path,) = (tmp_path / kind).glob("*.parquet")
        file = pq.ParquetFile(path)
        columns = {file.metadata.row_group(0).column(i).path_in_schema: i for i in range(file.metadata.num_columns)}
        described = {name: file.metadata.row_group(0).column(i) for name, i in columns.items()}
        assert {column.compression for column in described.values()} == {"ZSTD"}
        assert "BYTE_STREAM_SPLIT" in described[floats].encodings
        assert "RLE_DICTIONARY" in described["trial_id"].encodings
        assert file.schema_arrow.field("trial_id").type == pa.string()
        footer = file.schema_arrow.metadata
        assert footer[b"fastgd.version"] == b"0.1.0"
        assert footer[b"fastgd.study_hash"].decode() == folder.manifest.study_hash
        assert footer[b"fastgd.part"].decode() == f"{kind}/{path.name}"
        assert footer[b"fastgd.folder"].decode() == Manifest.read(tmp_path).folder
        assert json.loads(footer[b"fastgd.fingerprints"]) == {"flights": "f" * 64}


def test_row_groups_are_full_whatever_the_blocks(tmp_path):
    ids = [f"t{i:03d}" for i in range(300)]
    with open_folder(tmp_path) as folder, folder.writer() as cohort:
        for checkpoint in range(1000):
            cohort.append("curves", block(ids, checkpoint))
        cohort.commit(trials(300, trial_id=ids))
    (path,) = (tmp_path / "curves").glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [131072, 131072, 300000 - 262144]
    curves = pd.read_parquet(path)
    assert (curves["step"].to_numpy().reshape(1000, 300) == 16 * np.arange(1000)[:, None]).all()
    assert curves["trial_id"].tolist()[-300:] == ids


def test_what_is_not_committed_does_not_count(tmp_path):
    with open_folder(tmp_path) as folder:
        with contextlib.suppress(KeyboardInterrupt), folder.writer() as cohort:
            cohort.append("curves", block(["x"], 0))
            cohort.parameters(["x"], np.ones((1, 3)))
            raise KeyboardInterrupt
        assert folder.committed() == set()
        with folder.writer() as cohort:
            cohort.append("curves", block(["x"], 0))
    assert files(tmp_path) == [".lock", "manifest.json", "study.toml"]


def test_a_trial_is_committed_once(tmp_path):
    with open_folder(tmp_path) as folder:
        commit(folder, trials(2))
        with pytest.raises(ValueError, match="only once"):
            commit(folder, trials(1))
    with open_folder(tmp_path) as folder, pytest.raises(ValueError, match="only once"):
        commit(folder, trials(1))
    assert len(read(tmp_path, "trials")) == 2


@pytest.mark.parametrize("finished", [True, False], ids=["compacted", "in parts"])
def test_trials_that_ran_out_of_time_are_replaced(tmp_path, monkeypatch, finished):
    """All at once: until the new results are committed, the old ones stand."""
    monkeypatch.setattr("fastgd.store.compaction.MOST_FILE_BYTES", 1)  # every file is large
    with open_folder(tmp_path) as folder:
        kept = commit(folder, trials(2, "a"), parameters=True)
        late = commit(folder, trials(3, "b", status="timeout"), checkpoints=2, parameters=True)
        if finished:
            folder.finish([*kept, *late])
    with open_folder(tmp_path) as folder:
        assert folder.unfinished() == set(late)
        with contextlib.suppress(KeyboardInterrupt), folder.writer() as cohort:
            cohort.append("curves", block(late, 0))
            raise KeyboardInterrupt
        assert len(read(tmp_path, "trials")) == 5
        commit(folder, trials(2, "b"), checkpoints=7, parameters=True)
        other = commit(folder, trials(1, "c"))
        assert folder.unfinished() == {late[2]}
        assert folder.committed() == {*kept, *late, *other}
        with pytest.raises(ValueError, match="only once"):
            commit(folder, trials(1, "b"))
        folder.finish([*kept, *late, *other])
    stored = read(tmp_path, "trials").set_index("trial_id")["status"]
    assert stored.to_dict() == {**dict.fromkeys([*kept, *late, *other], "completed"), late[2]: "timeout"}
    assert read(tmp_path, "curves").groupby("trial_id").size().loc[late].tolist() == [7, 7, 2]
    assert read(tmp_path, "parameters")["trial_id"].value_counts().loc[[*kept, *late]].eq(1).all()


def test_orphans_and_temporary_files_are_ignored_and_swept(tmp_path):
    with open_folder(tmp_path) as folder:
        commit(folder, trials(2))
        with folder.writer() as cohort:
            cohort.append("curves", block(["x"], 0))
            cohort._flush()
            cohort._files["curves"].publish()
    assert (tmp_path / "curves" / "0000-000001-00.parquet").exists()
    for name in ("curves/.0000-000002-00.parquet", "trials/.0000-000002.parquet", ".manifest.json", ".study.toml"):
        (tmp_path / name).write_bytes(b"torn")
    assert Contents.read(tmp_path).dataset("curves").count_rows() == 6
    with open_folder(tmp_path):
        pass
    assert files(tmp_path) == [
        ".lock",
        "curves/0000-000000-00.parquet",
        "manifest.json",
        "study.toml",
        "trials/0000-000000.parquet",
    ]


def test_an_extended_study_reads_whole_before_and_after_it_is_finished(tmp_path):
    with open_folder(tmp_path) as folder:
        first = commit(folder, trials(3))
        folder.finish(first)
    with open_folder(
        tmp_path, hyper=["beta", "lr"], schedule_params=["final"], metrics=["r2"], study_hash="6"
    ) as folder:
        assert folder.committed() == set(first)
        second = commit(folder, trials(2, "u", beta=0.9, **{"schedule.final": 0.1}), r2=0.3)
        meanwhile = Contents.read(tmp_path)
        assert meanwhile.columns == Columns(("lr", "beta"), ("final",), ("r2",))
        rows = meanwhile.dataset("trials").to_table().to_pandas()
        assert rows["beta"].isna().tolist() == [True] * 3 + [False] * 2
        assert meanwhile.dataset("curves").to_table()["r2"].null_count == 9
        folder.finish([*first[1:], *second])
    stored = read(tmp_path, "trials")
    assert stored.columns.tolist() == TRIALS
    assert stored["in_study"].tolist() == [False, True, True, True, True]
    assert read(tmp_path, "curves")["r2"].tolist()[-6:] == [0.3] * 6
    for kind in ("trials", "curves"):
        (path,) = (tmp_path / kind).glob("*.parquet")  # few files, each with the union schema
        assert pq.read_schema(path).equals(getattr(Columns(("lr", "beta"), ("final",), ("r2",)), kind))


def test_the_union_schema_reaches_every_file_even_when_nothing_is_run(tmp_path):
    with open_folder(tmp_path) as folder:
        ids = commit(folder, trials(3))
        folder.finish(ids)
    with open_folder(tmp_path, hyper=["lr", "beta"], metrics=["r2"], study_hash="6") as folder:
        folder.finish(ids[:1])
    assert "beta" in read(tmp_path, "trials")
    assert "r2" in read(tmp_path, "curves")
    assert read(tmp_path, "trials")["in_study"].tolist() == [True, False, False]


def test_trials_come_back_into_the_study(tmp_path):
    with open_folder(tmp_path) as folder:
        ids = commit(folder, trials(3))
        folder.finish(ids[:1])
    with open_folder(tmp_path, study_hash="6") as folder:
        folder.finish(ids)
    assert read(tmp_path, "trials")["in_study"].all()
    assert len(files(tmp_path)) == 5


def test_finishing_twice_changes_nothing(tmp_path):
    with open_folder(tmp_path) as folder:
        ids = commit(folder, trials(3)) + commit(folder, trials(3, "u"))
        folder.finish(ids, timings=lambda: {"train": 1.0})
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    with open_folder(tmp_path, started="2031-01-01T00:00:00+00:00", threads=1) as folder:
        folder.finish(ids, timings=lambda: {"train": 0.0})
    assert {path: (tmp_path / path).read_bytes() for path in files(tmp_path)} == before


def test_cohorts_after_a_compaction_of_the_same_session_count_too(tmp_path):
    with open_folder(tmp_path) as folder:
        ids = commit(folder, trials(2)) + commit(folder, trials(2, "u"))
        folder.finish(ids)
        ids += commit(folder, trials(2, "v"))
        assert len(Contents.read(tmp_path).trial_ids()) == 6
        folder.finish(ids)
    assert sorted(read(tmp_path, "trials")["trial_id"]) == sorted(ids)
    assert len(read(tmp_path, "curves")) == 18


def test_large_files_are_left_alone_by_compaction(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_FILE_BYTES", 20_000)
    ids = [f"t{i:05d}" for i in range(1500)]
    with open_folder(tmp_path) as folder:
        commit(folder, trials(1500, trial_id=ids), checkpoints=2)
        small = commit(folder, trials(2, "u")) + commit(folder, trials(2, "v"))
        folder.finish(ids + small)
        kept = tmp_path / "curves" / "0000-000000-00.parquet"
        assert kept.stat().st_size > 10_000
        names = sorted(path.name for path in (tmp_path / "curves").iterdir())
        assert names == [kept.name, "0001-000000-01.parquet"]
        small += commit(folder, trials(2, "w"))
        folder.finish(ids + small)
    assert sorted(read(tmp_path, "trials")["trial_id"]) == sorted(ids + small)
    curves = read(tmp_path, "curves")
    assert len(curves) == 2 * 1500 + 3 * 6
    assert not curves.duplicated(["trial_id", "step"]).any()
    # With a new column they are written again, in several files.
    with open_folder(tmp_path, metrics=["r2"], study_hash="6") as folder:
        folder.finish(ids + small)
    pd.testing.assert_frame_equal(read(tmp_path, "curves").drop(columns="r2"), curves)
    assert not kept.exists()


def test_the_manifest_tells_the_run(tmp_path):
    with open_folder(tmp_path, notes=("9430 rows left out",)) as folder:
        assert Manifest.read(tmp_path).ended is None
        ids = commit(folder, trials(2))
        folder.finish(ids, timings=lambda: {"train": 2.0, "load": 1.0})
    stored = Manifest.read(tmp_path)
    assert stored.ended is not None
    assert stored.ended.endswith("+00:00")
    assert stored.timings == {"train": 2.0, "load": 1.0}
    assert stored.notes == ("9430 rows left out",)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["schema"] == 2
    assert {"fastgd", "study_hash", "packages", "cpu", "threads", "simd_bits", "threading_layer"} <= content.keys()


def test_parameters_come_in_row_groups_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.store.writer._MOST_VALUES_AT_ONCE", 1 << 13)
    monkeypatch.setattr("fastgd.store.disk.files.ROW_GROUP_BYTES", 1 << 18)
    W = np.random.default_rng(0).normal(size=(40, 5000))
    ids = [f"t{i:05d}" for i in range(40)]
    with open_folder(tmp_path) as folder, folder.writer() as cohort:
        cohort.parameters(ids, W)
        cohort.commit(trials(40))
    table = pq.ParquetFile(next((tmp_path / "parameters").glob("*.parquet")))
    assert table.metadata.num_row_groups == 6
    np.testing.assert_array_equal(np.stack(table.read()["parameters"].to_numpy()), W)


# Size and speed.


def test_a_hundred_thousand_trials_are_committed(tmp_path):
    ids = np.array([f"{i:016x}" for i in range(100_000)], dtype=object)
    rows = trials(100_000, trial_id=ids)
    with open_folder(tmp_path) as folder:
        with folder.writer() as cohort:
            for checkpoint in range(5):
                cohort.append("curves", block(ids, checkpoint))
            cohort.commit(rows)
        folder.finish(ids)
    assert len(fastgd.load(tmp_path).curves) == 500_000


def test_curves_stream_in_bounded_memory(tmp_path):
    code = """
import resource
ids = np.array([f"{i:016x}" for i in range(1000)], dtype=object)
rows, peaks = trials(1000, trial_id=ids), []
with open_folder(Path(sys.argv[1])) as folder:
    for count in (300, 4000):  # 4 million rows hold 300 MB
        with folder.writer() as cohort:
            for checkpoint in range(count):
                cohort.append("curves", block(ids, checkpoint))
            cohort.commit(rows.assign(trial_id=[f"{count}-{i}" for i in range(1000)]))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    folder.finish([])
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks)
"""
    child = in_a_child(code, tmp_path)
    peaks = json.loads(child.communicate()[0])
    assert child.returncode == 0
    assert peaks[2] - peaks[0] < 100, peaks  # MB


def test_a_manifest_survives_the_round_trip(tmp_path):
    written = manifest(notes=("a", "b"), timings={"train": 1.5}, ended="2025-01-01T00:00:01+00:00")
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
