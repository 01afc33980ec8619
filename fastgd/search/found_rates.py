"""What a search of learning rates found: kept as JSON in the folder of the search, and read back without Numba."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fastgd.common.errors import InputError, UnreadableError
from fastgd.common.folders import expanded
from fastgd.common.parsing import fault_of, from_json, shortened
from fastgd.store.disk.files import write_text
from fastgd.store.manifest import CHECKSUM, checksum_of

FILE, STUDY = "tune.json", "tuned.toml"
BRACKETED, AT_END, DIVERGED, NO_RATE = "bracketed", "at an end", "diverged", "no rate"
# The columns of `answers` that hold what was found; the others say for which optimizer, problem and settings.
FOUND = (
    *("status", "lr", "low", "high", "loss", "loss_min", "loss_max", "start", "flat_low", "flat_high"),
    *("seeds", "diverged", "rates", "rounds", "trials"),
)
_NUMBERS = ("answer", "round", "l2", "batch_size", *(name for name in FOUND if name != "status"))
_NEEDED = {
    "answers": ("problem", "optimizer", "variant", "schedule", *FOUND),
    "points": ("answer", "round", "full", "lr", "loss", "loss_min", "loss_max", "seeds", "diverged"),
}
# The columns that may be infinite, which JSON has no number for.
_MAY_BE_INFINITE = ("loss", "loss_min", "loss_max")


@dataclass(frozen=True)
class Round:
    """One round of a search: an ordinary study in a folder of its own.

    Attributes
    ----------
    folder : str
        Its name.
    budget : dict
        `epochs` or `steps` of each trial.
    full : bool
        Whether that is the whole budget of the study.
    trials : int
        How many trials it has.
    """

    folder: str
    budget: dict[str, int]
    full: bool
    trials: int


@dataclass(frozen=True)
class FoundRates:
    """The result of `fastgd.tune`.

    Attributes
    ----------
    path : Path
        The folder: that of each round, `tune.json` with all that is said here, and `tuned.toml`.
    name : str
        The study's.
    metric : str
        The loss that rates were judged by.
    factor : float
        How closely a best rate was to be bracketed.
    rounds : list of Round
        In order; the last ones have the whole budget of the study.
    answers : pandas.DataFrame
        A row for each optimizer with its variant and schedule, on each problem and batch size: `lr`, the best rate;
        `low` and `high`, the rates next to it that were tried; `loss`, the median over the seeds, with `loss_min` and
        `loss_max`; `start`, the loss before the first step; `flat_low` and `flat_high`, the rates that are about as
        good; `status`: "bracketed", "at an end", "diverged" (at every rate) or "no rate"; the best values of the other
        hyper-parameters that have several; `seeds` and `diverged`, numbers of trials; `rates`, how many were tried;
        `rounds`; `trials`.
    points : pandas.DataFrame
        A row for each round and rate of each row of `answers`, whose number is `answer`: `round`, `full`, `lr`, and the
        losses there, as in `answers`.
    """

    path: Path
    name: str
    metric: str
    factor: float
    rounds: list[Round]
    answers: pd.DataFrame = field(repr=False)
    points: pd.DataFrame = field(repr=False)

    @property
    def tuned(self) -> Path | None:
        """The file of the study at the best rates, with its whole budget; None where every trial diverged."""
        return self.path / STUDY if (self.path / STUDY).exists() else None

    @classmethod
    def load(cls, path: str | Path) -> "FoundRates":
        """Return what a search left in its folder.

        Raises
        ------
        InputError
            The folder holds none, or it is damaged.
        """
        path = expanded(path)
        file = path / FILE
        try:
            found = from_json(file.read_text(encoding="utf-8"))
            if found.get(CHECKSUM, checksum_of(found)) != checksum_of(found):
                raise ValueError("it does not match its checksum")
            _check(cls, {key: value for key, value in found.items() if key not in (*_NEEDED, "rounds")})
            for one in found["rounds"]:
                _check(Round, one)
            if [*{unit for one in found["rounds"] for unit in one["budget"]}] not in ([], ["epochs"], ["steps"]):
                raise ValueError("the budgets of its rounds must be epochs, or steps")
            tables = {name: _table(found[name], _NEEDED[name]) for name in _NEEDED}
            rounds = [Round(**fields) for fields in found["rounds"]]
            return cls(path, found["name"], found["metric"], found["factor"], rounds, **tables)
        except FileNotFoundError:
            raise InputError(f"{path} holds no finished search of rates: there is no {file}") from None
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from None
        except UnreadableError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} is damaged: {error}") from error

    def save(self) -> None:
        """Write `tune.json`."""
        record = self.record()
        text = json.dumps({**record, CHECKSUM: checksum_of(record)}, indent=1, allow_nan=False)
        write_text(self.path / FILE, f"{text}\n")

    def record(self) -> dict[str, Any]:
        """Return everything as values that JSON has; numbers that are infinite or missing become None."""
        return {
            "name": self.name,
            "metric": self.metric,
            "factor": self.factor,
            "tuned": str(self.tuned) if self.tuned else None,
            "rounds": [asdict(one) for one in self.rounds],
            "answers": json_rows(self.answers),
            "points": json_rows(self.points),
        }


def columns_to_show(answers: pd.DataFrame, found: Iterable[str] = FOUND) -> list[str]:
    """Return the columns that say for what each answer is, without those that say nothing.

    Hyper-parameters are always among them, since their values were chosen. Other columns are where the answers of one
    optimizer differ in them, and the numbers of a schedule where its name does not tell them.
    """
    subjects = [str(name) for name in answers.columns if name not in set(found)]
    numbers = {name for name in subjects if name.startswith("schedule.")}
    others = {"problem", "l2", "batch_size", "variant", "schedule"}.intersection(subjects)
    same = {name for name in others if not _differs(answers, ["optimizer"], name)}
    same |= {name for name in numbers if not _differs(answers, ["optimizer", "schedule"], name)}
    return [name for name in subjects if name not in same]


def _differs(answers: pd.DataFrame, within: list[str], name: str) -> bool:
    return bool((answers.groupby(within)[name].nunique(dropna=False) > 1).any())


def json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as values that JSON has."""
    return [{str(name): _json_value(value) for name, value in row.items()} for row in table.to_dict("records")]


def _json_value(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _check(cls: type, found: Mapping[str, Any]) -> None:
    if fault := fault_of(cls, found):
        raise ValueError(fault)


def _table(rows: list[Mapping[str, Any]], needed: tuple[str, ...]) -> pd.DataFrame:
    for name in (name for row in rows for name in needed if name not in row):
        raise ValueError(f"a row has no {name!r}")
    for value in (value for row in rows for value in row.values()):
        if isinstance(value, list | dict):
            raise ValueError(f"a row holds {shortened(value)}, and must hold texts and numbers")
    table = pd.DataFrame(rows)
    for name in set(_NUMBERS).intersection(table.columns):
        table[name] = pd.to_numeric(table[name])
    for name in table.columns:
        if table[name].isna().all():
            table[name] = table[name].astype(np.float64)
    return table.assign(**{name: table[name].fillna(np.inf) for name in _MAY_BE_INFINITE})
