"""A process that is killed anywhere leaves a folder whose committed trials read back exactly once."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from cohorts import in_full
from store_samples import files, read
from store_victim import CHECKPOINTS, COHORTS, first_run, second_run

from fastgd.analysis import load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and kills")
VICTIM = Path(__file__).with_name("store_victim.py")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "results"
    first_run(folder)
    second_run(folder)
    return folder


def verify(folder: Path, log: Path, reference: Path) -> None:
    """Check what a killed process left, then finish its work and check that nothing is lost or doubled."""
    done = list(dict.fromkeys(log.read_text().split())) if log.exists() else []
    if done:
        check_committed(folder, done)
    second_run(folder)
    for kind in ("trials", "curves"):
        expected, found = (
            read(path, kind).drop(columns=["cohort_id"], errors="ignore") for path in (reference, folder)
        )
        pd.testing.assert_frame_equal(found, expected)
    assert [path.split("/")[0] for path in files(folder)] == [path.split("/")[0] for path in files(reference)]


def check_committed(folder: Path, done: list[str]) -> None:
    results = load(folder)
    ids = results.trials["trial_id"].tolist()
    assert len(ids) == len(set(ids))
    done = list(dict.fromkeys(done))  # what was not finished is committed once more
    expected = [trial_id for name in done for trial_id in COHORTS[name]]
    pending = next((COHORTS[name] for name in COHORTS if name not in done), [])
    assert sorted(ids) in (sorted(expected), sorted(expected + pending)), (
        "the commit under way counts whole or not at all"
    )
    assert results.curves.groupby("trial_id").size().to_dict() == dict.fromkeys(ids, CHECKPOINTS)
    for trial_id in ids:
        assert results.parameters(trial_id).shape == (3,)


@pytest.mark.parametrize(("where", "stride"), [in_full("files", 1), in_full("lines", 2_401)])
def test_a_kill_loses_and_doubles_nothing(tmp_path, reference, where, stride, monkeypatch):
    """Kill before each change to a file, and at lines of the store's code: every 2,401st, as all take minutes."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    subprocess.run([sys.executable, VICTIM, tmp_path, where, str(stride)], check=True, timeout=300)
    killed = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(killed) > 20
    for folder in killed:
        verify(folder, folder.with_suffix(".log"), reference)
