"""The tables `[[optimizer]]` and `[[schedule]]`, whose keys are those of the rule or schedule that they name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, model_serializer

from fastgd.optimizers import Optimizer, find
from fastgd.optimizers.estimators import ESTIMATORS
from fastgd.optimizers.options import TABLES
from fastgd.schedules import SCHEDULES, Horizon, Part, ScheduleRecord, Unit, describe, numbers, parts_of
from fastgd.study.draws import Values, as_written
from fastgd.study.fields import Block, Count, Own, Several, Written, described
from fastgd.study.sub_tables import (
    Around,
    Search,
    Searches,
    around_of,
    block_model,
    fields_of,
    flattened,
    read_block,
    read_by,
    several_of,
)
from fastgd.study.values import combined, failure, named

Table: TypeAlias = Mapping[str, Any]


class Piece(Block):
    """A schedule of a chain: its own keys, how long it lasts, and the schedule that follows."""

    name: Annotated[str, Written("a name: `fastgd list schedules`")] = described("Which schedule it is.")
    params: Annotated[dict[str, Any], Own("its own keys"), Written("a value, or several")] = described(
        "Each key of the schedule, as [its section](schedules.md) names them.", {}, otherwise="the schedule's"
    )
    length: Annotated[int | None, Written("a whole number from 1, or several")] = described(
        "How many indices it lasts; then comes `then`, or its last value is kept.", None, otherwise="to the end"
    )
    then: Annotated[Piece | None, Written("a table, or several")] = described(
        "The schedule that follows; its index counts from 0 again. Its keys are `name`, its own, `length` and `then`.",
        None,
        goes_with="`length`",
    )

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        # keys that are not set are left out: trial ids depend on this text
        then = {} if self.then is None else {"then": self.then.model_dump()}
        return {"name": self.name, **self.params, **({} if self.length is None else {"length": self.length}), **then}


class Schedule(Piece):
    """One schedule. A table of the file makes several if its keys have lists or grids."""

    of: str = described(
        "The number that it drives, of the optimizer or (`clip.norm`) of an option: it multiplies `lr`, and gives any "
        "other its value.",
        "lr",
        otherwise="as the schedule is defined: mostly `lr`",
    )
    per: Unit = described("What its index counts.", "epoch", otherwise="as the schedule is defined")
    horizon: Horizon = described("Whether its end is at the last index, or one past it, as PyTorch has it.", "last")
    also: Annotated[Schedule | None, Written("a table, or several")] = described(
        "The schedule of another number of the same trials, with the same keys.", None
    )

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        own = {"name": self.name, "of": self.of, "per": self.per, "horizon": self.horizon}
        also = {} if self.also is None else {"also": self.also.model_dump()}
        return {**own, **Piece._flat(self), **also}

    @property
    def parts(self) -> tuple[Part, ...]:
        """The schedule itself and those that follow in its chain."""
        return parts_of(self.model_dump())

    @property
    def drivers(self) -> list[Schedule]:
        """The schedules of all hyper-parameters that are driven; a constant rate is not driven."""
        idle = self.name == "constant" and self.of == "lr" and not self.params and self.then is None
        return ([] if idle else [self]) + ([] if self.also is None else self.also.drivers)

    @property
    def label(self) -> str:
        """Its name in the results."""
        return describe(self.model_dump())

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by their key paths."""
        return numbers(self.model_dump())


class OptimizerBlock(Block):
    """One optimizer with its grids.

    `hyper` and `options` hold all numbers and choices of the rule in the record's order, with their values or defaults;
    `around` holds the options around the rule, at most one of each table.
    """

    name: Annotated[str, Written('a name: `fastgd list optimizers`, or `"package.module:Name"`')] = described(
        "Which update rule it is."
    )
    hyper: Annotated[dict[str, Values[float]], Own("its numbers"), Written("a number, or several")] = described(
        "`lr` and every other number of the rule, as [its section](optimizers.md) or that of a "
        "[baseline](baselines.md) names them.",
        otherwise="the rule's; `lr` is required where it has none",
    )
    options: Annotated[dict[str, Values[Any]], Own("its choices"), Written("a word, or several")] = described(
        "Every choice of the rule, as its section names them.", otherwise="the rule's"
    )
    around: Annotated[list[Around], Own(", ".join(TABLES)), Written("a table, or several")] = described(
        "What is done [around the rule](options.md): tables of their own, below.", [], otherwise="nothing"
    )
    estimator: Annotated[Values[str], Written('`"none"`, `"svrg"` or `"saga"`, or several')] = described(
        "How the gradient of all rows is estimated from those of a batch.", ["none"], goes_with="data, mini-batches"
    )
    line_search: Annotated[Search | None, Written("a table, or several")] = described(
        "What chooses the rate of each step.",
        None,
        goes_with='landscapes; `batch_size = "full"`',
        otherwise="none: the rate is `lr`",
    )
    schedule: Annotated[Schedule | None, Written("a table, or several")] = described(
        "The schedules of this optimizer alone.", None, otherwise="the study's"
    )

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        # keys that are not set are left out, so that new keys do not change the text of old studies
        keys = {key: as_written(values) for key, values in (self.hyper | self.options).items()}
        tables: dict[str, Any] = {table.table: table.model_dump() for table in self.around}
        if self.estimator != ["none"]:
            tables["estimator"] = as_written(self.estimator)
        if self.line_search is not None:
            tables["line_search"] = self.line_search.model_dump()
        if self.schedule is not None:
            tables["schedule"] = self.schedule.model_dump()
        return {"name": self.name, **keys, **tables}

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each option around the rule, by its table."""
        return {option.table: option.kind for option in self.around}

    @property
    def record(self) -> Optimizer:
        """The optimizer's record."""
        return find(self.name)

    def schedules(self, of_study: list[Schedule]) -> list[Schedule]:
        """Return the schedules of its trials: its own or the study's; a baseline has no rate, and a constant one."""
        if self.record.baseline:
            return [Schedule(name="constant")]
        return of_study if self.schedule is None else [self.schedule]

    @property
    def grids(self) -> dict[str, list[float]]:
        """The values of every hyper-parameter; those of options are named "table.name"."""
        own = {f"{option.table}.{key}": v for option in self.around for key, v in option.numbers.items()}
        return {**self.hyper, **own}


def _keys(record: ScheduleRecord) -> dict[str, Any]:
    """Return the fields of a schedule's own keys, each with the values that it may take."""
    fields: dict[str, Any] = {}
    for key, default in record.params.items():
        values = several_of(record.annotations[key], record.choices.get(key, ()))
        if key in record.required:
            fields[key] = (values, ...)
        else:
            fields[key] = (values | None, None if default is None else [default])
    fields["length"] = (several_of(Count), ...) if record.timed else (several_of(Count) | None, None)
    fields["then"] = (Pieces | None, None)
    return fields


def _variants(block: Table, what: Callable[[ScheduleRecord], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the fields of each schedule that a table makes; `what` returns fields besides its own and the chain's."""
    record = named(SCHEDULES.find, block.get("name"))
    read = read_block(block, "schedule", {"name": (str, ...), **what(record), **_keys(record)})
    given = [key for key in record.one_of if read[key] is not None]
    if record.one_of and len(given) != 1:
        raise failure(f"needs exactly one of {', '.join(record.one_of)}; it has {' and '.join(given) or 'none'}")
    if read["then"] is not None and read["length"] is None:
        raise failure(
            f"is missing: after how many indices 'then' begins; without it '{record.name}' never ends", "length"
        )
    axes = {key: read.pop(key) for key in (*record.params, "length", "then", "also") if key in read}
    axes = {key: values for key, values in axes.items() if values is not None}
    for values in combined(axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        params = {key: chosen.pop(key) for key in record.params if key in chosen}
        if fault := record.fault(params):
            raise failure(f": {fault}")
        yield {**read, **chosen, "params": params}


def _pieces(block: Table) -> list[Piece]:
    return [Piece(**fields) for fields in _variants(block, lambda _: {})]


def _schedules(block: Table) -> list[Schedule]:
    def head(record: ScheduleRecord) -> dict[str, Any]:
        return {
            "of": (str, record.of),
            "per": (Literal["epoch"] if record.feedback else Unit, record.per),
            "horizon": (Horizon, "last"),
            "also": (Schedules | None, None),
        }

    return [Schedule(**fields) for fields in _variants(block, head)]


Pieces = Annotated[list[Piece], flattened(_pieces)]
Schedules = Annotated[list[Schedule], flattened(_schedules)]


ALTERNATIVES = (*TABLES, "line_search", "schedule")
RESERVED_KEYS = ("name", "schedule", "estimator", "line_search", *TABLES)


def _optimizers(block: Table) -> list[OptimizerBlock]:
    record = named(find, block.get("name"))
    if record.baseline:
        return [_baseline(record, block)]
    if taken := [key for key in (*record.hyper, *record.options) if key in RESERVED_KEYS]:
        raise failure(
            f": the optimizer's {taken[0]!r} has the name of a key that every optimizer has; rename it", "name"
        )
    read = read_by(_model_of(record, searched="line_search" in block), block)
    common = {
        "name": record.name,
        "hyper": {key: read[key] for key in record.hyper},
        "options": {key: read[key] for key in record.options},
        "estimator": read["estimator"],
    }
    return [
        OptimizerBlock(**common, around=[option for option in around if option], line_search=search, schedule=schedule)
        for *around, search, schedule in combined([None] if read[key] is None else read[key] for key in ALTERNATIVES)
    ]


_models: dict[tuple[int, bool], tuple[Optimizer, type[Block]]] = {}  # with the record itself: its id stays its own


def _model_of(record: Optimizer, *, searched: bool) -> type[Block]:
    """Return the model of an optimizer's table, made once; `searched`: whether a line search gives the rate."""
    if (key := (id(record), searched)) not in _models:
        defaults = {key: value if value is None else float(value) for key, value in record.hyper.items()}
        if "lr" in defaults and searched:
            defaults["lr"] = 1.0
        fields: dict[str, Any] = {"name": (str, ...), **fields_of(defaults, record.annotations)}
        fields |= {key: (several_of(str, valid), [valid[0]]) for key, valid in record.options.items()}
        kinds = {table: around_of(table) for table in TABLES} | {"line_search": Searches, "schedule": Schedules}
        fields |= {"estimator": (Estimators, ["none"])} | {key: (kinds[key] | None, None) for key in ALTERNATIVES}
        _models[key] = record, block_model("optimizer", fields)
    return _models[key][1]


def _baseline(record: Optimizer, block: Table) -> OptimizerBlock:
    """Read the table of a baseline, which has only its numbers as keys; on landscapes they may be left out."""
    fields = {key: (several_of(record.annotations[key]) | None, None) for key in record.hyper}
    read = read_block(block, "optimizer", {"name": (str, ...), **fields})
    given = {key: read[key] for key in record.hyper if read[key] is not None}
    if missing := [key for key in record.hyper if given and key not in given]:
        raise failure("is missing", missing[0])
    for low, high in itertools.product(given.get("low", []), given.get("high", [])):
        if low >= high:
            raise failure(f"must be below high = {high:g}", "low", found=low)
        if math.isinf(high - low):
            raise failure(f"is too far below high = {high:g} for a number", "low", found=low)
    return OptimizerBlock(name=record.name, hyper=given, options={})


Estimators = Several[Annotated[str, AfterValidator(lambda name: ESTIMATORS.find(name).name)]]
Optimizers = Annotated[list[OptimizerBlock], flattened(_optimizers)]
