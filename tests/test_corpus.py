"""Every input that ever failed: studies, data files and records of results that ended in a traceback, or stalled.

Studies of extreme numbers are run, too, and their results are looked at.
"""

import shutil
from pathlib import Path

import pytest
from campaign import malformed_files, manifests
from campaign.attack import STALL, python
from campaign.extremes import checked
from campaign.kept import CORPUS, fault
from campaign.malformed_studies import plan
from cohorts import spread

STUDIES = sorted((CORPUS / "studies").glob("*.toml"))
BY_PROCESS = ("nested_a_thousand_times", "a_name_that_moves_the_cursor")  # a process each takes its time


def _named(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("study", STUDIES, ids=_named)
def test_a_study_is_planned_or_refused(study):
    assert fault(lambda: plan(study)) == ""


@pytest.mark.parametrize("study", [path for path in STUDIES if path.stem in BY_PROCESS], ids=_named)
def test_a_study_is_planned_or_refused_by_the_command_line(study, tmp_path):
    done = python("-m", "fastgd", "run", str(study), "--dry-run", cwd=tmp_path, timeout=10 * STALL)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


EXTREMES = sorted((CORPUS / "extremes").glob("*.toml"))
SOME = [path for path in EXTREMES if path.stem.startswith(("box", "rate"))]


@pytest.mark.parametrize("study", spread(EXTREMES, SOME), ids=lambda path: path.stem)
def test_an_extreme_study_runs_to_its_end_or_is_refused(study, tmp_path):
    kinds = ("curves", "sensitivity", "contour", "traces", "animate")
    found, _ = checked(study, tmp_path / "results", lambda there: [kind for kind in there if kind in kinds])
    assert not found, found


@pytest.mark.parametrize("file", sorted((CORPUS / "files").iterdir()), ids=_named)
def test_a_file_is_read_or_refused(file):
    import sklearn.datasets  # noqa: F401 (the first one takes its time)

    assert fault(lambda: malformed_files.read(file)) == ""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    manifests.results(folder)
    return folder


@pytest.mark.parametrize("record", sorted((CORPUS / "manifests").iterdir()), ids=_named)
def test_records_of_results_are_read_or_refused(record, results, tmp_path):
    """Their names end in what they stand for: `....manifest.json`. Each is used in the ways that read it."""
    shutil.copytree(results / "whole", tmp_path / "whole")
    shutil.copy(results / "small.toml", tmp_path)
    name = record.name.partition(".")[2]
    part = next((tmp_path / "whole" / "trials").glob("*.parquet"))
    shutil.copy(record, part if name == "trials.parquet" else tmp_path / "whole" / name)
    for way in manifests.OF_FILE.get(name, manifests.OF_OTHERS):
        assert fault(lambda way=way: manifests.use(tmp_path / "whole", way)) == "", way
