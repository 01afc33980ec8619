"""What an inspection of a results folder reports: what is wrong, and what is only worth a remark."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# Errors of readers end with an advice, which is left out here: a table of findings gives it once for all of them.
_ADVICE = (": restore it", "; restore it", ": remove the", ": give it back", ": put the", ", or see `fastgd")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes
    ----------
    file : str
        The file, as seen from the results folder.
    problem : str
        What is wrong with it.
    trials : tuple of str
        The trials whose results are lost by it, as far as they are known; on landscapes ID:START.
    """

    file: str
    problem: str
    trials: tuple[str, ...] = ()


class Report:
    """The findings and remarks about the files of a results folder.

    Attributes
    ----------
    findings, remarks : list of Finding
        What is wrong, and what is not wrong but worth saying.
    """

    def __init__(self, folder: Path) -> None:
        self.findings: list[Finding] = []
        self.remarks: list[Finding] = []
        self._folder = folder
        self._waiting: list[tuple[Path, str, int]] = []

    def wrong(self, path: Path, problem: object, trials: tuple[str, ...] = ()) -> None:
        """Add a finding; the problem may be the error that a reader raised."""
        self.findings.append(Finding(self._name(path), _without_advice(path, problem), trials))

    def wrong_in_record(self, path: Path, problem: object, record: int) -> None:
        """Add a finding about a file of a commit record, whose trials are only known when all files are read."""
        self._waiting.append((path, _without_advice(path, problem), record))

    def note(self, path: Path, text: str) -> None:
        """Add a remark."""
        self.remarks.append(Finding(self._name(path), text))

    def waiting_in(self, kind: str) -> set[int]:
        """Return the numbers of the commit records of which files of a kind are known to be wrong."""
        return {record for path, _, record in self._waiting if path.parent.name == kind}

    def name_trials(self, trials_of: Callable[[int], Iterable[str]]) -> None:
        """Complete the findings about commit records with the trials that each of the records has lost."""
        for path, problem, record in dict.fromkeys(self._waiting):
            self.findings.append(Finding(self._name(path), problem, tuple(trials_of(record))))

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._folder))


def _without_advice(path: Path, problem: object) -> str:
    text = str(problem).removeprefix(f"{path} ")
    for advice in _ADVICE:
        text = text.partition(advice)[0]
    return text
