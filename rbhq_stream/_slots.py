"""Makes instances of frozen attrs classes without their constructors, where millions of them are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def open_class(cls: type[Any]) -> Callable[[], Any]:
    """Returns a mutable class without a constructor and with the same slots, so that these can be set one by one.

    When they are set, `instance.__class__ = cls` makes the instance one of the original class. Python allows that
    because both have the same slots. This is much faster than the constructor, which checks its arguments.
    """
    plain = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}
    return type(cls.__name__, (cls,), {"__slots__": (), **plain})
