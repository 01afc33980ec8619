"""A read-only mapping from names to frozen records: what tests, docs, benchmarks and `fastgd list` read."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar

from fastgd.common.errors import InputError, nearest


class Named(Protocol):
    """Anything with a name can be registered."""

    @property
    def name(self) -> str:
        """What it is called in study files."""
        ...


R = TypeVar("R", bound=Named)


class OfClass:
    """A record of a class, `cls`, whose docstring says what it is."""

    cls: type

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]


class Registry(Mapping[str, R]):
    """Records by name.

    Parameters
    ----------
    kind : str
        What the records are ("optimizer"), for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._records: dict[str, R] = {}

    def add(self, record: R) -> R:
        """Register a record; a name that is taken raises ValueError."""
        if record.name in self._records:
            raise ValueError(f"{self.kind} {record.name!r} is registered twice")
        self._records[record.name] = record
        return record

    def find(self, name: str) -> R:
        """Return the record, or raise InputError with the nearest valid name."""
        if name not in self._records:
            raise InputError(f"there is no {self.kind} {name!r}; {nearest(name, self._records)}")
        return self._records[name]

    def __getitem__(self, name: str) -> R:
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)
