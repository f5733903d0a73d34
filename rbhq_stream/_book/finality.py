"""How far a race's result can be relied on."""

from __future__ import annotations

from enum import Enum


class Finality(Enum):
    """How far a result, or what a bet is worth by it, can be relied on."""

    NONE = "none"
    """There is no result yet."""
    PROVISIONAL = "provisional"
    """There is a result, but it is not safe to settle on: it is INTERIM or under protest, something contradicts it, or
    the book does not hold everything that was published. `RaceState.reason` states which.
    """
    FINAL = "final"
    """The result is final, and bets can be settled. RBHQ may still amend it, which makes another final result."""
    VOID = "void"
    """The race was abandoned: bets are refunded."""
