"""The requests that the embedded brokers understand, each in one version, and the error codes that they return.

The versions are old enough to have plain encodings and new enough for the clients of today.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from rbhq_stream.testing._cluster.schema import Type, parse_schema

Message = dict[str, Any]
"""A request or a response, or a part of one."""
Partition = tuple[str, int]
"""A topic and the number of a partition."""

NO_ERROR = 0
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
COORDINATOR_NOT_AVAILABLE = 15
ILLEGAL_GENERATION = 22
INCONSISTENT_GROUP_PROTOCOL = 23
UNKNOWN_MEMBER_ID = 25
REBALANCE_IN_PROGRESS = 27
UNSUPPORTED_VERSION = 35
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
UNSUPPORTED_COMPRESSION_TYPE = 76

NO_BROKER = -1
"""The id for no broker."""

PRODUCE, FETCH, LIST_OFFSETS, METADATA = 0, 1, 2, 3
OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 8, 9, 10
JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 11, 12, 13, 14
API_VERSIONS, CREATE_TOPICS, DELETE_RECORDS, INIT_PRODUCER_ID, DESCRIBE_CONFIGS = 18, 19, 21, 22, 32


@frozen
class Address:
    """Where a broker listens."""

    id: int
    host: str
    port: int


@frozen
class Api:
    """A request and its response."""

    version: int
    request: Type
    response: Type


def _api(version: int, request: str, response: str) -> Api:
    return Api(version, parse_schema(request), parse_schema(response))


APIS = {
    PRODUCE: _api(
        3,
        "transactional_id:string acks:int16 timeout:int32 topics:[name:string partitions:[index:int32 records:bytes]]",
        "topics:[name:string partitions:[index:int32 error:int16 offset:int64 append_time:int64]] throttle:int32",
    ),
    FETCH: _api(
        4,
        "replica:int32 max_wait:int32 min_bytes:int32 max_bytes:int32 isolation:int8"
        " topics:[name:string partitions:[index:int32 offset:int64 max_bytes:int32]]",
        "throttle:int32 topics:[name:string partitions:[index:int32 error:int16 high_watermark:int64"
        " last_stable_offset:int64 aborted:[producer:int64 offset:int64] records:bytes]]",
    ),
    LIST_OFFSETS: _api(
        2,
        "replica:int32 isolation:int8 topics:[name:string partitions:[index:int32 timestamp:int64]]",
        "throttle:int32 topics:[name:string partitions:[index:int32 error:int16 timestamp:int64 offset:int64]]",
    ),
    METADATA: _api(
        4,
        "topics:[string] allow_creation:bool",
        "throttle:int32 brokers:[id:int32 host:string port:int32 rack:string] cluster_id:string controller:int32"
        " topics:[error:int16 name:string is_internal:bool"
        " partitions:[error:int16 index:int32 leader:int32 replicas:[int32] in_sync:[int32]]]",
    ),
    OFFSET_COMMIT: _api(
        2,
        "group:string generation:int32 member:string retention:int64"
        " topics:[name:string partitions:[index:int32 offset:int64 metadata:string]]",
        "topics:[name:string partitions:[index:int32 error:int16]]",
    ),
    OFFSET_FETCH: _api(
        2,
        "group:string topics:[name:string partitions:[int32]]",
        "topics:[name:string partitions:[index:int32 offset:int64 metadata:string error:int16]] error:int16",
    ),
    FIND_COORDINATOR: _api(
        1,
        "key:string key_type:int8",
        "throttle:int32 error:int16 error_message:string id:int32 host:string port:int32",
    ),
    JOIN_GROUP: _api(
        2,
        "group:string session_timeout:int32 rebalance_timeout:int32 member:string protocol_type:string"
        " protocols:[name:string metadata:bytes]",
        "throttle:int32 error:int16 generation:int32 protocol:string leader:string member:string"
        " members:[id:string metadata:bytes]",
    ),
    HEARTBEAT: _api(0, "group:string generation:int32 member:string", "error:int16"),
    LEAVE_GROUP: _api(0, "group:string member:string", "error:int16"),
    SYNC_GROUP: _api(
        0,
        "group:string generation:int32 member:string assignments:[member:string assignment:bytes]",
        "error:int16 assignment:bytes",
    ),
    API_VERSIONS: _api(0, "", "error:int16 apis:[key:int16 min_version:int16 max_version:int16]"),
    CREATE_TOPICS: _api(
        4,
        "topics:[name:string partitions:int32 replicas:int16 assignments:[index:int32 brokers:[int32]]"
        " configs:[name:string value:string]] timeout:int32 validate_only:bool",
        "throttle:int32 topics:[name:string error:int16 error_message:string]",
    ),
    DELETE_RECORDS: _api(
        0,
        "topics:[name:string partitions:[index:int32 offset:int64]] timeout:int32",
        "throttle:int32 topics:[name:string partitions:[index:int32 low_watermark:int64 error:int16]]",
    ),
    INIT_PRODUCER_ID: _api(
        0, "transactional_id:string timeout:int32", "throttle:int32 error:int16 producer:int64 epoch:int16"
    ),
    DESCRIBE_CONFIGS: _api(
        1,
        "resources:[type:int8 name:string keys:[string]] include_synonyms:bool",
        "throttle:int32 results:[error:int16 error_message:string type:int8 name:string"
        " configs:[name:string value:string is_read_only:bool source:int8 is_sensitive:bool"
        " synonyms:[name:string value:string source:int8]]]",
    ),
}


def for_each(topics: list[Message], function: Callable[[Partition, Message], Message]) -> list[Message]:
    """Calls the function for each partition of a request, and returns the results in the same nested form."""
    return [
        {
            "name": topic["name"],
            "partitions": [
                {"index": asked["index"], **function((topic["name"], asked["index"]), asked)}
                for asked in topic["partitions"]
            ],
        }
        for topic in topics
    ]
