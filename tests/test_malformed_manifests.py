"""What results folders say of themselves: checked by type, refused with one message that names file and key."""

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
from campaign.manifests import results as make_results
from campaign.manifests import unseal

import fastgd
from fastgd import InputError
from fastgd.plots import plot
from fastgd.search.found_rates import FoundRates


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder)
    return folder / "whole"


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "r")
    return tmp_path / "r"


def write_study(folder, text):
    """Put a study in the place of a folder's own, as if it was that of the manifest."""
    (folder / "study.toml").write_text(text)
    unseal(folder / "manifest.json", study_hash=hashlib.sha256(text.encode()).hexdigest())


# key, value, what the message says of them
WRONG = [
    ("packages", [], "packages must be a table, each text, found []"),
    ("packages", {"numba": 1}, "packages must be a table, each text, found {'numba': 1}"),
    ("timings", {"load": "x"}, "timings must be a table, each a number, found {'load': 'x'}"),
    ("threads", "many", "threads must be a whole number, found 'many'"),
    ("threads", True, "threads must be a whole number, found True"),
    ("ended", 3, "ended must be text or null, found 3"),
    ("notes", [1], "notes must be a list, each text, found [1]"),
    ("name", None, "name must be text, found None"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG, ids=[f"{row[0]}={row[1]}" for row in WRONG])
def test_a_manifest_is_checked_by_type(folder, key, value, message):
    file = folder / "manifest.json"
    unseal(file, **{key: value})
    with pytest.raises(InputError) as caught:
        fastgd.load(folder)
    assert str(caught.value).startswith(f"{file} is damaged: {message}; restore it, or see `fastgd verify ")


def test_what_was_changed_is_damaged(folder):
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"threads": 77}))
    with pytest.raises(InputError, match=r"manifest\.json is damaged: it does not match its checksum"):
        fastgd.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"schema": ' + "9" * 5001 + "}", "a whole number of 5,001 digits"),
        ('{"schema": [2]}', r"has schema \[2\]"),
        ("[]", "has schema None"),
    ],
)
def test_a_manifest_that_is_none(folder, text, message):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=rf"manifest\.json .*{message}"):
        fastgd.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer = {}", "optimizer must be a list, each a table, found {}"),
        ("optimizer = [{}]", "optimizer.0 must be a table with a name"),
        ('schedule = [{ name = "constant", then = 3 }]', "schedule.0.then must be a table with a name"),
        ("x = " + "[" * 1000 + "]" * 1000, "tables or lists are nested too deeply"),
        ("x = ", "Invalid value"),
    ],
)
def test_a_study_file_in_a_folder(folder, text, message):
    write_study(folder, text)
    for read in (lambda results: results.study, lambda results: plot(results, "schedule")):
        with pytest.raises(InputError) as caught:
            read(fastgd.load(folder))
        assert str(caught.value).startswith(f"{folder / 'study.toml'} is damaged: {message}")


def test_schedules_that_cannot_be_drawn(folder):
    write_study(folder, 'epochs = 2\noptimizer = [{ name = "sgd" }]\nschedule = [{ name = "cosine", final = "x" }]')
    with pytest.raises(InputError, match=r"study\.toml: what it says cannot be drawn"):
        plot(fastgd.load(folder), "schedule")


@pytest.mark.parametrize("found", [b'{"a": 1}', b"[1]", b"[" * 10_000, b"[[]]", b"\xff"])
def test_footers(folder, found):
    (file,) = (folder / "trials").glob("*.parquet")
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"fastgd.curves": found}), file)
    with pytest.raises(InputError, match=rf"{file.name} is damaged"):
        fastgd.load(folder)


@pytest.mark.parametrize(
    "change", [{"metric": []}, {"rounds": [{}]}, {"points": [{"lr": "x"}]}, {"answers": [[1]]}, {"factor": None}]
)
def test_what_a_search_left(folder, change):
    file = folder / "tune.json"
    unseal(file, **change)
    with pytest.raises(InputError, match=r"tune\.json is damaged"):
        FoundRates.load(folder)


def test_what_a_search_left_and_was_changed(folder):
    file = folder / "tune.json"
    assert FoundRates.load(folder).factor == 3.0
    file.write_text(file.read_text().replace('"factor": 3.0', '"factor": 3.5'))
    with pytest.raises(InputError, match=r"tune\.json is damaged: it does not match its checksum"):
        FoundRates.load(folder)
