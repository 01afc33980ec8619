"""Results that changed after they were written are refused by name, and `fastgd verify --repair` saves the rest."""

import hashlib
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as pds
import pyarrow.parquet as pq
import pytest
from store_samples import commit, configured, files, open_folder, read, trials
from typer.testing import CliRunner

import fastgd
from fastgd.cli.app import app
from fastgd.common.errors import InputError
from fastgd.store import Contents, Manifest
from fastgd.store.disk import files as store_files
from fastgd.store.disk.seal import check, read_tail
from fastgd.store.surface_files import Surface, SurfaceInfo, keep_surfaces, read_surfaces, write_surface
from fastgd.store.verifying.whole_curves import CurveCheck

STUDY = 'name = "sample"\nepochs = 2\n[record]\nparameters = "none"\n'
LEGACY = Path(__file__).parent / "data" / "schema_1"


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Forty trials in two finished parts, in row groups of thirty rows."""
    monkeypatch.setattr(store_files, "ROW_GROUP_ROWS", 30)
    write(tmp_path / "r")
    return tmp_path / "r"


def write(path: Path, prefixes: str = "ab") -> None:
    """Run a study: what is missing is committed, as a runner does."""
    rows = [configured(trials(20, prefix, steps=32)) for prefix in prefixes]
    with open_folder(path, study_toml=STUDY) as folder:
        for part in rows:
            missing = part[~part["trial_id"].isin(folder.committed())]
            if len(missing):
                commit(folder, missing, parameters=True)
        folder.finish([name for part in rows for name in part["trial_id"]])


def content(path: Path) -> dict[str, pd.DataFrame]:
    results = fastgd.load(path)
    frames = {kind: results.table(kind).to_pandas() for kind in ("trials", "curves", "parameters")}
    keys = {kind: ["trial_id", "step"] if kind == "curves" else ["trial_id"] for kind in frames}
    frames["parameters"]["parameters"] = frames["parameters"]["parameters"].map(tuple)
    return {kind: frame.sort_values(keys[kind], ignore_index=True) for kind, frame in frames.items()}


def the(path: Path, kind: str) -> Path:
    return sorted((path / kind).glob("*.parquet"))[0]


def flip(path: Path, at: int, bit: int = 2) -> None:
    changed = bytearray(path.read_bytes())
    changed[at] ^= 1 << bit
    path.write_bytes(changed)


def body_of(path: Path, group: int, column: str) -> int:
    """Return a byte in the middle of the last page of a column in a row group."""
    chunks = [pq.read_metadata(path).row_group(group).column(i) for i in range(pq.read_metadata(path).num_columns)]
    (chunk,) = (each for each in chunks if each.path_in_schema.split(".")[0] == column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start + chunk.total_compressed_size - 5


# --- seals


@pytest.mark.full
def test_a_seal_covers_each_bit_of_headers_and_footer(stored):
    """Where page checksums alone would let some through: a reader takes a column for one of another encoding."""
    path = the(stored, "curves")
    good, expected = path.read_bytes(), read(stored, "curves")
    with path.open("rb") as file:
        assert check(file)
        tail = read_tail(file)
    places = [offset + i for offset, length in tail.positions.tolist() for i in range(length)]
    for place in [*range(4), *places[::7], *range(tail.footer_at - 200, len(good), 5)]:
        flip(path, place, place % 8)
        with pytest.raises(InputError, match=f"{path.name} is damaged"):
            Contents.read(stored)
        path.write_bytes(good)
    pd.testing.assert_frame_equal(read(stored, "curves"), expected)


def test_a_flipped_bit_in_a_page_is_one_message_by_whoever_reads(stored):
    path = the(stored, "trials")
    flip(path, body_of(path, 0, "final_loss"))
    message = rf"{path} is damaged .*CRC.*fastgd verify {stored} --repair"
    for use in (lambda: fastgd.load(stored).trials, lambda: fastgd.load(stored).best()):
        with pytest.raises(InputError, match=message):
            use()
    flip(path, body_of(path, 0, "trial_id"))
    with pytest.raises(InputError, match=message):
        open_folder(stored)  # to extend it: what cannot be read is not what cannot be written
    for command in (["best", str(stored)], ["plot", str(stored), "-o", str(stored.parent / "p.png")]):
        ended = CliRunner().invoke(app, command)
        assert ended.exit_code == 2
        assert ended.stderr.count("\n") == 1
        assert "is damaged" in ended.stderr


def test_plain_readers_pass_over_the_seal(stored):
    assert len(pd.read_parquet(stored / "curves")) == 120
    assert pds.dataset(stored / "curves").to_table().num_rows == 120


def test_files_of_earlier_versions_are_read_and_named():
    for name in ("rates", "valley"):
        found = fastgd.verify(LEGACY / name)
        assert found.ok
        assert {each.problem for each in found.remarks} == {"has no checksums: an earlier version of fastgd wrote it"}
        assert len(fastgd.load(LEGACY / name).trials) == found.trials
        assert fastgd.load(LEGACY / name).study["name"]


# --- verify and repair


def test_what_is_whole_is_left_alone(stored):
    before = {path: (stored / path).read_bytes() for path in files(stored)}
    assert fastgd.verify(stored).ok
    assert fastgd.verify(stored, repair=True).ok
    assert {path: (stored / path).read_bytes() for path in files(stored)} == before


@pytest.mark.parametrize("kind", ["trials", "curves", "parameters"])
@pytest.mark.parametrize("column", ["trial_id", "loss"])
def test_good_row_groups_are_kept(stored, kind, column):
    """A damaged one costs its own trials, and nothing more."""
    whole = content(stored)
    path = the(stored, kind)
    if kind != "curves":
        column = {"loss": {"trials": "final_loss", "parameters": "parameters"}[kind]}.get(column, column)
    groups = pq.ParquetFile(path)
    ids = groups.read_row_group(1, columns=["trial_id"])["trial_id"].unique().to_pylist()
    flip(path, body_of(path, 1, column))
    found = fastgd.verify(stored)
    assert [each.file for each in found.findings] == [f"{kind}/{path.name}"]
    assert "1 of its" in found.findings[0].problem
    repaired = fastgd.verify(stored, repair=True)
    assert (repaired.aside / kind / path.name).exists()
    assert repaired.left == ()
    kept = Contents.read(stored)
    lost = set() if kind == "parameters" else set(ids)
    if kind == "curves" and column == "trial_id":  # whose rows they were follows from the curves that are whole
        assert lost <= set(found.again)
    else:
        assert kept.trial_ids() == set(whole["trials"]["trial_id"]) - lost
    if kind == "parameters":
        assert kept.parameter_ids() == set(whole["trials"]["trial_id"]) - set(ids)
        return
    assert set(found.again) >= lost
    write(stored)
    for each, frame in content(stored).items():
        assert frame["trial_id"].tolist() == whole[each]["trial_id"].tolist()
    assert fastgd.verify(stored).ok


@pytest.mark.parametrize("kind", ["trials", "curves", "parameters", "manifest.json", "study.toml"])
@pytest.mark.parametrize("how", ["deleted", "cut", "flipped"])
def test_any_file_is_repaired(stored, kind, how):
    whole = content(stored)
    path = stored / kind if "." in kind else the(stored, kind)
    if how == "deleted":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        flip(path, path.stat().st_size - 60)
    found = fastgd.verify(stored)
    assert path.name in [Path(each.file).name for each in found.findings]
    repaired = fastgd.verify(stored, repair=True)
    assert {each.file for each in repaired.left} <= {"study.toml"}
    if how != "deleted":
        assert (repaired.aside / path.relative_to(stored)).read_bytes()
    write(stored)
    found = content(stored)
    for each in ("trials", "curves"):
        pd.testing.assert_frame_equal(found[each][["trial_id"]], whole[each][["trial_id"]])
    assert fastgd.verify(stored).ok


def test_the_command_names_file_and_trials(stored):
    invoke = CliRunner().invoke
    assert invoke(app, ["verify", str(stored)]).exit_code == 0
    path = the(stored, "curves")
    path.unlink()
    ended = invoke(app, ["verify", str(stored), "--json"])
    found = json.loads(ended.stdout)
    assert ended.exit_code == 1
    assert found["findings"][0] == {"file": f"curves/{path.name}", "problem": "is missing", "trials": found["again"]}
    assert len(found["again"]) == 40
    ended = invoke(app, ["verify", str(stored)])
    assert "a00000, a00001, a00002 and 37 more" in " ".join(ended.stdout.split())
    assert invoke(app, ["verify", str(stored), "--repair"]).exit_code == 1
    write(stored)
    assert invoke(app, ["verify", str(stored)]).exit_code == 0
    assert invoke(app, ["verify", str(stored.parent / "none")]).exit_code == 2


def test_a_repair_takes_the_lock(stored):
    with open_folder(stored), pytest.raises(InputError, match="another process writes to"):
        fastgd.verify(stored, repair=True)


# --- parts


def test_parts_say_which_they_are(stored):
    other = stored.parent / "other"
    write(other)
    for kind in ("trials", "curves", "parameters"):
        path = the(stored, kind)
        good = path.read_bytes()
        shutil.copy(the(other, kind), path)
        with pytest.raises(InputError, match=f"{path.name} belongs to another results folder"):
            fastgd.load(stored)
        path.write_bytes(the(stored, "trials" if kind == "curves" else "curves").read_bytes())
        with pytest.raises(InputError, match=rf"{path.name} is .* under another name"):
            fastgd.load(stored)
        path.write_bytes(good)
    assert fastgd.verify(stored).ok


def test_a_finished_folder_without_its_part_is_refused(stored):
    path = the(stored, "trials")
    path.unlink()
    for use in (fastgd.load, open_folder):
        with pytest.raises(InputError, match=f"{path.name} is missing: restore it, or `fastgd verify"):
            use(stored)


def test_a_part_of_an_earlier_version_that_stands_twice_is_refused(tmp_path):
    shutil.copytree(LEGACY / "rates", tmp_path / "r")
    path = the(tmp_path / "r", "trials")
    shutil.copy(path, path.with_name("0001-000001.parquet"))
    with pytest.raises(InputError, match=r"trials stand twice .*fastgd verify"):
        fastgd.load(tmp_path / "r")
    assert any("twice" in each.problem for each in fastgd.verify(tmp_path / "r").findings)


def test_a_crash_after_a_compaction_is_no_damage(stored):
    """The manifest of the run before names parts of the generation before."""
    text = (stored / "manifest.json").read_bytes()
    with open_folder(stored, study_toml=STUDY, study_hash="6") as folder:
        folder.finish(list(folder.committed())[1:])
    (stored / "manifest.json").write_bytes(text)
    assert len(fastgd.load(stored).trials) == 40
    assert [each.file for each in fastgd.verify(stored).findings] == ["study.toml"]


def test_a_crash_between_manifest_and_study_is_mended(stored):
    (stored / "study.toml").write_text("old = 1\n")
    with pytest.raises(InputError, match=r"study\.toml is not the study that manifest\.json names"):
        _ = fastgd.load(stored).study
    assert len(fastgd.load(stored).trials) == 40
    write(stored)
    assert fastgd.load(stored).study["name"] == "sample"


def test_folders_of_earlier_versions_get_an_id_when_they_are_extended(tmp_path):
    write(tmp_path / "r", "a")
    text = json.loads((tmp_path / "r" / "manifest.json").read_text())
    for name in ("folder", "parts", "surfaces", "checksum"):
        del text[name]
    (tmp_path / "r" / "manifest.json").write_text(json.dumps(text))
    for kind in ("trials", "curves", "parameters"):  # as they wrote them
        path = the(tmp_path / "r", kind)
        table = pq.read_table(path)
        footer = {k: v for k, v in table.schema.metadata.items() if k not in (b"fastgd.part", b"fastgd.folder")}
        pq.write_table(table.replace_schema_metadata(footer), path)
    write(tmp_path / "r", "ab")
    assert len(Manifest.read(tmp_path / "r").folder) == 32
    assert fastgd.verify(tmp_path / "r").ok
    assert len(fastgd.load(tmp_path / "r").trials) == 40


def test_a_surface_that_is_gone_is_missed(stored):
    axis = np.arange(3.0)
    with open_folder(stored, study_toml=STUDY, study_hash="6") as folder:
        folder.begin()
        write_surface(stored, 0, Surface(SurfaceInfo("p", (0, 1), [0.0], [], []), axis, axis, np.outer(axis, axis)), "")
        folder.finish(list(folder.committed()))
    assert len(fastgd.load(stored).surfaces) == 1
    (stored / "surfaces" / "0000.parquet").unlink()
    with pytest.raises(InputError, match=r"surfaces/0000\.parquet is missing: restore it, or run the study again"):
        _ = fastgd.load(stored).surfaces
    assert [each.file for each in fastgd.verify(stored).findings] == ["surfaces/0000.parquet"]


# --- files of others, and links


def test_files_of_others_are_never_touched(stored):
    buffer = io.BytesIO()
    pd.DataFrame({"mine": [1.0]}).to_parquet(buffer)
    mine = [
        stored / kind / name
        for kind in ("curves", "parameters", "surfaces")
        for name in ("notes.txt", "mine.parquet", "0000-000005-00.parquet", "0001.parquet", "1abc.parquet")
    ]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(buffer.getvalue())
    found = fastgd.verify(stored)
    assert found.ok
    assert "curves/0000-000005-00.parquet" in [each.file for each in found.remarks]
    keep_surfaces(stored, 0)
    assert read_surfaces(stored) == []
    write(stored, "abc")
    flip(the(stored, "trials"), 60)
    fastgd.verify(stored, repair=True)
    write(stored, "abcd")
    assert all(path.read_bytes() == buffer.getvalue() for path in mine)
    assert len(fastgd.load(stored).trials) == 80
    axis = np.arange(3.0)
    surface = Surface(SurfaceInfo("p", (0, 1), [0.0, 0.0], [], []), axis, axis, np.outer(axis, axis))
    write_surface(stored, 0, surface, "")
    with pytest.raises(InputError, match=r"0001\.parquet is damaged or was not written by fastgd"):
        write_surface(stored, 1, surface, "")


@pytest.mark.parametrize("kind", ["trials", "curves", "parameters", "trajectories", "surfaces"])
def test_a_linked_folder_is_not_written_to(stored, kind):
    theirs = stored.parent / "theirs"
    theirs.mkdir()
    for path in (stored / kind).glob("*.parquet"):
        shutil.copy(path, theirs)
    shutil.copy(the(stored, "curves"), theirs / "0000-000077-00.parquet")
    (theirs / ".0000-000078-00.parquet").write_text("")
    shutil.rmtree(stored / kind, ignore_errors=True)
    (stored / kind).symlink_to(theirs)
    before = files(theirs)
    for use in (lambda: write(stored), lambda: fastgd.verify(stored, repair=True)):
        with pytest.raises(InputError, match=f"{kind} is a symbolic link, and fastgd writes and deletes only"):
            use()
    assert files(theirs) == before


def test_a_linked_temporary_name_is_not_followed(stored):
    mine = stored.parent / "mine.txt"
    mine.write_text("years of work")
    for name in (".manifest.json", ".study.toml", "curves/.0000-000003-00.parquet"):
        (stored / name).symlink_to(mine)
    write(stored, "abc")
    (stored / ".lock").unlink()
    (stored / ".lock").symlink_to(mine)
    with pytest.raises(InputError, match="lock is a symbolic link"):
        write(stored, "abc")
    assert mine.read_text() == "years of work"


def test_the_folder_itself_may_be_a_link(stored):
    link = stored.parent / "link"
    link.symlink_to(stored)
    write(link, "abc")
    assert len(fastgd.load(link).trials) == 60
    assert fastgd.verify(link).ok


def test_a_repair_that_others_files_stand_in_the_way_of_changes_nothing(stored):
    theirs = stored / "trials" / "mine.parquet"
    pd.DataFrame({"mine": [1.0]}).to_parquet(theirs)
    flip(the(stored, "curves"), body_of(the(stored, "curves"), 0, "loss"))
    before = {name: (stored / name).read_bytes() for name in files(stored)}
    with pytest.raises(InputError, match=r"mine\.parquet was not written by fastgd: move it out"):
        fastgd.verify(stored, repair=True)
    (found,) = (each for each in fastgd.verify(stored).findings if each.file == "trials/mine.parquet")
    assert not found.trials
    assert before == {name: (stored / name).read_bytes() for name in before}
    theirs.unlink()
    assert not fastgd.verify(stored, repair=True).left


def test_a_damaged_file_behind_a_link_is_left_to_the_user(stored):
    path, real = the(stored, "trials"), stored.parent / "elsewhere.parquet"
    path.rename(real)
    path.symlink_to(real)
    assert fastgd.verify(stored).ok
    flip(real, real.stat().st_size - 100)
    before = {name: (stored / name).read_bytes() for name in files(stored)}
    with pytest.raises(InputError, match="is a symbolic link: restore what it leads to"):
        fastgd.verify(stored, repair=True)
    assert before == {name: (stored / name).read_bytes() for name in before}


def test_a_copy_of_a_part_of_an_earlier_version_is_told_as_readers_tell_it(tmp_path):
    shutil.copytree(LEGACY / "rates", tmp_path / "r")
    path = the(tmp_path / "r", "trials")
    shutil.copy(path, path.with_name("copy.parquet"))
    assert [each.file for each in fastgd.verify(tmp_path / "r").findings] == ["trials/copy.parquet"]
    with pytest.raises(InputError, match=r"copy\.parquet was not written by fastgd"):
        fastgd.load(tmp_path / "r")


def test_what_holds_no_results_is_not_locked(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no fastgd results"):
        fastgd.verify(tmp_path, repair=True)
    assert files(tmp_path) == ["notes.txt"]


def test_a_manifest_that_is_gone_is_told_with_the_way_to_get_it_back(stored):
    (stored / "manifest.json").unlink()
    for use in (fastgd.load, open_folder):
        with pytest.raises(InputError, match=r"manifest\.json is missing: .*fastgd verify .* --repair"):
            use(stored)
    fastgd.verify(stored, repair=True)
    write(stored)
    assert fastgd.verify(stored).ok


@pytest.mark.parametrize("text", [b"record = [1]\n", b"a = " + b"[" * 3000, b"x = = 1\n", b"\xff\xfe"])
def test_a_study_that_is_none_is_told(stored, text):
    (stored / "study.toml").write_bytes(text)
    replace(Manifest.read(stored), study_hash=hashlib.sha256(text).hexdigest()).write(stored)
    assert {each.file for each in fastgd.verify(stored).findings} <= {"study.toml"}
    if not text.startswith(b"record"):
        with pytest.raises(InputError, match=r"study\.toml is damaged"):
            _ = fastgd.load(stored).study


@pytest.mark.parametrize("kind", ["trials", "curves"])
def test_what_cannot_be_read_is_not_taken_for_damaged(stored, kind, monkeypatch):
    """It may be whole: nothing is moved aside, and no trial computed again, for want of a right."""
    path, before, opens = the(stored, kind), files(stored), Path.open

    def refusing(self, *options, **named):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opens(self, *options, **named)

    monkeypatch.setattr(Path, "open", refusing)
    for use in (fastgd.verify, fastgd.load, lambda path: fastgd.verify(path, repair=True)):
        with pytest.raises(InputError, match=f"cannot read {path}: Permission denied"):
            use(stored)
    assert set(files(stored)) == {*before, ".lock"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipes_are_not_waited_for(stored):
    os.mkfifo(stored / "trials" / "0001-000009.parquet")
    for use in (fastgd.verify, fastgd.load):
        with pytest.raises(InputError, match="is no file: move it out"):
            use(stored)


@pytest.mark.parametrize("name", ["manifest.json", "study.toml"])
def test_what_is_no_file_is_not_read(stored, name):
    (stored / name).unlink()
    (stored / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=f"{name} is no file"):
        _ = fastgd.load(stored).study
    assert {each.file for each in fastgd.verify(stored).findings} == {name}


@pytest.mark.parametrize("name", ["../../mine.parquet", "x/0001-000000.parquet", "0" * 300 + ".parquet", "\0.parquet"])
@pytest.mark.parametrize("where", ["parts", "surfaces"])
def test_a_manifest_names_files_of_its_own_folder(stored, name, where):
    replace(Manifest.read(stored), **{where: {name: 1} if where == "parts" else [name]}).write(stored)
    with pytest.raises(InputError, match=r"manifest\.json is damaged: .* is not the name of a file of results"):
        fastgd.load(stored)
    assert [each.file for each in fastgd.verify(stored).findings] == ["manifest.json"]
    assert not fastgd.verify(stored, repair=True).left


@pytest.mark.parametrize("limit", ["", "max_seconds = 1.0\n"])
def test_parameters_that_there_was_no_time_for_are_no_damage(tmp_path, limit):
    rows = configured(trials(20, "a", steps=32))
    with open_folder(tmp_path / "r", study_toml=f'name = "sample"\n{limit}[record]\nparameters = "all"\n') as folder:
        commit(folder, rows)
        folder.finish(rows["trial_id"].tolist())
    found = fastgd.verify(tmp_path / "r")
    assert found.ok == bool(limit)
    assert [each.problem for each in (*found.findings, *found.remarks)] == ["lacks those of trials"]


def test_a_curve_with_rows_on_both_sides_of_a_missing_file_is_not_whole():
    curves = CurveCheck(trials=2)
    curves.follow(np.array([0, 1]), np.array([0, 0]))
    curves.skip()  # a file that is missing right after the block that trial 0 is in
    curves.follow(np.array([0]), np.array([32]))
    assert curves.broken(np.array([32, 0]), np.zeros(2, bool)).tolist() == [True, False]
