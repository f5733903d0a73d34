"""The constructors of public values check their arguments' types, and convert what can be converted exactly."""

from __future__ import annotations

import math
import traceback
from datetime import datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import attrs
import pytest

from rbhq_stream import (
    Dividend,
    Extra,
    PayoutFactors,
    PoolDividend,
    PriceEvent,
    PriceType,
    PriceUpdate,
    RaceId,
    RaceResultEvent,
    RaceStatus,
    RaceStatusEvent,
    Record,
    Retry,
    RunnerResult,
    Scratching,
    Unscratching,
)

REQUIRED: dict[type[Any], dict[str, Any]] = {
    RaceId: {"meeting_id": 1, "event_number": 2},
    PriceUpdate: {"runner_number": 3, "price_type": PriceType.WIN},
    Scratching: {"runner_number": 3},
    Unscratching: {"runner_number": 3},
    PayoutFactors: {},
    RunnerResult: {"runner_number": 3},
    PoolDividend: {"selections": (3,), "amount": Decimal(2)},
    Dividend: {"wagering_product": "SP"},
    PriceEvent: {"meeting_id": 1, "event_number": 2},
    RaceStatusEvent: {"meeting_id": 1, "event_number": 2, "status": RaceStatus.OPEN},
    RaceResultEvent: {"meeting_id": 1, "event_number": 2, "status": RaceStatus.FINAL},
    Record: {"topic": "prices", "partition": 0, "offset": 5},
    Retry: {},
}
EVERY_FIELD = [(cls, a.alias) for cls in REQUIRED for a in attrs.fields(cls)]
NUMBERS = [(cls, a.alias) for cls in REQUIRED for a in attrs.fields(cls) if "Decimal" in str(a.type)]
INTEGERS = [(cls, a.alias) for cls in REQUIRED for a in attrs.fields(cls) if str(a.type) in ("int", "int | None")]


def build(cls: type[Any], **fields: Any) -> Any:
    return cls(**{**REQUIRED[cls], **fields})


@pytest.mark.parametrize(("cls", "name"), EVERY_FIELD)
@pytest.mark.parametrize("wrong", [object(), {1: 2}.keys(), [object()]], ids=["object", "keys", "list"])
def test_every_field_refuses_a_value_of_another_type(cls: type[Any], name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}=.*: expected .*, got ") as caught:
        build(cls, **{name: wrong})
    # an error tracker or `pytest -l` can show the locals, which an instance without some of its fields would break
    assert traceback.TracebackException.from_exception(caught.value, capture_locals=True)


@pytest.mark.parametrize("cls", [PriceEvent, RaceStatusEvent, RaceResultEvent])
def test_the_record_of_an_event_is_a_record_or_the_clients_message(cls: type[Any]) -> None:
    with pytest.raises(TypeError, match=r"^record=7: expected a Record or the Kafka client's message"):
        build(cls, record=7)


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_a_binary_float_is_refused_where_a_number_must_be_exact(cls: type[Any], name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name}=4\.4: a float can't represent.*; give Decimal\('4\.4'\) or '4\.4'$"):
        build(cls, **{name: 4.4})


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("4.40", "4.40"),
        (4, "4"),
        (Decimal("4.40"), "4.40"),
        ("1" * 60 + ".5", "1" * 60 + ".5"),
        (10**60 + 1, str(10**60 + 1)),
    ],
)
def test_integers_and_strings_become_exact_decimals(cls: type[Any], name: str, given: Any, kept: str) -> None:
    with localcontext() as context:
        context.prec = 3  # exact, whatever the application rounds to
        value = getattr(build(cls, **{name: given}), name)
    assert type(value) is Decimal
    assert str(value) == kept


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
@pytest.mark.parametrize("wrong", ["", "SCR", "4,40", "4.4.0"])
def test_a_string_that_is_not_a_number_is_refused(cls: type[Any], name: str, wrong: str) -> None:
    with localcontext() as context:
        context.clear_traps()
        with pytest.raises(ValueError, match=f"^{name}='{wrong}': expected a decimal number"):
            build(cls, **{name: wrong})


@pytest.mark.parametrize(("cls", "name"), [*NUMBERS, *INTEGERS])
def test_a_bool_is_not_accepted_as_a_number(cls: type[Any], name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}=True: expected"):
        build(cls, **{name: True})


@pytest.mark.parametrize(("cls", "name"), INTEGERS)
@pytest.mark.parametrize("wrong", [3.0, "3", Decimal(3)])
def test_an_integer_is_an_int(cls: type[Any], name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name}=.*: expected an int, got {type(wrong).__name__}"):
        build(cls, **{name: wrong})


def test_an_argument_too_long_to_show_is_refused_like_any_other() -> None:
    with pytest.raises(TypeError, match=r"^price_type=<int>: expected a PriceType, got int"):
        PriceUpdate(3, 10**5000)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^price_type=b'x{55}\.\.\.: expected"):
        PriceUpdate(3, b"x" * 1000)  # type: ignore[arg-type]


def test_strings_become_price_types_and_statuses() -> None:
    assert PriceUpdate(3, "ep").price_type is PriceType.WIN
    assert PriceUpdate(3, "EPPLACE").price_type is PriceType.PLACE
    assert PriceUpdate(3, "new").price_type == PriceType("new")
    assert RaceStatusEvent(1, 2, "closed").status is RaceStatus.CLOSED
    for blank in ("", " "):
        with pytest.raises(ValueError, match=f"^price_type='{blank}': a PriceType is not blank"):
            PriceUpdate(3, blank)


def test_times_become_utc() -> None:
    sydney = timezone(timedelta(hours=11))
    time = Unscratching(3, datetime(2022, 11, 28, 7, 25, 30, tzinfo=sydney)).unscratch_time
    assert time is not None
    assert (time.tzinfo, time.hour) == (timezone.utc, 20)
    first = datetime(1, 1, 1, tzinfo=sydney)
    assert Unscratching(3, first).unscratch_time is first, "UTC has no such time; encode refuses it"


def test_a_mapping_becomes_extra() -> None:
    extra = RaceStatusEvent(1, 2, RaceStatus.OPEN, extra={"new": 1}).extra
    assert type(extra) is Extra
    assert extra == {"new": 1}
    with pytest.raises(TypeError, match="7 cannot be the name of a field"):
        Extra({7: 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^extra={7: 1}: expected a mapping with strings as keys, got dict"):
        RaceStatusEvent(1, 2, RaceStatus.OPEN, extra={7: 1})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"attempts": 0}, "^attempts=0: expected 1 or more"),
        ({"attempts": 2.5}, "^attempts=2.5: expected an int, got float"),
        ({"attempts": math.inf}, "^attempts=inf: expected an int, got float"),
        ({"wait": -0.1}, "^wait=-0.1: expected a number from 0 to 86400"),
        ({"wait": math.nan}, "^wait=nan: expected a number from 0 to 86400"),
        ({"wait": "1"}, "^wait='1': expected a number from 0 to 86400, got str"),
        ({"factor": 0.5}, "^factor=0.5: expected a number from 1 to 1000"),
        ({"factor": math.inf}, "^factor=inf: expected a number from 1 to 1000"),
        ({"max_wait": math.inf}, "^max_wait=inf: expected a number from 0 to 86400"),
        ({"max_wait": None}, "^max_wait=None: expected a number from 0 to 86400, got NoneType"),
    ],
)
def test_a_retry_that_cannot_work_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        Retry(**fields)


def test_the_waits_of_a_retry_grow_up_to_the_longest() -> None:
    assert list(Retry().waits()) == [0.1, 0.2, 0.4, 0.8]
    assert list(Retry(attempts=9).waits())[-2:] == [6.4, 10]
    assert list(Retry(attempts=6, wait=1, factor=3, max_wait=10).waits()) == [1, 3, 9, 10, 10]
    assert list(Retry(attempts=3, wait=20, max_wait=10).waits()) == [10, 10]
    assert list(Retry(attempts=3, wait=0, factor=1000).waits()) == [0, 0]
    assert list(Retry(attempts=1).waits()) == []
