"""What really happened in a simulated race, taken from the simulation itself and not from its events."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from attrs import frozen

from rbhq_stream.events import RaceId, RaceStatus, Scratching
from rbhq_stream.testing._outcome import payout_factor


@frozen
class RaceTruth:
    """What really happened in a simulated race: what an application must know at the end of the day."""

    race_id: RaceId
    status: RaceStatus
    """FINAL or ABANDONED."""
    starters: tuple[int, ...]
    """The runners that were in the race in the end."""
    scratchings: tuple[Scratching, ...]
    """The runners that were not, each with its last deductions. A reinstated runner is not among them."""
    placings: tuple[tuple[int, ...], ...]
    """Runner numbers in finishing order, as amended last; those of one group finished in a dead heat. Empty for an
    abandoned race.
    """
    jumped_at: datetime | None
    """When the race started (UTC); `None` for an abandoned race."""

    def payout_factor(self, runner_number: int, places: int) -> Decimal:
        """Returns the part of its price that a bet pays: 1, less for a dead heat, 0 for one that lost.

        Args:
            runner_number: The runner.
            places: How many places the bet pays; 1 for a win bet.
        """
        position = 1
        for group in self.placings:
            if runner_number in group:
                return payout_factor(position, len(group), places) or Decimal(0)
            position += len(group)
        return Decimal(0)
