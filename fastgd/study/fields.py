"""The types of a study file's keys: their valid values, and the form in which they are kept."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WrapValidator,
    model_validator,
)

from fastgd import datasets
from fastgd.common.errors import nearest
from fastgd.common.folders import expanded
from fastgd.study.draws import as_written, values_of
from fastgd.study.values import choice, failure, is_number, is_point, is_whole, known_keys

ALWAYS_RECORDED = ("loss", "validation_loss", "param_norm")
METRICS = {
    "loss": "the objective over all training rows, the penalty included; of a landscape its value",
    "validation_loss": "the mean loss over the held-out rows, without the penalty",
    "param_norm": "the Euclidean norm of the parameters",
    "grad_norm": "the Euclidean norm of the objective's gradient over all training rows; of a landscape its slope",
    "layer_grad_norm": "the same of each layer's weights and biases; of networks, the first layer first",
    "layer_update_ratio": "the norm of a checkpoint's last step in each layer, relative to its weights'; of networks",
    "dead_units": "the share of each hidden layer's units that learn from no training row; of networks",
    "composite_loss": "the loss with the penalty of `proximal` steps",
    "nonzeros": "how many weights are not zero",
    "accuracy": "the share of training rows whose class is predicted; of losses of classes",
    "validation_accuracy": "the same of the held-out rows",
    "top_5": "the share of training rows whose class is among the five most likely ones; of softmax",
    "validation_top_5": "the same of the held-out rows",
    "r2": "the share of the targets' variance that is explained, over the training rows; of losses of numbers",
    "validation_r2": "the same of the held-out rows",
    "effective_lr": "quantiles of the rates by which a rule multiplies the gradients of rare and frequent features",
}
LAYER_METRICS = ("layer_grad_norm", "layer_update_ratio", "dead_units")  # with a column for each layer of a network
LARGEST = 2**53  # of whole numbers, which must be exact as float64
LONGEST_NAME = 200  # letters of a study's name, which file systems take
MOST_CHECKPOINTS = 1_000_000  # of a trial

T = TypeVar("T")


@dataclass(frozen=True)
class Written:
    """The type of a key in words, for the docs; `{}` is replaced by the type of a list's items.

    Types with a validator of their own carry this. For the others, `fastgd.study.keys` derives the words.
    """

    text: str


@dataclass(frozen=True)
class Table:
    """The model whose fields are the keys of a table, for tables with a validator of their own."""

    model: type[BaseModel]


@dataclass(frozen=True)
class Own:
    """Marks a field that is no key itself: it holds the keys of a registered rule, written in the same table.

    `names` says in words which keys these are.
    """

    names: str


def described(meaning: str, default: Any = ..., *, goes_with: str = "", otherwise: str = "") -> Any:
    """Declare a key of a table with the texts that `fastgd list keys` and `docs/study.md` show.

    Parameters
    ----------
    meaning : str
        What the key means, in a sentence or two.
    default : Any
        The default value; a key without one is required.
    goes_with : str
        With which other keys it may be used; empty for all.
    otherwise : str
        What holds if the key is left out, where the default value does not say it.
    """
    return Field(default, description=meaning, json_schema_extra={"goes_with": goes_with, "otherwise": otherwise})


class Block(BaseModel):
    """A table of the study file, which may have the model's fields as keys, and no others."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, block: Any) -> Any:
        return known_keys(block, cls.model_fields)


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w .+=@-]*", name) or name.endswith((" ", ".")) or len(name.encode()) > LONGEST_NAME:
        words = "must be letters, digits, spaces and any of _ . + - = @"
        raise failure(f"{words} (it names the folder of results), and at most {LONGEST_NAME} of them", found=name)
    return name


def _rows(value: Any) -> Any:
    if value == "full" or is_whole(value, 1):
        return value
    raise failure("must be a whole number of at least 1, or 'full'", found=value)


def _init(value: Any) -> Any:
    if value == "zeros":
        return value
    if isinstance(value, dict) and list(value) == ["normal"] and is_number(value["normal"]) and value["normal"] > 0:
        return {"normal": float(value["normal"])}
    if isinstance(value, dict) and list(value) == ["point"] and is_point(value["point"]):
        return {"point": [float(number) for number in value["point"]]}
    raise failure("must be 'zeros', { normal = s } with s > 0, or { point = [ ... ] }", found=value)


def _every(value: Any) -> Any:
    if value in ("epoch", "end"):
        return value
    if isinstance(value, dict) and list(value) == ["log"] and is_whole(k := value["log"], 2) and k <= MOST_CHECKPOINTS:
        return value
    raise failure(f"must be 'epoch', 'end' or {{ log = k }} with k from 2 to {MOST_CHECKPOINTS:,}", found=value)


def _metric(name: str) -> str:
    if name in METRICS:
        return name
    raise failure(f": there is no metric {name!r}; {nearest(name, METRICS)}")


def _label(value: Any) -> Any:
    if isinstance(value, str | bool) or is_number(value):
        return value
    raise failure("must be one of the target's labels", found=value)


def _class_weight(value: Any) -> Any:
    """Read weights of labels, whose names become texts, as keys of TOML are."""
    if value == "balanced":
        return value
    if not (
        isinstance(value, Mapping) and value and all(is_number(weight) and weight >= 0 for weight in value.values())
    ):
        raise failure("must be 'balanced', or a table of labels with numbers >= 0: { yes = 5, no = 1 }", found=value)
    return {str(_label(label)): float(weight) for label, weight in value.items()}


def _target(value: Any) -> str | tuple[str, ...]:
    """Read the column of a target, or those of several: a list of one is its column."""
    if isinstance(value, str):
        return value
    if not (isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)):
        raise failure("must be a column's name, or a list of such names", found=value)
    if twice := [name for name in value if list(value).count(name) > 1]:
        raise failure(f"names {twice[0]!r} twice", found=list(value))
    return value[0] if len(value) == 1 else tuple(value)


def _file(value: Any, info: ValidationInfo) -> Any:
    """Make a path absolute; the context is the folder of the study file, or None if the study was made in Python."""
    if not isinstance(value, str):
        return value
    path = expanded(value)
    return str(path if path.is_absolute() else (info.context or Path.cwd()) / path)


def _dataset(name: str) -> str:
    if datasets.DATASETS.find(name).load is None:
        raise failure(f": {name!r} is described by a key of its own, {name} = {{ ... }}")
    return name


def _synthetic(value: Any) -> dict[str, Any]:
    known_keys(value, datasets.Synthetic.model_fields)
    return datasets.Synthetic.model_validate(value).model_dump()


def _csv(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise failure("must be a table", found=value)
    known_keys(value, datasets.Csv.model_fields)
    return datasets.Csv.model_validate(dict(value)).given()


def _held_out(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return _file(value, info)
    if is_number(value) and 0 <= value < 1:
        return float(value)
    if isinstance(value, datasets.FoldKeys):
        return value
    if isinstance(value, Mapping):
        known_keys(value, datasets.FoldKeys.model_fields)
        return datasets.FoldKeys.model_validate(dict(value))
    raise failure("must be a fraction from 0 to below 1, the path of a second file, or { folds = k }", found=value)


def _written_out(value: Any) -> Any:
    """Return what is held out as a study file has it."""
    return value.model_dump(exclude_none=True) if isinstance(value, datasets.FoldKeys) else value


Count = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Several = Annotated[list[T], WrapValidator(values_of), PlainSerializer(as_written), Written("{}, or several")]
SeveralWhole = Annotated[
    list[T],
    WrapValidator(partial(values_of, whole=True)),
    PlainSerializer(as_written),
    Written("{}, or several"),
]
FolderName = Annotated[
    str, AfterValidator(_folder_name), Written("text: letters, digits, spaces and any of `_ . + - = @`")
]
Rows = Annotated[int | Literal["full"], PlainValidator(_rows), Written('a whole number from 1, or `"full"`')]
Init = Annotated[
    str | dict[str, Any],
    PlainValidator(_init),
    Written('`"zeros"`, `{ normal = s }` with s > 0, or `{ point = [...] }`'),
]
Every = Annotated[
    str | dict[str, int], PlainValidator(_every), Written('`"epoch"`, `"end"`, or `{ log = k }` with k from 2')
]
Metrics = Annotated[
    list[Annotated[str, AfterValidator(_metric)]],
    # those that are always recorded, and those asked for, in the order of METRICS
    AfterValidator(lambda names: [name for name in METRICS if name in (*ALWAYS_RECORDED, *names)]),
    Written("a list of names: `fastgd list metrics`"),
]
ZeroBased = Annotated[
    bool | Literal["auto"],
    PlainValidator(lambda value: choice(value, (True, False, "auto"))),
    Written('`true`, `false` or `"auto"`'),
]
Format = Annotated[
    str, PlainValidator(lambda value: choice(value, datasets.FORMATS)), Written("one of " + ", ".join(datasets.FORMATS))
]
Csv = Annotated[dict[str, Any], PlainValidator(_csv), Table(datasets.Csv)]
Columns = Annotated[int, Field(ge=1, le=2**31 - 1)]
Label = Annotated[str | int | float | bool, PlainValidator(_label), Written("text, a number, `true` or `false`")]
ClassWeight = Annotated[
    str | dict[str, float],
    PlainValidator(_class_weight),
    Written('`"balanced"`, or a table of labels with their weights, numbers >= 0'),
]
Target = Annotated[
    str | tuple[str, ...],
    PlainValidator(_target),
    PlainSerializer(lambda value: list(value) if isinstance(value, tuple) else value),
    Written("a column's name, or a list of several"),
]
File = Annotated[str, BeforeValidator(_file), Written("a path, from the study file's folder")]
Synthetic = Annotated[dict[str, Any], PlainValidator(_synthetic), Table(datasets.Synthetic)]
Dataset = Annotated[str, AfterValidator(_dataset), Written("a name: `fastgd list datasets`")]
HeldOut = Annotated[
    float | str | datasets.FoldKeys,
    PlainValidator(_held_out),
    PlainSerializer(_written_out),
    Table(datasets.FoldKeys),
]
