"""Rows that stream: a study of more of them than memory may hold, with the bits that it has in memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_studies import assert_same

import fastgd
from fastgd.datasets.readers import npz

GROUPS = Path("/sys/fs/cgroup/memory")
LIMIT = 400_000_000  # bytes of a control group, of which a process takes some 250 MB before it reads a row
ROOM = 150_000_000
ROWS, FEATURES = 8 * ROOM // 400, 100
STUDY = {
    "name": "streamed",
    "epochs": 1,
    "batch_size": 64,
    "dtype": "float32",
    "order": "blocks",
    "optimizer": {"name": "momentum", "lr": np.geomspace(1e-3, 1.0, 16).tolist()},
    "record": {"metrics": ["loss", "accuracy", "validation_loss"]},
}
RUN = """
import os, sys
open(sys.argv[1], "w").write(str(os.getpid()))  # before anything is imported, so that all of it counts
import fastgd
study = fastgd.Study.from_toml(sys.argv[2])
fastgd.run(study, sys.argv[3], memory=sys.argv[4], threads=2, progress=False)
"""


@pytest.fixture
def group():
    """A control group with a limit to its memory."""
    folder = GROUPS / f"fastgd-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"control groups of version 1 cannot be made here: {error}")
    yield folder
    folder.rmdir()


def written(path):
    """Write an archive whose rows map as they stand, and leave none of it in memory."""
    random = np.random.default_rng(0)
    X = random.standard_normal((ROWS, FEATURES), np.float32)
    X += np.linspace(-3, 3, FEATURES, dtype=np.float32)
    y = X[:, :5].sum(axis=1) + random.standard_normal(ROWS) > X[:, :5].sum(axis=1).mean()
    for length in range(1, 9):
        np.savez(path, **{"z" * length: np.zeros(0), "X": X[:9], "y": y[:9]})
        if npz.member(path, "X").maps:
            np.savez(path, **{"z" * length: np.zeros(0), "X": X, "y": y.astype(float)})
            break
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


@pytest.mark.full
def test_a_study_of_eight_times_the_room_has_the_bits_that_it_has_in_memory(group, tmp_path, monkeypatch):
    path, streamed = written(tmp_path / "rows.npz"), tmp_path / "streamed.toml"
    problem = {"loss": "logistic", "intercept": True, "standardize": True, "validation": 0.05, "path": str(path)}
    monkeypatch.setenv("FASTGD_COMPILE_AHEAD", "0")
    study = fastgd.Study(**STUDY, problem=problem | {"source": "stream"})
    streamed.write_text(study.to_toml())
    command = [sys.executable, "-c", RUN, group / "tasks", streamed, tmp_path / "streamed", str(LIMIT)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int((group / "memory.max_usage_in_bytes").read_text()) <= LIMIT
    in_memory = fastgd.Study(**STUDY, problem=problem | {"source": "memory"})
    expected = fastgd.run(in_memory, tmp_path / "memory", threads=2, progress=False)
    assert_same(fastgd.load(tmp_path / "streamed"), expected)
