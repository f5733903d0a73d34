"""The trace context in a record's headers, read by OpenTelemetry's own propagator."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rbhq_stream import Record

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OLDER = "00-00000000000000000000000000000001-0000000000000001-00"


def record(*headers: tuple[str, bytes | None]) -> Record:
    return Record("prices", 0, 7, headers=headers)


def test_the_propagator_reads_it() -> None:
    carrier = record(("traceparent", PARENT.encode()), ("tracestate", b"rbhq=t61rcWkgMzE")).trace_context()
    assert carrier is not None
    context = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    assert f"{context.trace_id:032x}-{context.span_id:016x}" == PARENT[3:-3]
    assert context.is_remote
    assert context.trace_flags.sampled
    assert dict(context.trace_state) == {"rbhq": "t61rcWkgMzE"}


def test_what_the_propagator_writes_comes_back() -> None:
    span = trace.NonRecordingSpan(trace.SpanContext(5, 6, is_remote=False, trace_flags=trace.TraceFlags(1)))
    written: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(written, trace.set_span_in_context(span))
    assert record(*((name, value.encode()) for name, value in written.items())).trace_context() == written


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("tracestate", b"a=b"),),
        (("traceparent", None),),
        (("traceparent", "00-\N{SNOWMAN}".encode()),),
        (("x-traceparent", PARENT.encode()),),
    ],
)
def test_without_it_there_is_none(headers: tuple[tuple[str, bytes | None], ...]) -> None:
    assert record(*headers).trace_context() is None


def test_what_is_malformed_is_left_to_the_propagator() -> None:
    carrier = record(("traceparent", b"nonsense")).trace_context()
    assert carrier == {"traceparent": "nonsense"}
    context = TraceContextTextMapPropagator().extract(carrier)
    assert not trace.get_current_span(context).get_span_context().is_valid


def test_the_last_header_of_a_name_counts_in_any_case() -> None:
    carrier = record(("traceparent", OLDER.encode()), ("k", b"v"), ("Traceparent", PARENT.encode())).trace_context()
    assert carrier == {"traceparent": PARENT}
