"""The schemas of the tables. They are a contract: columns may be added at the end, and nothing else changes."""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")
NUMBER = pa.decimal128(38, 18)
"""Exact for every price and deduction, and for the factors of a dead heat, which RBHQ computes as binary floats."""

EVENT = (
    ("published", TIME),
    ("topic", pa.string()),
    ("partition", pa.int32()),
    ("offset", pa.int64()),
    ("part", pa.int32()),
    ("meeting_id", pa.int64()),
    ("event_number", pa.int64()),
)
"""The columns that every table begins with: the record that contained the event, and its race."""

PRICES = (("runner_number", pa.int64()), ("price_type", pa.string()), ("property_id", pa.int64()), ("price", NUMBER))
SCRATCHINGS = (
    ("runner_number", pa.int64()),
    ("is_scratched", pa.bool_()),
    ("time", TIME),
    ("scratch_type", pa.int64()),
    ("win_deduction", NUMBER),
    ("place_deduction", NUMBER),
    ("two_place_deduction", NUMBER),
    ("three_place_deduction", NUMBER),
    ("four_place_deduction", NUMBER),
)
STATUSES = (("status", pa.string()), ("runner_number", pa.int64()))
RESULTS = (
    ("status", pa.string()),
    ("venue", pa.string()),
    ("source", pa.string()),
    ("host", pa.string()),
    ("date_created", TIME),
    ("runner_number", pa.int64()),
    ("outcome_name", pa.string()),
    ("final_position", pa.int64()),
    ("payout_factor", NUMBER),
    ("win_factor", NUMBER),
    ("place2_factor", NUMBER),
    ("place3_factor", NUMBER),
    ("place4_factor", NUMBER),
)
DIVIDENDS = (
    ("status", pa.string()),
    ("wagering_product", pa.string()),
    ("selections", pa.list_(pa.int64())),
    ("amount", NUMBER),
)

SCHEMAS = {
    name: pa.schema([*EVENT, *columns])
    for name, columns in (
        ("prices", PRICES),
        ("scratchings", SCRATCHINGS),
        ("statuses", STATUSES),
        ("results", RESULTS),
        ("dividends", DIVIDENDS),
    )
}
"""By the name of the table."""
