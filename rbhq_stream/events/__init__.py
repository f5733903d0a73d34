"""The feed's events: one class for each kind of event, and for each of the parts they consist of.

All are frozen values: hashable, comparable, picklable, and safe to keep or to hand to another thread. Money, prices,
deductions and factors are `Decimal`, exactly as RBHQ wrote them; times are aware and in UTC. The constructors check
their arguments and raise `TypeError` or `ValueError`. A number may also be given as an `int` or as a string such as
`"4.40"`, but not as a `float`, which can't represent most decimal numbers exactly.
"""

from rbhq_stream.events._extra import NO_EXTRA, Extra
from rbhq_stream.events._open_enums import PriceType, RaceStatus
from rbhq_stream.events._parts import (
    Dividend,
    PayoutFactors,
    PoolDividend,
    PriceUpdate,
    RunnerResult,
    Scratching,
    Unscratching,
)
from rbhq_stream.events._race_events import Event, PriceEvent, RaceEvent, RaceResultEvent, RaceStatusEvent
from rbhq_stream.events._race_id import RaceId

__all__ = [
    "NO_EXTRA",
    "Dividend",
    "Event",
    "Extra",
    "PayoutFactors",
    "PoolDividend",
    "PriceEvent",
    "PriceType",
    "PriceUpdate",
    "RaceEvent",
    "RaceId",
    "RaceResultEvent",
    "RaceStatus",
    "RaceStatusEvent",
    "RunnerResult",
    "Scratching",
    "Unscratching",
]
