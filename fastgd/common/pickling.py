"""How records and rules go to other processes: light, and without the functions that they hold."""

from dataclasses import fields
from importlib import import_module
from typing import Any, ClassVar


class PickledByFields:
    """A frozen dataclass that is pickled as its fields: what it has computed from them and kept stays behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


class PickledByName:
    """A record that is pickled as its name in `registry`, a variable of the module that defines the record's class."""

    name: str
    _registry: ClassVar[str]

    def __init_subclass__(cls, *, registry: str) -> None:
        cls._registry = registry

    def __reduce__(self) -> tuple[Any, ...]:
        return _registered, (type(self).__module__, self._registry, self.name)


def _registered(module: str, registry: str, name: str) -> Any:
    return getattr(import_module(module), registry).find(name)
