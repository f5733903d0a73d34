"""`counted`: a number with its noun, in the singular or the plural."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Returns the number and the noun, such as "1 outage" and "2 outages".

    Args:
        number: how many.
        noun: the singular. Its plural ends in "s".
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
