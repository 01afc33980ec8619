"""Every input that ever failed: studies that ended in a traceback, or stalled, are read and planned, or refused."""

from pathlib import Path

import pytest
from campaign.attack import STALL, python

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("study", sorted((CORPUS / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_a_study_is_planned_or_refused(study, tmp_path):
    done = python("-m", "fastgd", "run", str(study), "--dry-run", cwd=tmp_path, timeout=10 * STALL)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
