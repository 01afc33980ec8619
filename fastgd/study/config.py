"""The study file: what may stand in it, as models that are the Python face too."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
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

from fastgd.common.errors import InputError
from fastgd.common.parsing import from_toml
from fastgd.common.system import expanded
from fastgd.datasets import DATASETS, misplaced_key
from fastgd.problems import find_loss
from fastgd.study.blocks import OptimizerBlock, Optimizers, Schedule, Schedules
from fastgd.study.checks import check
from fastgd.study.fields import (
    ALWAYS_RECORDED,
    METRICS,
    Block,
    Columns,
    Count,
    Csv,
    Dataset,
    Every,
    File,
    FolderName,
    Format,
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
    Written,
    ZeroBased,
    described,
)
from fastgd.study.landscapes import LandscapeProblem, Starts, Trajectories, read_landscape
from fastgd.study.messages import input_error
from fastgd.study.overrides import override
from fastgd.study.surface import SurfaceBlock
from fastgd.study.values import as_list, brief, failure, plain, refuse_malformed, tables
from fastgd.user_code.imports import before_imports, refuse_import

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


LossName = Annotated[
    str,
    AfterValidator(lambda name: find_loss(name).name),
    Written('a name (`fastgd list losses`), or `"module:loss"`'),
]


class Problem(Block):
    """What is minimised: a loss of a linear model over a dataset, with a penalty.

    Of `dataset`, `path` and `synthetic` at most one is given; none, where arrays are given to `fastgd.run`.
    """

    name: str | None = described("Its name in the results.", None, otherwise="data and loss, as `iris/logistic`")
    loss: LossName = described("What is summed over the rows, a function of a row's margin and target.")
    dataset: Dataset | None = described("Rows by name.", None, goes_with="none of `path`, `synthetic`")
    path: File | None = described(
        "Rows from a file: [its formats](data.md#files).", None, goes_with="none of `dataset`, `synthetic`"
    )
    synthetic: Synthetic | None = described("Rows that are drawn.", None, goes_with="none of `dataset`, `path`")
    target: str | None = described(
        "The column of the target.", None, goes_with="`path` of a table", otherwise="the dataset's own"
    )
    format: Format | None = described(
        "What the files are.", None, goes_with="`path`", otherwise="what the file's extension says"
    )
    csv: Csv | None = described("How text tables are written.", None, goes_with="`path` of a text table")
    zero_based: ZeroBased = described(
        'Whether the first column has the index 0; `"auto"`: it is found out.', "auto", goes_with="`path` of svmlight"
    )
    n_features: Columns | None = described(
        "How many columns there are, where the file may end earlier.",
        None,
        goes_with="`path` of svmlight, or of a Parquet file of lists",
        otherwise="the largest index",
    )
    positive: Label | None = described(
        "This label becomes 1, every other one 0.", None, otherwise="the targets as they stand"
    )
    intercept: bool = described("Whether there is one more parameter, the last, which no penalty touches.", False)
    standardize: bool = described(
        "Whether each column is shifted and scaled to mean 0 and deviation 1 of the training rows; sparse ones are "
        "scaled alone.",
        False,
    )
    l2: Several[NonNegative] = described("The penalty `l2/2 |w|^2`, a part of the objective.", [0.0])
    validation: HeldOut = described(
        "What is held out of training: a share of the rows, or all rows of another file.", 0.0
    )
    split_seed: Seed = described("Decides alone which rows are held out.", 0, goes_with="`validation` as a fraction")
    layout: Literal["auto", "dense", "sparse"] = described('How rows are kept; `"auto"`: as the source is.', "auto")
    sparse: Literal["exact", "masked"] = described(
        "What becomes of parameters that a mini-batch does not touch: they take their steps all the same, or "
        "[rest](data.md#dense-and-sparse).",
        "exact",
        goes_with="sparse rows",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [key for key in ("dataset", "path", "synthetic") if getattr(self, key) is not None]
        if len(given) > 1:
            raise failure(f"has {' and '.join(given)}; give one of them")
        if self.dataset is not None and self.target not in (None, own := DATASETS[self.dataset].target):
            raise failure(f": the dataset {self.dataset!r} has the target {own!r}", "target", found=self.target)
        if self.split_seed and not (isinstance(self.validation, float) and self.validation):
            raise failure("goes with validation as a fraction", "split_seed", found=self.split_seed)
        if misplaced := misplaced_key(self.files, dict(self)):
            key, use = misplaced
            raise failure(use, key, found=getattr(self, key))
        return self

    @property
    def files(self) -> list[str]:
        """The files of the problem, which are read by the same keys: of training rows, and of those held out."""
        return [file for file in (self.path, self.validation) if isinstance(file, str)]


class Stop(Block):
    """When a trial ends before its budget: at a target, by divergence, by standing still.

    `diverge` is how far the objective may rise, relative to that at the start or to the loss's own scale.
    """

    target: float | None = described(
        "The training objective at which a trial ends as `target`, seen at checkpoints.", None, goes_with="data"
    )
    diverge: Positive = described(
        "A trial ends as `diverged` when its objective has risen above that at the start by more than so many times "
        "the objective at the start, or times the loss's own scale where that is more; of landscapes, times "
        "[a height](landscapes.md#what-is-stored).",
        1e3,
    )
    patience: Count | None = described(
        "A trial ends as `stalled` after so many epochs in which its objective improved by less than 1e-4 of itself.",
        None,
        goes_with="data",
    )


class Record(Block):
    """What is recorded of a trial, and when."""

    every: Every = described(
        'The checkpoints: `"epoch"`, the end of every epoch (on landscapes every step), or `{ log = k }`, k of them, '
        "equally spaced in the logarithm of the steps.",
        "epoch",
        otherwise='`"epoch"`; of landscapes `{ log = 10 }`',
    )
    metrics: Metrics = described("What is measured at checkpoints; the default ones always are.", list(ALWAYS_RECORDED))
    parameters: Literal["none", "best", "all"] = described(
        "Whose final parameters are stored: of all seeds of each optimizer's best configuration, or of all trials.",
        "none",
        goes_with="data",
    )
    trajectories: Trajectories = described(
        'Which starts\' every step is stored: `"all"`, so many, or these; `"auto"`: those of small studies.',
        "auto",
        goes_with="landscapes",
    )
    rows: Count | None = described(
        "Of how many training rows the loss is taken between the first and the last checkpoint of a trial, which are "
        "exact: a fixed subsample. The validation loss is always exact.",
        None,
        goes_with="data",
        otherwise="all rows",
    )

    @model_serializer(mode="wrap")
    def _brief(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # what is not set is left out: the identity of trials hangs on it
        unset = (("trajectories", "auto"), ("rows", None))
        return {key: value for key, value in handler(self).items() if (key, value) not in unset}


def _problem(value: Any, info: ValidationInfo) -> Problem | LandscapeProblem:
    """Read a problem's block: a landscape where it names one, else data with a loss."""
    if isinstance(value, Problem | LandscapeProblem):
        return value
    if isinstance(value, Mapping) and "landscape" in value:
        return read_landscape(value)
    return Problem.model_validate(value, context=info.context)


Problems = list[Annotated[Problem | LandscapeProblem, PlainValidator(_problem)]]
LANDSCAPE_CHECKPOINTS = 10
LARGEST_FILE = 4_000_000  # bytes of a study: its parser is slow


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

    name: FolderName = described("The study's name, and that of the folder of its results, `results/NAME`.")
    epochs: Count | None = described(
        "How often each trial passes over the training rows.", None, goes_with="data, in place of `steps`"
    )
    steps: Count | None = described(
        "How many steps each trial takes.", None, goes_with="landscapes; data, in place of `epochs`"
    )
    seed: Several[Seed] = described(
        "Of all that is random in a trial: the order of rows, a drawn start, noise. It never decides the data's split.",
        [0],
        goes_with="data; landscapes with `noise` or `random_search`",
    )
    batch_size: Several[Rows] = described(
        'The rows whose mean gradient makes a step; `"full"`: all training rows.', ["full"], goes_with="data"
    )
    dtype: Literal["float64", "float32"] = described("The type of parameters and rows.", "float64")
    order: Literal["shuffle", "sequential"] = described(
        "Whether each epoch visits the rows in an order of its own, or as they stand.", "shuffle", goes_with="data"
    )
    init: Init = described(
        "Where all trials start: at zeros, at a point drawn with this deviation for each seed, or at this point.",
        "zeros",
        goes_with="data; landscapes have `[starts]`",
    )
    max_seconds: Positive | None = described(
        "After so many seconds the trials that are not done end as `timeout`; the next run of the study goes on with "
        "them.",
        None,
        otherwise="no limit",
    )
    snapshot_seconds: Positive = described(
        "How often work that takes long saves its state: what a process that is killed can lose.", 300.0
    )
    problem: Annotated[Problems, Field(min_length=1), BeforeValidator(tables), PlainSerializer(brief)] = described(
        "What is minimised: rows of data with a loss, or a landscape."
    )
    optimizer: Annotated[Optimizers, Field(min_length=1)] = described(
        "The update rules, with the values of their numbers."
    )
    schedule: Schedules = described(
        "What multiplies the rates, or gives other numbers their values, from epoch to epoch or from step to step.",
        [Schedule(name="constant")],
        otherwise="every rate is constant",
    )
    stop: Stop = described("When a trial ends before its budget.", Stop())
    record: Record = described("What is stored of a trial, and when.", Record())
    starts: Starts | None = described(
        "Where the trials start.", None, goes_with="landscapes", otherwise="the landscape's customary start"
    )
    surface: SurfaceBlock | None = described(
        "The grid over which the objective is computed besides the trials.",
        None,
        otherwise="of data none, of landscapes over the domain",
    )

    def __init__(self, **fields: Any) -> None:
        try:
            values = plain(fields)
        except RecursionError:
            raise InputError("the study's tables and lists are nested too deeply") from None
        self._fill(values)

    @classmethod
    def from_toml(cls, path: str | PathLike[str], set: Sequence[str] = (), *, plugins: bool = True) -> Self:
        """Read a study file.

        Parameters
        ----------
        path : path
            The TOML file. Relative paths in it start from its folder.
        set : sequence of str
            Values to replace, as "optimizer.0.lr=0.1".
        plugins : bool
            Whether modules that the study names ("module:Name") are imported, which runs what is in them; False:
            a study that names one is refused.

        Raises
        ------
        InputError
            The file cannot be read, or says something that is not valid: the file, the key and what would be valid.
        """
        with nullcontext() if plugins else before_imports(refuse_import):
            return cls.of_fields(*read_fields(path, set))

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any], path: str | PathLike[str], overridden: Sequence[str] = ()) -> Self:
        """Return the study of a file's tables, as `read_fields` returns them."""
        study = cls.__new__(cls)
        study._fill(fields, file=str(path), folder=expanded(path).resolve().parent, overridden=overridden)
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
            refuse_malformed(fields)
            self.__pydantic_validator__.validate_python(fields, self_instance=self, context=folder)
        except ValidationError as error:
            raise input_error(error, fields, file, overridden) from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check(self)
        return self


def read_fields(
    path: str | PathLike[str], set: Sequence[str] = ()
) -> tuple[dict[str, Any], str | PathLike[str], list[str]]:
    """Return the tables of a study file as they stand there, with values replaced; its path; and which were replaced.

    Nothing of it is checked, and nothing that it names is imported.
    """
    fields = _parse(expanded(path))
    overridden = override(fields, set)
    return fields, path, overridden


def require_study(found: object) -> None:
    """Refuse what is no study, such as the path of one."""
    if not isinstance(found, Study):
        kind = type(found).__name__
        raise InputError(f"a fastgd.Study is needed, found {kind}: fastgd.Study.from_toml(path) reads a study file")


def _with_defaults(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a study's fields; landscapes, whose epochs are steps, are recorded at a few of them unless they say so."""
    problems, record = as_list(fields.get("problem")), fields.get("record", {})
    landscapes = all(isinstance(problem, Mapping) and "landscape" in problem for problem in problems)
    if not landscapes or not isinstance(record, Mapping) or "every" in record:
        return fields
    return {**fields, "record": {"every": {"log": LANDSCAPE_CHECKPOINTS}, **record}}


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise InputError(f"{path}: is larger than {LARGEST_FILE:,} bytes, and no study; long lists go into files")
        lines = text.decode("utf-8-sig")  # some editors begin with a mark
        return from_toml(lines.replace("\r\n", "\n").replace("\r", "\n"))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text in UTF-8, as TOML is") from None
    except ValueError as error:
        raise InputError(f"{path}: is not valid TOML: {error}") from None
