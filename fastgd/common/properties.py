"""`cached_property` without a lock: a lock that another thread holds during a fork stays locked in the child."""

import functools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property as cached_property
else:

    class cached_property(functools.cached_property):  # noqa: N801 (it takes the place of Python's own)
        """Python's own as it is from 3.12 on; older ones take a lock."""

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            """Return the value, computed when it is first asked for."""
            if instance is None:
                return self
            if self.attrname not in instance.__dict__:
                instance.__dict__[self.attrname] = self.func(instance)
            return instance.__dict__[self.attrname]
