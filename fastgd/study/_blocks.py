"""The blocks whose keys are those of a registered rule: `[[optimizer]]` and `[[schedule]]`."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator, TypeAdapter, create_model, model_serializer

from fastgd.optimizers import find
from fastgd.schedules import SCHEDULES, Horizon
from fastgd.study._fields import Block, Several
from fastgd.study._values import as_list, brief, choice, failure, named

several: Any = Several  # of types that are known at run time only


class Schedule(Block):
    """One schedule; a block of the file whose keys are lists or grids makes several.

    Attributes
    ----------
    name : str
        A name of `fastgd.schedules.SCHEDULES`.
    of : str
        The hyper-parameter that it drives: it multiplies `lr`, and gives any other its value.
    per : {"epoch", "step"}
        What its index counts.
    horizon : {"last", "torch"}
        Where its end is: at the last index, or one past it.
    params : dict of str to float
        The keys of its own that are set, in the record's order.
    """

    name: str
    of: str = "lr"
    per: Literal["epoch", "step"] = "epoch"
    horizon: Horizon = "last"
    params: dict[str, float] = {}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, "of": self.of, "per": self.per, "horizon": self.horizon, **self.params}


class OptimizerBlock(Block):
    """One optimizer with its grids.

    Attributes
    ----------
    name : str
        A name of `fastgd.optimizers.OPTIMIZERS`, or "package.module:Name".
    hyper : dict of str to list of float
        Every numeric hyper-parameter in the record's order, with its values or its default.
    options : dict of str to list
        Every categorical choice, likewise.
    schedule : Schedule, optional
        For this optimizer alone, in place of the study's.
    """

    name: str
    hyper: dict[str, list[float]]
    options: dict[str, list[Any]]
    schedule: Schedule | None = None

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        keys = {key: brief(values) for key, values in (self.hyper | self.options).items()}
        own = {} if self.schedule is None else {"schedule": self.schedule.model_dump()}
        return {"name": self.name, **keys, **own}


def _read(block: Mapping[str, Any], what: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Validate a block against its rule's keys; a list or a grid may stand for each of the rule's values."""
    model = create_model(what, __base__=Block, **fields)
    return dict(model.model_validate(dict(block)))


def _flattened(read: Callable[[Any], list[Any]]) -> BeforeValidator:
    """Read a table or a list of tables, each of which may make several blocks."""
    tables: TypeAdapter[list[list[Any]]] = TypeAdapter(list[Annotated[Any, PlainValidator(read)]])
    return BeforeValidator(lambda value: list(itertools.chain(*tables.validate_python(as_list(value)))))


def _schedules(block: Any) -> list[Schedule]:
    if not isinstance(block, Mapping):
        raise failure("must be a table", found=block)
    record = named(SCHEDULES.find, block.get("name"))
    fields: dict[str, Any] = {
        "name": (str, ...),
        "of": (str, "lr"),
        "per": (Literal["epoch", "step"], record.per),
        "horizon": (Horizon, "last"),
    }
    for key, default in record.params.items():
        values: Any = several[record.annotations[key]]
        if key in record.required:
            fields[key] = (values, ...)
        else:
            fields[key] = (values | None, None if default is None else [default])
    read = _read(block, "schedule", fields)
    given = [key for key in record.one_of if read[key] is not None]
    if record.one_of and len(given) != 1:
        raise failure(f"needs exactly one of {', '.join(record.one_of)}; it has {' and '.join(given) or 'none'}")
    params = {key: read.pop(key) for key in record.params}
    set_params = {key: values for key, values in params.items() if values is not None}
    return [
        Schedule(**read, params=dict(zip(set_params, values, strict=True)))
        for values in itertools.product(*set_params.values())
    ]


Schedules = Annotated[list[Schedule], _flattened(_schedules)]


def _optimizers(block: Any) -> list[OptimizerBlock]:
    if not isinstance(block, Mapping):
        raise failure("must be a table", found=block)
    record = named(find, block.get("name"))
    fields: dict[str, Any] = {"name": (str, ...), "schedule": (Schedules | None, None)}
    for key, default in record.hyper.items():
        fields[key] = (several[record.annotations[key]], ... if default is None else [float(default)])
    for key, valid in record.options.items():
        item = Annotated[Any, PlainValidator(partial(choice, valid=valid))]
        fields[key] = (several[item], [valid[0]])
    read = _read(block, "optimizer", fields)
    hyper = {key: read[key] for key in record.hyper}
    options = {key: read[key] for key in record.options}
    return [
        OptimizerBlock(name=record.name, hyper=hyper, options=options, schedule=schedule)
        for schedule in read["schedule"] or [None]
    ]


Optimizers = Annotated[list[OptimizerBlock], _flattened(_optimizers)]
