"""What the embedded brokers do with requests about groups: about their members and committed offsets."""

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Union

from attrs import Factory, define

from rbhq_stream.testing._cluster import protocol
from rbhq_stream.testing._cluster.group import Group
from rbhq_stream.testing._cluster.protocol import NO_BROKER, NO_ERROR, Address, Message, Partition, for_each


@define
class Connection:
    """A client's connection: the group members that use it."""

    members: set[tuple[str, str]] = Factory(set)


Handler = Callable[[Message, Connection], Union[Message, Awaitable[Message]]]
"""Handles one kind of request."""


class GroupRequests:
    """The groups of the cluster, and what each request about them does. Called in the event loop of the brokers.

    Args:
        brokers: returns the brokers that are reported to clients.
    """

    def __init__(self, brokers: Callable[[], Sequence[Address]]) -> None:
        self.commit_errors: deque[int] = deque()
        """The error codes that the next commits get, one each."""
        self.handlers: dict[int, Handler] = {
            protocol.FIND_COORDINATOR: self._find_coordinator,
            protocol.HEARTBEAT: self._heartbeat,
            protocol.JOIN_GROUP: self._join_group,
            protocol.LEAVE_GROUP: self._leave_group,
            protocol.OFFSET_COMMIT: self._offset_commit,
            protocol.OFFSET_FETCH: self._offset_fetch,
            protocol.SYNC_GROUP: self._sync_group,
        }
        self._brokers = brokers
        self._groups: defaultdict[str, Group] = defaultdict(Group)
        self._committed = asyncio.Event()  # set, and replaced, when offsets are committed

    def committed(self, group_id: str) -> dict[Partition, int]:
        """Returns what a group has committed."""
        group = self._groups.get(group_id)
        return {} if group is None else {partition: offset for partition, (offset, _) in group.committed.items()}

    async def wait_for_commits(self, is_enough: Callable[[], bool], timeout: float) -> bool:
        """Waits until `is_enough` returns true after a commit. Returns whether it did within the time-out."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not is_enough():
            try:
                await asyncio.wait_for(self._committed.wait(), deadline - asyncio.get_running_loop().time())
            except asyncio.TimeoutError:
                return is_enough()
        return True

    def disconnected(self, connection: Connection) -> None:
        """Notes that a client has disconnected."""
        for group, member in connection.members:
            self._groups[group].disconnected(member)

    def evict(self, group: str) -> None:
        """Removes all members from a group."""
        if group in self._groups:
            self._groups[group].evict_all()

    def close(self) -> None:
        """Stops the timers of all groups."""
        for group in self._groups.values():
            group.close()

    def _find_coordinator(self, request: Message, _connection: Connection) -> Message:
        error, chosen = protocol.COORDINATOR_NOT_AVAILABLE, Address(NO_BROKER, "", 0)
        brokers = self._brokers()
        if brokers:
            error, chosen = NO_ERROR, brokers[zlib.crc32(request["key"].encode()) % len(brokers)]
        return {
            "throttle": 0, "error": error, "error_message": None,
            "id": chosen.id, "host": chosen.host, "port": chosen.port,
        }  # fmt: skip

    async def _join_group(self, request: Message, connection: Connection) -> Message:
        response = await self._groups[request["group"]].join(
            request["member"],
            {each["name"]: each["metadata"] for each in request["protocols"]},
            session_timeout=request["session_timeout"] / 1000,
            rebalance_timeout=request["rebalance_timeout"] / 1000,
        )
        connection.members.add((request["group"], response["member"]))
        return response

    async def _sync_group(self, request: Message, connection: Connection) -> Message:
        assignments = {each["member"]: each["assignment"] for each in request["assignments"]}
        error, assignment = await self._group(request, connection).sync(
            request["member"], request["generation"], assignments
        )
        return {"error": error, "assignment": assignment}

    def _heartbeat(self, request: Message, connection: Connection) -> Message:
        return {"error": self._group(request, connection).heartbeat(request["member"], request["generation"])}

    def _leave_group(self, request: Message, connection: Connection) -> Message:
        return {"error": self._group(request, connection).remove(request["member"])}

    def _offset_commit(self, request: Message, connection: Connection) -> Message:
        group = self._group(request, connection)
        if self.commit_errors:
            error = self.commit_errors.popleft()
        else:
            error = group.check(request["member"], request["generation"])

        def commit(partition: Partition, asked: Message) -> Message:
            if error == NO_ERROR:
                group.committed[partition] = asked["offset"], asked["metadata"]
            return {"error": error}

        response = {"topics": for_each(request["topics"], commit)}
        self._committed.set()
        self._committed = asyncio.Event()
        return response

    def _offset_fetch(self, request: Message, _connection: Connection) -> Message:
        committed = self._groups[request["group"]].committed
        wanted = request["topics"]
        if wanted is None:  # all there are
            wanted = [{"name": topic, "partitions": [index]} for topic, index in committed]
        topics = []
        for topic in wanted:
            partitions = []
            for index in topic["partitions"]:
                offset, metadata = committed.get((topic["name"], index), (-1, None))
                partitions.append({"index": index, "offset": offset, "metadata": metadata, "error": NO_ERROR})
            topics.append({"name": topic["name"], "partitions": partitions})
        return {"topics": topics, "error": NO_ERROR}

    def _group(self, request: Message, connection: Connection) -> Group:
        connection.members.add((request["group"], request["member"]))
        return self._groups[request["group"]]
