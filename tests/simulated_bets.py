"""Bets on a simulated day, and what each pays by what happened in the simulation: in fractions, and not from events."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import attrs

from rbhq_stream import PriceType, RaceId, RaceStatus
from rbhq_stream.testing import RaceTruth, Simulator

BETS_PER_RACE = 12
PLACES = {PriceType.WIN: 1, PriceType.PLACE_2: 2, PriceType.PLACE_3: 3, PriceType.PLACE_4: 4}


@attrs.frozen
class Bet:
    number: int
    race_id: RaceId
    runner: int
    price_type: PriceType
    price: Fraction
    struck_at: datetime
    stake: Fraction

    def row(self) -> tuple[Any, ...]:
        price, stake = (f"{float(number):.2f}" for number in (self.price, self.stake))
        return self.number, str(self.race_id), self.runner, self.price_type, price, self.struck_at.isoformat(), stake


def bets_on(simulator: Simulator, truth: Mapping[RaceId, RaceTruth], seed: int) -> list[Bet]:
    """Bets on all runners and price types, struck before, between and after the scratchings of each race."""
    chance = random.Random(seed)
    bets: list[Bet] = []
    for race in simulator.card.races:
        outcome = truth[race.race_id]
        runners = [*outcome.starters, *(scratching.runner_number for scratching in outcome.scratchings)]
        placed = [runner for group in outcome.placings[:4] for runner in group]
        for _ in range(BETS_PER_RACE):
            bets.append(
                Bet(
                    len(bets),
                    race.race_id,
                    chance.choice(placed if placed and chance.random() < 0.6 else runners),
                    chance.choice(list(PriceType)),
                    Fraction(chance.randrange(105, 2_000), 100),
                    race.start_time - timedelta(minutes=chance.uniform(0, 240)),
                    Fraction(chance.randrange(100, 10_000), 100),
                )
            )
    return bets


def cents(bet: Bet, outcome: RaceTruth) -> int:
    """What a bet pays, by what happened in the simulation."""
    scratched = {scratching.runner_number: scratching for scratching in outcome.scratchings}
    stake = round(bet.stake * 100)
    if outcome.status is RaceStatus.ABANDONED or bet.runner in scratched:
        return stake
    starters = len(outcome.starters)
    if bet.price_type is PriceType.PLACE and starters < 5:
        return stake
    places = PLACES.get(bet.price_type) or (3 if starters >= 8 else 2)
    left = Fraction(1)
    for scratching in scratched.values():
        deduction = scratching.deduction(bet.price_type)
        assert deduction is not None
        assert scratching.scratch_time is not None
        if bet.struck_at < scratching.scratch_time:
            left -= Fraction(deduction)
    amount = stake * bet.price * max(left, Fraction(0)) * Fraction(outcome.payout_factor(bet.runner, places))
    return int(amount + Fraction(1, 2))  # half a cent is rounded up
