"""Every input that ever failed: studies that ended in a traceback, or stalled, are read and planned, or refused.

Studies of extreme numbers are run, too, and their results are looked at.
"""

from pathlib import Path

import pytest
from campaign.attack import STALL, python
from campaign.extremes import checked

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("study", sorted((CORPUS / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_a_study_is_planned_or_refused(study, tmp_path):
    done = python("-m", "fastgd", "run", str(study), "--dry-run", cwd=tmp_path, timeout=10 * STALL)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("study", sorted((CORPUS / "extremes").glob("*.toml")), ids=lambda path: path.stem)
def test_an_extreme_study_runs_to_its_end_or_is_refused(study, tmp_path):
    kinds = ("curves", "sensitivity", "contour", "animate")
    fault, _ = checked(study, tmp_path / "results", lambda there: [kind for kind in there if kind in kinds])
    assert not fault, fault
