"""A part that is written in pieces: files that are rotated, and rows that a later writer carries over."""

import contextlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import block, files, manifest, open_folder, read, trials

from fastgd.store import Columns, Contents, Folder, Manifest
from fastgd.store.disk.new_files import temporary
from fastgd.store.writer import Names

IDS = [f"t{i:05d}" for i in range(3)]
STARTS = 5


def open_swarms(path, **options):
    return Folder.open(
        path,
        manifest=manifest(),
        study_toml='name = "sample"\n',
        columns=Columns(("lr",), coordinates=2, slots=("velocity",)),
        **options,
    )


def lanes(rows: int) -> dict:
    """What names some rows of a study on landscapes, a row for each lane."""
    number = np.arange(rows)
    return {"trial_id": Names(IDS, number % len(IDS)), "start": number // len(IDS)}


def curves_of(step: int, rows: int) -> dict:
    loss = np.exp(-0.1 * step) * np.arange(1.0, rows + 1)
    return lanes(rows) | {"step": step, "loss": loss, "lr": np.ma.masked_less(loss, 0.5), "x_0": loss, "x_1": np.nan}


def trials_of(rows: int) -> dict:
    names = {"problem": "p", "status": Names(["converged", "diverged"], np.arange(rows) % 2)}
    return lanes(rows) | names | {"in_study": True, "final_loss": np.arange(rows) / 3, "lr": 0.1}


@contextlib.contextmanager
def blocks_are_large_from(rows: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastgd.store.writer.LARGE_BLOCK_ROWS", rows)
        patch.setattr("fastgd.store.disk.files.ROW_GROUP_ROWS", 7)
        patch.setattr("fastgd.store.disk.rows.ROW_GROUP_ROWS", 7)
        yield


def all_rows(path) -> dict[str, pd.DataFrame]:
    kinds = [kind for kind in ("trials", "curves", "trajectories", "parameters") if (path / kind).exists()]
    found = {kind: Contents.read(path).table(kind).to_pandas() for kind in kinds}
    return {kind: rows.astype(dict.fromkeys(rows.select_dtypes("category"), object)) for kind, rows in found.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for kind, rows in one.items():
        pd.testing.assert_frame_equal(rows, other[kind], check_exact=True)


def write_steps(writer, low: int, high: int, rows: int, cuts=()) -> None:
    for step in range(low, high):
        writer.append("curves", curves_of(step, rows), rows)
        if step % 3 == 1:
            writer.append("trajectories", lanes(rows) | {"step": step, "x": 0.5 * step, "slot.velocity": np.nan}, rows)
        if step % 4 == 3:
            writer.append("trials", trials_of(rows), rows)
        if step in cuts:
            writer.rotate()


@given(
    rows=st.integers(1, 10), steps=st.integers(4, 9), cuts=st.sets(st.integers(0, 8)), large=st.integers(1, 12),
    in_thread=st.booleans(),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_a_part_of_a_swarm_in_pieces_is_the_part_in_one_go(tmp_path_factory, rows, steps, cuts, large, in_thread):
    found = []
    for own in ((), cuts):
        path = tmp_path_factory.mktemp("swarm")
        with blocks_are_large_from(large), open_swarms(path) as folder:
            with folder.writer(in_thread=in_thread) as writer:
                write_steps(writer, 0, steps, rows, own)
                writer.commit(name="part")
            folder.finish(dict.fromkeys(IDS, STARTS))
        found.append(all_rows(path))
        assert not [name for name in files(path) if "/." in name]
    assert_same(*found)
    assert len(found[0]["curves"]) == rows * steps


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("large", [1, 12], ids=["as a table", "gathered"])
def test_a_column_may_be_made_where_it_is_written(tmp_path, in_thread, large):
    found = []
    for name, make in (("made", lambda: np.arange(9.0)), ("given", np.arange(9.0))):
        path = tmp_path / name
        with blocks_are_large_from(large), open_swarms(path) as folder, folder.writer(in_thread=in_thread) as writer:
            writer.append("curves", curves_of(0, 9) | {"param_norm": make}, 9)
            writer.append("trials", trials_of(9), 9)
            writer.commit(name="part")
        found.append(all_rows(path))
    assert_same(*found)
    assert found[0]["curves"]["param_norm"].tolist() == list(range(9))


@pytest.mark.parametrize("rows", [2, 9], ids=["in memory", "in part in a file"])
def test_the_rows_of_a_small_part_become_those_of_another_one(rows, tmp_path):
    """Those of which some are in a file become none."""
    ids = [f"t{i}" for i in range(rows)]
    with blocks_are_large_from(7), open_folder(tmp_path / "one") as folder, folder.writer() as whole:
        with folder.writer() as part:
            part.append("curves", block(ids, 0))
            part.parameters(ids, np.ones((rows, 2)))
            assert part.hand_over(whole) == (rows < 7)
            if rows >= 7:
                part.commit(trials(rows, trial_id=ids))
        whole.append("curves", block(["other"], 0))
        whole.commit(trials(rows + 1, trial_id=[*ids, "other"]) if rows < 7 else trials(1, trial_id=["other"]))
        assert len(Contents.read(tmp_path / "one").trials) == 1 + (rows >= 7)
    found = all_rows(tmp_path / "one")
    assert sorted(found["trials"]["trial_id"]) == sorted(found["curves"]["trial_id"]) == ["other", *ids]
    assert found["parameters"]["trial_id"].tolist() == ids
    assert not [name for name in files(tmp_path / "one") if "/." in name]


def test_what_fails_in_the_thread_of_a_writer_fails_the_commit(tmp_path):
    with blocks_are_large_from(1), open_swarms(tmp_path) as folder:
        with folder.writer(in_thread=True) as writer:
            writer.append("curves", curves_of(0, 9) | {"param_norm": lambda: 1 // 0}, 9)
            writer.append("trials", trials_of(9), 9)
            with pytest.raises(ZeroDivisionError):
                writer.commit(name="part")
        assert not [name for name in files(tmp_path) if name.endswith(".parquet")]


@pytest.mark.full
@given(rows=st.integers(1, 10), first=st.integers(1, 8), lost=st.integers(0, 3), large=st.integers(1, 12))
@settings(max_examples=10, deadline=None)
def test_a_part_that_goes_on_from_rotated_files_is_the_part_in_one_go(tmp_path_factory, rows, first, lost, large):
    """What came after the rotation is lost, and so is what stands in the rotated files of later steps."""
    steps, found = 9, []
    whole, path = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("pieces")
    with blocks_are_large_from(large):
        with open_swarms(whole) as folder, folder.writer() as writer:
            write_steps(writer, 0, steps, rows)
            writer.commit(name="part")
        with open_swarms(path) as folder, folder.writer(in_thread=True) as writer:
            write_steps(writer, 0, first, rows)
            rotated = writer.rotate()
            write_steps(writer, first, first + lost, rows)
        assert all(file.exists() for file in rotated)
        with open_swarms(path, keep=lambda _: rotated) as folder, folder.writer() as writer:
            writer.carry(rotated, IDS, first)
            write_steps(writer, first, steps, rows)
            again = writer.rotate()
            assert not set(again) & set(rotated)
            writer.commit(name="part")
            folder.kept.clear()
            folder.settle(dict.fromkeys(IDS, STARTS))
        found = [all_rows(each) for each in (whole, path)]
        assert not [name for name in files(path) if "/." in name]
    assert_same(*found)


def test_a_cohort_that_is_rotated_and_carried(tmp_path):
    weights = np.arange(9.0).reshape(3, 3)
    with open_folder(tmp_path / "whole") as folder, folder.writer() as writer:
        for checkpoint in range(4):
            writer.append("curves", block(IDS, checkpoint))
        writer.parameters(IDS, weights)
        writer.commit(trials(3))
    with open_folder(tmp_path / "cut") as folder, folder.writer() as writer:
        for checkpoint in range(3):
            writer.append("curves", block(IDS, checkpoint))
            rotated = writer.rotate()
        assert [path.name for path in rotated] == [f".0000-000000-{number:02d}.parquet" for number in range(3)]
        assert [pq.read_table(path).num_rows for path in rotated] == [3, 3, 3]
        assert writer.rotate() == rotated  # there is nothing new
        writer.append("curves", block(IDS, 3))
        writer.parameters(IDS, weights)
        writer.commit(trials(3))
        assert [path.name for path in Contents.read(folder.path).curves] == [
            f"0000-000000-{number:02d}.parquet" for number in range(4)
        ]
    with open_folder(tmp_path / "carried") as folder:
        curves = Contents.read(tmp_path / "cut").curves
        with folder.writer() as writer:
            writer.carry(curves, IDS[:2], 32)
            writer.commit(trials(2))
    for kind in ("trials", "curves", "parameters"):
        pd.testing.assert_frame_equal(read(tmp_path / "whole", kind), read(tmp_path / "cut", kind))
    expected = read(tmp_path / "whole", "curves").query("trial_id != @IDS[2] and step <= 32")
    pd.testing.assert_frame_equal(read(tmp_path / "carried", "curves"), expected.reset_index(drop=True))


def test_what_was_rotated_is_swept_unless_it_is_kept(tmp_path):
    before = [".lock", "manifest.json", "study.toml"]
    with open_swarms(tmp_path) as folder, folder.writer() as writer:
        write_steps(writer, 0, 5, 4)
        rotated = writer.rotate()
    kept = [str(path.relative_to(tmp_path)) for path in rotated]
    assert files(tmp_path) == sorted(before + kept)
    assert not Contents.read(tmp_path).trials
    with open_swarms(tmp_path, keep=lambda _: rotated) as folder:
        folder.finish({})
        with folder.writer() as writer:
            writer.append("curves", curves_of(0, 1), 1)
            (other,) = writer.rotate()
        assert other.name == ".0000-000001-00.parquet"
    assert files(tmp_path) == sorted([*before, *kept, "curves/.0000-000001-00.parquet"])
    with open_swarms(tmp_path):
        assert files(tmp_path) == before


def test_a_commit_that_was_interrupted_leaves_the_rotated_files_to_go_on_from(tmp_path, monkeypatch):
    with open_swarms(tmp_path) as folder, contextlib.suppress(KeyboardInterrupt), folder.writer() as writer:
        write_steps(writer, 0, 3, 2)
        rotated = writer.rotate()
        monkeypatch.setattr(writer, "_publish_record", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        writer.commit(name="part")
    assert [path.exists() for path in rotated] == [False, False]
    with open_swarms(tmp_path, keep=lambda _: rotated) as folder, folder.writer() as writer:
        writer.carry(rotated)
        write_steps(writer, 3, 4, 2)
        writer.commit(name="part")
    assert len(all_rows(tmp_path)["curves"]) == 8
    with open_swarms(tmp_path) as folder:
        assert len(all_rows(tmp_path)["curves"]) == 8
    assert not (tmp_path / "curves" / rotated[0].name.removeprefix(".")).exists()


def test_trials_that_ran_out_of_time_go_on_in_a_part_with_rotated_files(tmp_path):
    with open_folder(tmp_path) as folder, folder.writer() as writer:
        writer.append("curves", block(IDS, 0))
        writer.commit(trials(3, status="timeout"))
    with open_folder(tmp_path) as folder:
        stored = Contents.read(tmp_path).curves
        with folder.writer() as writer:
            writer.carry(stored, IDS)
            writer.rotate()
            writer.append("curves", block(IDS, 1))
            writer.commit(trials(3))
        folder.finish(IDS)
    assert read(tmp_path, "trials")["status"].eq("completed").all()
    assert read(tmp_path, "curves")["step"].tolist() == [0, 16] * 3


def test_only_parameters(tmp_path):
    with open_folder(tmp_path) as folder:
        with folder.writer() as writer:
            writer.append("curves", block(IDS, 0))
            writer.commit(trials(3))
        with folder.writer(parameters_only=True) as writer:
            writer.append("curves", block(IDS, 0))
            writer.carry(Contents.read(tmp_path).curves, IDS, 0)
            writer.parameters(IDS, np.ones((3, 2)))
            writer.commit(trials(3))
        assert Contents.read(tmp_path).parameter_ids() == set(IDS)
        folder.finish(IDS)
    assert len(read(tmp_path, "curves")) == len(read(tmp_path, "trials")) == 3
    assert Manifest.read(tmp_path).ended
    assert not list(tmp_path.glob("*/.*")), temporary(tmp_path)
