"""The tables of a study file as models: its top, `[[problem]]` over data, `[stop]` and `[record]`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from fastgd.datasets import DATASETS, FoldKeys, misplaced_key
from fastgd.problems import LOSSES, find_loss
from fastgd.study.blocks import Optimizers, Schedule, Schedules
from fastgd.study.fields import (
    ALWAYS_RECORDED,
    Block,
    ClassWeight,
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
    SeveralWhole,
    Synthetic,
    Target,
    Written,
    ZeroBased,
    described,
)
from fastgd.study.landscapes import LandscapeProblem, Starts, Trajectories, read_landscape
from fastgd.study.networks import LayerStart, NetworkBlock
from fastgd.study.search_block import Halving, SearchBlock
from fastgd.study.surface_block import SurfaceBlock
from fastgd.study.values import brief, failure, tables

BEST_ITERATE = "best_iterate"  # what `record.parameters` may be
LOSSES_OF_NUMBERS = [name for name, loss in LOSSES.items() if loss.targets == "real"]
LossName = Annotated[
    str,
    AfterValidator(lambda name: find_loss(name).name),
    Written('a name (`fastgd list losses`), or `"module:loss"`'),
]


class Problem(Block):
    """What is minimised: a loss of a linear model, or of a network, over a dataset, with a penalty.

    Of `dataset`, `path` and `synthetic` at most one is given; none, where arrays are given to `fastgd.run`.
    """

    name: str | None = described("Its name in the results.", None, otherwise="data and loss, as `iris/logistic`")
    loss: LossName = described("What is summed over the rows, a function of a row's margin and target.")
    dataset: Dataset | None = described("Rows by name.", None, goes_with="none of `path`, `synthetic`")
    path: File | None = described(
        "Rows from a file, or the URL of one: [its formats](data.md#files).",
        None,
        goes_with="none of `dataset`, `synthetic`",
    )
    synthetic: Synthetic | None = described("Rows that are drawn.", None, goes_with="none of `dataset`, `path`")
    target: Target | None = described(
        "The column of the target, or those of [several](networks.md#several-targets), of which each has an output.",
        None,
        goes_with="`path` of a table; several also with `.npz` and arrays, where they name the columns of y",
        otherwise="the dataset's own",
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
        goes_with="`path` of svmlight, or of a table of lists",
        otherwise="the largest index",
    )
    source: Literal["auto", "memory", "map", "stream"] = described(
        "Where rows are while the study runs: in memory, or [in files](data.md#rows-that-stay-in-files) that are "
        'mapped, or streamed, so that memory need not hold them; `"auto"`: in memory, if they fit into half of it and '
        "leave room for the study.",
        "auto",
        goes_with="`path`; `map` and `stream` also with arrays, of which no copies are made then",
    )
    positive: Label | None = described(
        "This label becomes 1, every other one 0.", None, otherwise="the targets as they stand"
    )
    weights: str | None = described(
        "The column of [what rows weigh](data.md#weights): objectives, losses and metrics are weighted means.",
        None,
        goes_with="`path` of a table or of `.npz`, where it names an array; arrays have those given to `fastgd.run`",
        otherwise="all rows weigh the same",
    )
    class_weight: ClassWeight | None = described(
        'What [rows of each label weigh](data.md#weights), times their own weights; `"balanced"`: in all, the classes '
        "weigh the same.",
        None,
        goes_with="losses of classes; others with `positive`",
        otherwise="1",
    )
    network: NetworkBlock | None = described("The layers of a network.", None, otherwise="a linear model")
    init: LayerStart | None = described(
        "Where the weights of [a network](networks.md) start, drawn for each seed; biases start at zero.",
        None,
        goes_with="`network`",
        otherwise="what suits the activation",
    )
    intercept: bool = described(
        "Whether there is one more parameter, the last, which no penalty touches; of a network a bias in every layer.",
        False,
        otherwise="`false`; of networks `true`",
    )
    standardize: bool = described(
        "Whether each column is shifted and scaled to mean 0 and deviation 1 of the training rows; sparse ones are "
        "scaled alone.",
        False,
    )
    standardize_target: bool = described(
        "Whether targets are shifted and scaled to mean 0 and deviation 1 of the training rows: the loss is of these.",
        False,
        goes_with="losses of numbers",
    )
    l2: Several[NonNegative] = described("The penalty `l2/2 |w|^2`, a part of the objective.", [0.0])
    validation: HeldOut = described(
        "What is held out of training: a share of the rows, all rows of another file, or [folds](data.md#folds).", 0.0
    )
    split_seed: Several[Seed] = described(
        "Decides alone which rows are held out. With several, each configuration is tried on all of these splits, and "
        "rankings take the median over them too.",
        [0],
        goes_with="`validation` as a fraction",
    )
    layout: Literal["auto", "dense", "sparse"] = described('How rows are kept; `"auto"`: as the source is.', "auto")
    sparse: Literal["exact", "masked"] = described(
        "What becomes of parameters that a mini-batch does not touch: they take their steps all the same, or "
        "[rest](data.md#dense-and-sparse).",
        "exact",
        goes_with="sparse rows",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_biases(cls, value: Any) -> Any:
        """Networks have biases, unless the study says that they have none."""
        return {"intercept": True, **value} if isinstance(value, Mapping) and value.get("network") else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.init is not None and not self.layered:
            raise failure("goes with network; a linear model starts from the study's own 'init'", "init")
        if self.init == "zeros" and self.network is not None and self.network.hidden:
            raise failure("= 'zeros' leaves all units of a hidden layer alike for ever; leave it out", "init")
        if self.standardize_target and find_loss(self.loss).targets != "real":
            raise failure(f"= true goes with losses of numbers, and {self.loss!r} is none", "standardize_target")
        self._check_targets()
        self._check_weights()
        given = [key for key in ("dataset", "path", "synthetic") if getattr(self, key) is not None]
        if len(given) > 1:
            raise failure(f"has {' and '.join(given)}; give one of them")
        if self.source in ("map", "stream") and given and self.path is None:
            raise failure(
                f"is for rows in files; those of '{given[0]}' are made in memory", "source", found=self.source
            )
        if self.dataset is not None and self.target not in (None, own := DATASETS[self.dataset].target):
            raise failure(f": the dataset {self.dataset!r} has the target {own!r}", "target", found=self.target)
        if self.split_seed != [0] and not (isinstance(self.validation, float) and self.validation):
            raise failure("goes with validation as a fraction", "split_seed", found=brief(self.split_seed))
        if misplaced := misplaced_key(self.files, dict(self)):
            key, use = misplaced
            raise failure(use, key, found=getattr(self, key))
        return self

    def _check_targets(self) -> None:
        if not self.targets:
            return
        if find_loss(self.loss).targets != "real":
            raise failure(
                f"names {len(self.targets)} columns, and the loss {self.loss!r} is of one: several go with "
                f"{' and '.join(LOSSES_OF_NUMBERS)}, and with losses of numbers of your own",
                "target",
            )
        if self.positive is not None:
            raise failure("makes 0 and 1 of one target, and there are several", "positive", found=self.positive)

    def _check_weights(self) -> None:
        group = self.folds.group if self.folds else None
        if group is not None and group in (self.target, *self.targets, self.weights):
            what = "the column of the weights" if group == self.weights else "the target"
            raise failure(f"is {what}, too", "validation", "group", found=group)
        if self.weights is not None and self.weights in (self.target, *self.targets):
            raise failure("is the target, too", "weights", found=self.weights)
        classes = find_loss(self.loss).targets in ("binary", "unit", "classes") or self.positive is not None
        if self.class_weight is not None and not classes:
            text = f"is for classes, and {self.loss!r} is a loss of numbers: weights are for these, or positive"
            raise failure(text, "class_weight", found=self.class_weight)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of several targets; empty, where there is one."""
        return self.target if isinstance(self.target, tuple) else ()

    @property
    def layered(self) -> bool:
        """Whether its parameters stand in layers: those of a network, or of a loss with several margins a row."""
        return self.network is not None or find_loss(self.loss).of_classes or bool(self.targets)

    @property
    def folds(self) -> FoldKeys | None:
        """What the study says of folds, where these are held out in turn."""
        return self.validation if isinstance(self.validation, FoldKeys) else None

    @property
    def split_numbers(self) -> Sequence[int]:
        """What tells the splits of its rows apart: their seeds, or the numbers of the folds."""
        return self.split_seed if self.folds is None else self.folds.numbers

    @property
    def files(self) -> list[str]:
        """The files of training rows and of held-out rows, which are read with the same keys."""
        return [file for file in (self.path, self.validation) if isinstance(file, str)]


class Stop(Block):
    """When a trial ends before its budget: at a target, when it diverges, or when what is watched stops improving.

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
        "A trial ends as `stalled` after so many epochs in which its objective improved by less than `tolerance` of "
        "itself, and as `early_stopped` where the validation loss is watched.",
        None,
        goes_with="data",
    )
    watch: Literal["loss", "validation_loss"] = described(
        "What has to improve: the training objective, or the mean loss of the held-out rows.",
        "loss",
        goes_with="`patience`; `validation_loss` with `validation`",
    )
    tolerance: NonNegative = described(
        "The improvement that counts: a share of what is watched, below 1, or a difference where `relative` is false.",
        1e-4,
        goes_with="`patience`",
    )
    relative: bool = described(
        "Whether `tolerance` is a share of the value that last counted; else an epoch has to be so far below the least "
        "value before it, as in scikit-learn.",
        True,
        goes_with="`patience`",
    )

    @model_serializer(mode="wrap")
    def _brief(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without(handler(self), watch="loss", tolerance=1e-4, relative=True)


class Reference(Block):
    """What is computed beside the trials, to measure them by. It changes no trial."""

    optimum: bool = described(
        "Whether the run ends with [the minimum of each convex objective](optimum.md), from which gaps are measured.",
        False,
        goes_with="data",
    )


class Record(Block):
    """What is recorded of a trial, and when."""

    every: Every = described(
        'The checkpoints: `"epoch"`, the end of every epoch (on landscapes every step); `"end"`, that of the trial, '
        "where no curves are wanted; or `{ log = k }`, k of them, equally spaced in the logarithm of the steps.",
        "epoch",
        otherwise='`"epoch"`; of landscapes `{ log = 10 }`',
    )
    metrics: Metrics = described("What is measured at checkpoints; the default ones always are.", list(ALWAYS_RECORDED))
    parameters: Literal["none", "best", "all", "best_iterate"] = described(
        "Whose final parameters are stored: of all seeds of each optimizer's best configuration, or of all trials; "
        '`"best_iterate"`: of all trials, and not the final ones, but [the best](stopping.md#the-best-iterate).',
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
    state: bool = described(
        "Whether the state at the end of finished trials is stored, from which the study "
        "[goes on](stopping.md#more-epochs) when it is given more epochs or steps.",
        False,
        goes_with="data",
    )

    @model_serializer(mode="wrap")
    def _brief(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without(handler(self), trajectories="auto", rows=None, state=False)


def without(keys: Mapping[str, Any], **unset: Any) -> dict[str, Any]:
    """Return a table without the keys that have these values, which are not set: trial ids depend on its text."""
    return {key: value for key, value in keys.items() if key not in unset or value != unset[key]}


def _problem(value: Any, info: ValidationInfo) -> Problem | LandscapeProblem:
    """Read a problem's table: a landscape if it names one, else data with a loss."""
    if isinstance(value, Problem | LandscapeProblem):
        return value
    if isinstance(value, Mapping) and "landscape" in value:
        return read_landscape(value)
    return Problem.model_validate(value, context=info.context)


Problems = list[Annotated[Problem | LandscapeProblem, PlainValidator(_problem)]]


class StudyFields(Block):
    """The keys at the top of a study file, each right by itself; a `Study` has them checked against each other too."""

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
    batch_size: SeveralWhole[Rows] = described(
        'The rows whose mean gradient makes a step; `"full"`: all training rows.', ["full"], goes_with="data"
    )
    dtype: Literal["float64", "float32"] = described("The type of parameters and rows.", "float64")
    order: Literal["shuffle", "blocks", "sequential"] = described(
        "Whether each epoch visits the rows in an order of its own, of all or by blocks, or as they stand.",
        "shuffle",
        goes_with="data",
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
    search: SearchBlock | None = described("How the study searches among its configurations.", None)
    stop: Stop = described("When a trial ends before its budget.", Stop())
    record: Record = described("What is stored of a trial, and when.", Record())
    reference: Reference | None = described("What is computed to measure the trials by.", None, goes_with="data")
    starts: Starts | None = described(
        "Where the trials start.", None, goes_with="landscapes", otherwise="the landscape's customary start"
    )
    surface: SurfaceBlock | None = described(
        "The grid over which the objective is computed besides the trials.",
        None,
        otherwise="of data none, of landscapes over the domain",
    )

    @property
    def halving(self) -> Halving | None:
        """The race of its configurations, if there is one."""
        return self.search.halving if self.search else None

    @property
    def data_problems(self) -> list[Problem]:
        """The problems over data."""
        return [problem for problem in self.problem if isinstance(problem, Problem)]

    @property
    def splits(self) -> list[tuple[int, Problem]]:
        """The problems over data, one for each split of its rows, with the place of its problem among all.

        Each has the number of its split as its only `split_seed`.
        """
        return [
            (place, problem.model_copy(update={"split_seed": [number]}))
            for place, problem in enumerate(self.data_problems)
            for number in problem.split_numbers
        ]

    @property
    def landscapes(self) -> list[LandscapeProblem]:
        """The problems that are landscapes: all of them, or none."""
        return [problem for problem in self.problem if isinstance(problem, LandscapeProblem)]
