"""What a results folder refuses, and that it is left as it was."""

import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_samples import commit, files, in_a_child, open_folder, read, trials

from fastgd.common.errors import InputError
from fastgd.store import Manifest


def refused(tmp_path, message, **options):
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    with pytest.raises(InputError, match=message):
        open_folder(tmp_path, **options)
    assert {path: (tmp_path / path).read_bytes() for path in files(tmp_path)} == before


@pytest.fixture
def stored(tmp_path):
    with open_folder(tmp_path) as folder:
        folder.finish(commit(folder, trials(2)))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "holds the study 'sample', not 'other'.*--out.*--fresh"),
        ({"fingerprints": {"flights": "0" * 64}}, "other data for the problem 'flights'"),
        ({"fingerprints": {"digits": "0" * 64}}, "other data for every problem"),
        ({"fastgd": "0.2.0"}, r"fastgd 0.1.0 \(now 0.2.0\).*--allow-mixed"),
        ({"packages": {"numba": "1.0"}}, r"numba 0.68.1 \(now 1.0\)"),
        ({"cpu": "Another"}, r"CPU A Processor \(now Another\)"),
    ],
)
def test_results_that_must_not_mix_are_refused(stored, changes, message):
    refused(stored, message, **changes)


def test_a_refusal_lets_go_of_the_lock(stored):
    refused(stored, "holds the study", name="other")
    with open_folder(stored) as folder:
        assert len(folder.committed()) == 2


def test_allow_mixed_extends_and_says_so(stored):
    with open_folder(stored, cpu="Another", allow_mixed=True, study_hash="6") as folder:
        folder.finish(list(folder.committed()))
    assert "CPU A Processor (now Another)" in Manifest.read(stored).notes[0]
    refused(stored, "CPU Another")
    refused(stored, "holds the study", name="other", allow_mixed=True)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_problem_that_is_renamed_leaves_its_name_to_other_data(stored, at_once):
    old, both = {"moved": "f" * 64}, {"moved": "f" * 64, "flights": "d" * 64}
    for number, fingerprints in enumerate([both] if at_once else [old, both]):
        with open_folder(stored, fingerprints=fingerprints, study_hash=f"6{number}") as folder:
            folder.finish(list(folder.committed()))
        assert Manifest.read(stored).fingerprints == fingerprints
    refused(stored, "other data for the problem 'flights'", fingerprints={**both, "flights": "0" * 64})
    refused(stored, "other data for the problem 'flights'", fingerprints={"moved": "f" * 64, "flights": "f" * 64})


def test_a_study_may_gain_a_problem(stored):
    both = {"flights": "f" * 64, "digits": "d" * 64}
    with open_folder(stored, fingerprints=both, study_hash="6") as folder:
        folder.finish(commit(folder, trials(1, "u", problem="digits")))
    with open_folder(stored, study_hash="7") as folder:
        folder.finish([])
    assert Manifest.read(stored).fingerprints == both  # the digits' trials are still there


def test_fresh_moves_the_old_results_aside(stored):
    with open_folder(stored, name="other", fresh=True) as folder:
        assert folder.committed() == set()
        folder.finish(commit(folder, trials(1)))
    (aside,) = stored.parent.glob(f"{stored.name}.*Z")
    assert len(read(aside, "trials")) == 2
    assert len(read(stored, "trials")) == 1


def test_fresh_needs_no_old_results_and_never_moves_something_else(tmp_path):
    with open_folder(tmp_path / "new", fresh=True):
        pass
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    refused(home, "not empty and holds no fastgd results", fresh=True)
    refused(home, "not empty and holds no fastgd results")


def test_damage_is_named(stored):
    path = stored / "manifest.json"
    text = path.read_text()
    path.write_text(text[:40])
    refused(stored, "manifest.json is damaged")
    path.write_text(text.replace('"schema": 2', '"schema": 3'))
    refused(stored, "manifest.json is damaged: it does not match its checksum.*fastgd verify")
    without = text.replace('"checksum"', '"other"')  # as earlier versions wrote them
    path.write_text(without.replace('"schema": 2', '"schema": 3'))
    refused(stored, "has schema 3, and this fastgd reads schemas 1 and 2")
    path.write_text(without.replace('"cpu"', '"gpu"'))
    refused(stored, "damaged: it lacks 'cpu'")
    path.write_text(text)
    (record,) = (stored / "trials").glob("*.parquet")
    content = record.read_bytes()
    record.write_bytes(content[: len(content) // 2])
    refused(stored, f"{record.name} is damaged.*it was cut short.*fastgd verify {stored} --repair")
    record.write_bytes(content)
    (curves,) = (stored / "curves").glob("*.parquet")
    curves.rename(stored / "elsewhere.parquet")
    refused(stored, f"{curves.name} is missing")
    (stored / "elsewhere.parquet").rename(curves)
    pq.write_table(pa.table({"a": [1]}), stored / "trials" / "mine.parquet")
    refused(stored, "mine.parquet was not written by fastgd")
    (stored / "trials" / "mine.parquet").rename(stored / "trials" / "0000-000009.parquet")
    refused(stored, "000009.parquet was not written by fastgd")
    (stored / "trials" / "0000-000009.parquet").write_bytes(record.read_bytes())
    refused(stored, "000009.parquet is trials/0000-000000.parquet under another name")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "results"
    path.write_text("")
    for place in (path, path / "below"):
        with pytest.raises(InputError, match="cannot write to"):
            open_folder(place)


def test_two_processes_cannot_write_at_once(tmp_path):
    with in_a_child(
        "with open_folder(Path(sys.argv[1])) as folder:\n    print('ready', flush=True)\n    sys.stdin.readline()",
        tmp_path,
        stdin=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline() == "ready\n"
        for options in ({}, {"fresh": True}):
            with pytest.raises(InputError, match="another process writes to"):
                open_folder(tmp_path, **options)
        child.communicate("\n")
    with open_folder(tmp_path), pytest.raises(InputError, match="another process writes to"):
        open_folder(tmp_path)  # the child's lock has gone with it; this one is our own


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs POSIX permissions")
def test_a_folder_without_write_permission_is_refused(tmp_path):
    code = """
from fastgd.common.errors import InputError
folder = Path(sys.argv[1])
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)  # root may write anywhere
try:
    open_folder(folder)
except InputError as error:
    print(error)
"""
    closed = tmp_path / "closed"
    with open_folder(closed):
        pass
    for path in [*tmp_path.parents][:3]:
        if path.owner() == closed.owner() and path != path.parent and "pytest" in path.name:
            path.chmod(0o755)
    tmp_path.chmod(0o555)
    closed.chmod(0o555)
    for place in (closed, closed / "new", tmp_path / "new"):
        message = in_a_child(code, place).communicate()[0]
        assert message.startswith(f"cannot write to {place}: Permission denied"), message
    tmp_path.chmod(0o755)
    closed.chmod(0o755)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_message_and_loses_nothing(tmp_path, monkeypatch):
    from fastgd.store.disk import new_files

    with open_folder(tmp_path) as folder:
        first = commit(folder, trials(2))
        monkeypatch.setattr(new_files, "create", lambda path: Path("/dev/full").open("w+b"))  # noqa: SIM115
        with pytest.raises(InputError, match=r"cannot write to .*curves.*No space left"):
            commit(folder, trials(2, "u"))
        monkeypatch.undo()
        assert folder.committed() == set(first)
        second = commit(folder, trials(2, "u"))
        folder.finish(first + second)
    assert len(read(tmp_path, "trials")) == 4
