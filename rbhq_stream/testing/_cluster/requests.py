"""What the embedded brokers do with each request, and the topics and records that they keep."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress

from rbhq_stream.testing._cluster import protocol
from rbhq_stream.testing._cluster.group_requests import Connection, GroupRequests, Handler
from rbhq_stream.testing._cluster.log import NOT_FOUND, Log
from rbhq_stream.testing._cluster.protocol import (
    NO_BROKER,
    NO_ERROR,
    UNKNOWN_TOPIC_OR_PARTITION,
    Address,
    Message,
    Partition,
    for_each,
)

_CLUSTER_ID = "rbhq-stream-embedded"
_TOPIC = 2  # the resource type of a topic in requests for configurations
_SET_FOR_TOPIC, _DEFAULT = 1, 5  # where the value of a topic's configuration comes from
_DEFAULTS = {
    "cleanup.policy": "delete",
    "compression.type": "producer",
    "max.message.bytes": str(64 * 1024 * 1024),
    "message.timestamp.type": "CreateTime",
    "min.insync.replicas": "1",
    "retention.bytes": "-1",
    "retention.ms": "-1",
}


class Requests:
    """The topics of the cluster, and what each request does. Everything is called in the event loop of the brokers."""

    def __init__(self, brokers: Callable[[], Sequence[Address]]) -> None:
        """
        Args:
            brokers: returns the brokers that are reported to clients.
        """
        self.logs: dict[Partition, Log] = {}
        self.groups = GroupRequests(brokers)
        self._brokers = brokers
        self._configs: dict[str, dict[str, str]] = {}  # by topic
        self._written = asyncio.Event()  # set, and replaced, when records are written
        self._producers = itertools.count(1)
        self._handlers: dict[int, Handler] = {
            protocol.API_VERSIONS: self._api_versions,
            protocol.CREATE_TOPICS: self._create_topics,
            protocol.DELETE_RECORDS: self._delete_records,
            protocol.DESCRIBE_CONFIGS: self._describe_configs,
            protocol.FETCH: self._fetch,
            protocol.INIT_PRODUCER_ID: self._init_producer_id,
            protocol.LIST_OFFSETS: self._list_offsets,
            protocol.METADATA: self._metadata,
            protocol.PRODUCE: self._produce,
            **self.groups.handlers,
        }

    async def handle(self, key: int, request: Message, connection: Connection) -> Message:
        """Returns the response to a request of the kind `key`."""
        response = self._handlers[key](request, connection)
        return response if isinstance(response, dict) else await response

    def create_topic(self, name: str, partitions: int, configs: dict[str, str]) -> int:
        """Creates a topic, and returns an error code."""
        if name in self._configs:
            return protocol.TOPIC_ALREADY_EXISTS
        if partitions < 1:
            return protocol.INVALID_PARTITIONS
        self._configs[name] = configs
        self.logs.update({(name, index): Log() for index in range(partitions)})
        return NO_ERROR

    # the cluster and its topics

    def _api_versions(self, _request: Message, _connection: Connection) -> Message:
        apis = [
            {"key": key, "min_version": api.version, "max_version": api.version} for key, api in protocol.APIS.items()
        ]
        return {"error": NO_ERROR, "apis": apis}

    def _metadata(self, request: Message, _connection: Connection) -> Message:
        brokers = self._brokers()
        wanted = self._configs if request["topics"] is None else request["topics"]
        return {
            "throttle": 0,
            "brokers": [{"id": each.id, "host": each.host, "port": each.port, "rack": None} for each in brokers],
            "cluster_id": _CLUSTER_ID,
            "controller": brokers[0].id if brokers else NO_BROKER,
            "topics": [self._topic_metadata(name, [broker.id for broker in brokers]) for name in wanted],
        }

    def _topic_metadata(self, name: str, brokers: list[int]) -> Message:
        return {
            "error": NO_ERROR if name in self._configs else UNKNOWN_TOPIC_OR_PARTITION,
            "name": name,
            "is_internal": False,
            "partitions": [
                {
                    "error": NO_ERROR,
                    "index": index,
                    "leader": brokers[index % len(brokers)] if brokers else NO_BROKER,
                    "replicas": brokers,
                    "in_sync": brokers,
                }
                for topic, index in self.logs
                if topic == name
            ],
        }

    def _create_topics(self, request: Message, _connection: Connection) -> Message:
        created = []
        for topic in request["topics"]:
            configs = {config["name"]: config["value"] for config in topic["configs"]}
            partitions = len(topic["assignments"]) or (1 if topic["partitions"] == -1 else topic["partitions"])
            error = self.create_topic(topic["name"], partitions, configs)
            created.append({"name": topic["name"], "error": error, "error_message": None})
        return {"throttle": 0, "topics": created}

    def _describe_configs(self, request: Message, _connection: Connection) -> Message:
        return {"throttle": 0, "results": [self._described(resource) for resource in request["resources"]]}

    def _described(self, resource: Message) -> Message:
        is_topic, name, keys = resource["type"] == _TOPIC, resource["name"], resource["keys"]
        given = self._configs.get(name, {})
        return {
            "error": UNKNOWN_TOPIC_OR_PARTITION if is_topic and name not in self._configs else NO_ERROR,
            "error_message": None,
            "type": resource["type"],
            "name": name,
            "configs": [
                {
                    "name": key,
                    "value": value,
                    "is_read_only": False,
                    "source": _SET_FOR_TOPIC if key in given else _DEFAULT,
                    "is_sensitive": False,
                    "synonyms": [],
                }
                for key, value in {**_DEFAULTS, **given}.items()
                if is_topic and (keys is None or key in keys)
            ],
        }

    # records

    def _init_producer_id(self, _request: Message, _connection: Connection) -> Message:
        return {"throttle": 0, "error": NO_ERROR, "producer": next(self._producers), "epoch": 0}

    def _produce(self, request: Message, _connection: Connection) -> Message:
        def append(partition: Partition, asked: Message) -> Message:
            log = self.logs.get(partition)
            error, offset = (UNKNOWN_TOPIC_OR_PARTITION, -1) if log is None else log.append(asked["records"] or b"")
            return {"error": error, "offset": offset, "append_time": -1}

        response = {"topics": for_each(request["topics"], append), "throttle": 0}
        self._written.set()
        self._written = asyncio.Event()
        return response

    async def _fetch(self, request: Message, _connection: Connection) -> Message:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request["max_wait"] / 1000
        while True:
            written = self._written
            topics = self._read(request)
            partitions = [partition for topic in topics for partition in topic["partitions"]]
            size = sum(len(partition["records"]) for partition in partitions)
            has_failed = any(partition["error"] != NO_ERROR for partition in partitions)
            if size >= request["min_bytes"] or has_failed or loop.time() >= deadline:
                return {"throttle": 0, "topics": topics}
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(written.wait(), deadline - loop.time())

    def _read(self, request: Message) -> list[Message]:
        left = request["max_bytes"]

        def read(partition: Partition, asked: Message) -> Message:
            nonlocal left
            log = self.logs.get(partition)
            error, records, end = UNKNOWN_TOPIC_OR_PARTITION, b"", -1
            if log is not None:
                error, records = log.read(asked["offset"], min(left, asked["max_bytes"]))
                end = log.end
            left -= len(records)
            return {
                "error": error, "high_watermark": end, "last_stable_offset": end, "aborted": None, "records": records,
            }  # fmt: skip

        return for_each(request["topics"], read)

    def _list_offsets(self, request: Message, _connection: Connection) -> Message:
        def find(partition: Partition, asked: Message) -> Message:
            log = self.logs.get(partition)
            found = (UNKNOWN_TOPIC_OR_PARTITION, NOT_FOUND, NOT_FOUND) if log is None else log.find(asked["timestamp"])
            return dict(zip(("error", "timestamp", "offset"), found, strict=True))

        return {"throttle": 0, "topics": for_each(request["topics"], find)}

    def _delete_records(self, request: Message, _connection: Connection) -> Message:
        def delete(partition: Partition, asked: Message) -> Message:
            log = self.logs.get(partition)
            if log is None:
                return {"error": UNKNOWN_TOPIC_OR_PARTITION, "low_watermark": -1}
            return {"error": log.delete_before(asked["offset"]), "low_watermark": log.start}

        return {"throttle": 0, "topics": for_each(request["topics"], delete)}
