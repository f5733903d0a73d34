"""Arithmetic with amounts of money that never rounds, whatever the thread's own decimal context does."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from functools import reduce

EXACT = Context(prec=5_000, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation, Inexact])
"""Far more digits than a product of the wire's numbers has, which are at most 100 digits long each. A result that
needed more raises `decimal.Inexact`.
"""


def exact_sum(numbers: Iterable[Decimal]) -> Decimal:
    """Returns the sum of the numbers, to the last digit."""
    return reduce(EXACT.add, numbers, Decimal(0))


def exact_product(numbers: Iterable[Decimal]) -> Decimal:
    """Returns the product of the numbers, to the last digit."""
    return reduce(EXACT.multiply, numbers, Decimal(1))
