"""The study file: what may stand in it, as models that are the Python face too."""

import tomllib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from fastgd._errors import InputError
from fastgd.datasets import DATASETS, misplaced_key
from fastgd.problems import find_loss
from fastgd.study._blocks import OptimizerBlock, Optimizers, Schedule, Schedules
from fastgd.study._checks import check
from fastgd.study._fields import (
    ALWAYS_RECORDED,
    METRICS,
    Block,
    Columns,
    Count,
    Dataset,
    Every,
    File,
    FolderName,
    HeldOut,
    Init,
    Label,
    Metrics,
    NonNegative,
    Positive,
    Rows,
    Seed,
    Several,
    Synthetic,
    ZeroBased,
)
from fastgd.study._landscapes import LandscapeProblem, Starts, Trajectories, read_landscape
from fastgd.study._messages import input_error
from fastgd.study._overrides import override
from fastgd.study._surface import SurfaceBlock
from fastgd.study._values import as_list, brief, failure, plain

__all__ = [
    "METRICS",
    "LandscapeProblem",
    "OptimizerBlock",
    "Problem",
    "Record",
    "Schedule",
    "Starts",
    "Stop",
    "Study",
]


class Problem(Block):
    """What is minimised: a loss of a linear model over a dataset, with a penalty.

    Of `dataset`, `path` and `synthetic` at most one is given; none, where arrays are given to `fastgd.run`.
    """

    name: str | None = None
    loss: Annotated[str, AfterValidator(lambda name: find_loss(name).name)]
    dataset: Dataset | None = None
    path: File | None = None
    synthetic: Synthetic | None = None
    target: str | None = None
    zero_based: ZeroBased = "auto"
    n_features: Columns | None = None
    positive: Label | None = None
    intercept: bool = False
    standardize: bool = False
    l2: Several[NonNegative] = [0.0]
    validation: HeldOut = 0.0
    split_seed: Seed = 0
    layout: Literal["auto", "dense", "sparse"] = "auto"
    sparse: Literal["exact", "masked"] = "exact"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [key for key in ("dataset", "path", "synthetic") if getattr(self, key) is not None]
        if len(given) > 1:
            raise failure(f"has {' and '.join(given)}; give one of them")
        if self.dataset is not None and self.target not in (None, own := DATASETS[self.dataset].target):
            raise failure(f": the dataset {self.dataset!r} has the target {own!r}", "target", found=self.target)
        if misplaced := misplaced_key(self.path, self.zero_based, self.n_features):
            key, use = misplaced
            raise failure(use, key, found=getattr(self, key))
        return self


class Stop(Block):
    """When a trial ends before its budget: at a target, by divergence, by standing still."""

    target: float | None = None
    diverge: Positive = 1e3
    patience: Count | None = None


class Record(Block):
    """What is recorded of a trial, and when; `trajectories` are of landscapes: whose every step is kept."""

    every: Every = "epoch"
    metrics: Metrics = list(ALWAYS_RECORDED)
    parameters: Literal["none", "best", "all"] = "none"
    trajectories: Trajectories = "auto"

    @model_serializer(mode="wrap")
    def _brief(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # what is not set is left out: the identity of trials hangs on it
        return {key: value for key, value in handler(self).items() if (key, value) != ("trajectories", "auto")}


def _problem(value: Any, info: ValidationInfo) -> Problem | LandscapeProblem:
    """Read a problem's block: a landscape where it names one, else data with a loss."""
    if isinstance(value, Problem | LandscapeProblem):
        return value
    if isinstance(value, Mapping) and "landscape" in value:
        return read_landscape(value)
    return Problem.model_validate(value, context=info.context)


Problems = list[Annotated[Problem | LandscapeProblem, PlainValidator(_problem)]]
LANDSCAPE_CHECKPOINTS = 10


class Study(Block):
    """A study: every trial that one file describes.

    The fields are the keys of the study file; grids and single values become lists. A wrong one raises InputError.

    Examples
    --------
    >>> study = Study(
    ...     name="rates",
    ...     epochs=5,
    ...     batch_size=64,
    ...     problem={"loss": "logistic", "dataset": "breast_cancer", "standardize": True},
    ...     optimizer=[{"name": "adam", "lr": {"log": [1e-4, 1e0], "num": 5}}],
    ... )
    >>> study.optimizer[0].hyper["lr"]
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """

    name: FolderName
    epochs: Count | None = None
    steps: Count | None = None
    seed: Several[Seed] = [0]
    batch_size: Several[Rows] = ["full"]
    dtype: Literal["float64", "float32"] = "float64"
    order: Literal["shuffle", "sequential"] = "shuffle"
    init: Init = "zeros"
    max_seconds: Positive | None = None
    problem: Annotated[Problems, Field(min_length=1), BeforeValidator(as_list), PlainSerializer(brief)]
    optimizer: Annotated[Optimizers, Field(min_length=1)]
    schedule: Schedules = [Schedule(name="constant")]
    stop: Stop = Stop()
    record: Record = Record()
    starts: Starts | None = None
    surface: SurfaceBlock | None = None

    def __init__(self, **fields: Any) -> None:
        self._fill(plain(fields))

    @classmethod
    def from_toml(cls, path: str | PathLike[str], set: Sequence[str] = ()) -> Self:
        """Read a study file.

        Parameters
        ----------
        path : path
            The TOML file. Relative paths in it start from its folder.
        set : sequence of str
            Values to replace, as "optimizer.0.lr=0.1".

        Raises
        ------
        InputError
            The file cannot be read, or says something that is not valid: the file, the key and what would be valid.
        """
        fields = _parse(Path(path))
        overridden = override(fields, set)
        study = cls.__new__(cls)
        study._fill(fields, file=str(path), folder=Path(path).resolve().parent, overridden=overridden)
        return study

    @property
    def data_problems(self) -> list[Problem]:
        """The problems over data."""
        return [problem for problem in self.problem if isinstance(problem, Problem)]

    @property
    def landscapes(self) -> list[LandscapeProblem]:
        """The problems that are landscapes: all of them, or none."""
        return [problem for problem in self.problem if isinstance(problem, LandscapeProblem)]

    def to_toml(self) -> str:
        """Return the study as a file with every key written out; reading it gives an equal study."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def _fill(
        self,
        fields: Mapping[str, Any],
        *,
        file: str | None = None,
        folder: Path | None = None,
        overridden: Sequence[str] = (),
    ) -> None:
        """Validate into this instance, as pydantic's own `__init__` does, with a context and this package's errors."""
        fields = _with_defaults(fields)
        try:
            self.__pydantic_validator__.validate_python(fields, self_instance=self, context=folder)
        except ValidationError as error:
            raise input_error(error, fields, file, overridden) from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check(self)
        return self


def _with_defaults(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a study's fields; landscapes, whose epochs are steps, are recorded at a few of them unless they say so."""
    problems, record = as_list(fields.get("problem")), fields.get("record", {})
    landscapes = all(isinstance(problem, Mapping) and "landscape" in problem for problem in problems)
    if not landscapes or not isinstance(record, Mapping) or "every" in record:
        return fields
    return {**fields, "record": {"every": {"log": LANDSCAPE_CHECKPOINTS}, **record}}


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text in UTF-8, as TOML is") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not valid TOML: {error}") from None
