"""What goes to other processes is pickled light, and without the functions that it holds."""

from dataclasses import fields
from typing import Any


class PickledByFields:
    """A frozen dataclass that is pickled as its fields, without what it has computed from them and kept."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
