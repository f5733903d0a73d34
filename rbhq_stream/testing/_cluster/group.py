"""A consumer group: its members, their partitions, and the committed offsets.

| state | meaning | next state |
|---|---|---|
| `EMPTY` | no members; offsets may be committed from outside | `JOINING` when a member joins |
| `JOINING` | every member has to join, including those of the last generation | `SYNCING` when all of them have |
| `SYNCING` | all have joined; the leader has to send the assignment | `STABLE` when it has; `JOINING` |
| `STABLE` | each member reads its partitions | `JOINING` |

A member that joins, leaves or is evicted takes a group from `SYNCING` or `STABLE` to `JOINING`; when the last
member goes, the group is `EMPTY`. All methods are called in the event loop of the brokers.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from enum import Enum, auto
from typing import Any

from attrs import Factory, define

from rbhq_stream.testing._cluster.protocol import (
    ILLEGAL_GENERATION,
    INCONSISTENT_GROUP_PROTOCOL,
    NO_ERROR,
    REBALANCE_IN_PROGRESS,
    UNKNOWN_MEMBER_ID,
)

GRACE = 0.5
"""Seconds after which a member whose connection has ended is evicted."""


class _State(Enum):
    EMPTY = auto()
    JOINING = auto()
    SYNCING = auto()
    STABLE = auto()


@define(eq=False)
class _Member:
    session_timeout: float
    rebalance_timeout: float
    protocols: dict[str, bytes]
    """The assignment strategies that it supports, best first, each with its metadata."""
    assignment: bytes = b""
    joining: asyncio.Future[dict[str, Any]] | None = None
    """The response to its request to join, while that waits for other members."""
    syncing: asyncio.Future[tuple[int, bytes]] | None = None
    """The response to its request for its assignment, while that waits for the leader."""
    eviction: asyncio.TimerHandle | None = None


@define(eq=False)
class Group:
    """See the docstring of the module."""

    committed: dict[tuple[str, int], tuple[int, str | None]] = Factory(dict)
    """The offset of the next record to read, and the client's metadata, by topic and partition."""
    _state: _State = _State.EMPTY
    _generation: int = 0
    _leader: str = ""
    _protocol: str = ""
    _members: dict[str, _Member] = Factory(dict)
    _late: asyncio.TimerHandle | None = None

    async def join(
        self, member_id: str, protocols: dict[str, bytes], *, session_timeout: float, rebalance_timeout: float
    ) -> dict[str, Any]:
        """Adds a member, or lets it take part in the next generation; waits until all members have joined."""
        if member_id and member_id not in self._members:
            return _refused(UNKNOWN_MEMBER_ID)
        others = [member.protocols for name, member in self._members.items() if name != member_id]
        if not any(all(name in other for other in others) for name in protocols):
            return _refused(INCONSISTENT_GROUP_PROTOCOL)
        member_id = member_id or f"member-{uuid.uuid4()}"
        member = self._members.setdefault(member_id, _Member(session_timeout, rebalance_timeout, protocols))
        member.protocols = protocols
        if self._state is not _State.JOINING:
            self._rebalance()
        joining: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        member.joining = joining
        self._keep(member)
        self._begin_generation_if_complete()
        try:
            return await joining
        except asyncio.CancelledError:
            self.disconnected(member_id)
            raise

    async def sync(self, member_id: str, generation: int, assignments: dict[str, bytes]) -> tuple[int, bytes]:
        """Returns an error code, and what the member is assigned; waits until the leader has sent it."""
        error = self.check(member_id, generation)
        if error == NO_ERROR and self._state is _State.JOINING:
            error = REBALANCE_IN_PROGRESS
        if error != NO_ERROR:
            return error, b""
        member = self._members[member_id]
        if self._state is _State.SYNCING:
            if member_id != self._leader:
                member.syncing = asyncio.get_running_loop().create_future()
                return await member.syncing
            self._state = _State.STABLE
            for name, other in self._members.items():
                other.assignment = assignments.get(name, b"")
                _respond(other.syncing, (NO_ERROR, other.assignment))
        return NO_ERROR, member.assignment

    def heartbeat(self, member_id: str, generation: int) -> int:
        """Keeps a member in the group, and returns an error code: whether it has to join again."""
        error = self.check(member_id, generation)
        return REBALANCE_IN_PROGRESS if error == NO_ERROR and self._state is _State.JOINING else error

    def check(self, member_id: str, generation: int) -> int:
        """Returns an error code: whether this is a member of the current generation. Keeps it in the group."""
        if generation < 0 and not self._members:
            return NO_ERROR  # a client that commits and is no member
        member = self._members.get(member_id)
        if member is None:
            return UNKNOWN_MEMBER_ID
        self._keep(member)
        return NO_ERROR if generation == self._generation else ILLEGAL_GENERATION

    def remove(self, member_id: str) -> int:
        """Removes a member that left or timed out. Returns an error code."""
        member = self._members.pop(member_id, None)
        if member is None:
            return UNKNOWN_MEMBER_ID
        if member.eviction is not None:
            member.eviction.cancel()
        _respond(member.joining, _refused(UNKNOWN_MEMBER_ID))
        _respond(member.syncing, (UNKNOWN_MEMBER_ID, b""))
        if not self._members:
            self._state = _State.EMPTY
        elif self._state is _State.JOINING:
            self._begin_generation_if_complete()
        else:
            self._rebalance()
        return NO_ERROR

    def evict_all(self) -> None:
        """Removes all members."""
        for member_id in list(self._members):
            self.remove(member_id)

    def disconnected(self, member_id: str) -> None:
        """Evicts a member whose connection has ended, unless it reconnects within `GRACE` seconds.

        The brokers of Kafka wait for the session time-out. Here no network can have failed, so it is certain that the
        process has ended.
        """
        member = self._members.get(member_id)
        if member is not None:
            member.joining = None
            self._keep(member, GRACE)

    def close(self) -> None:
        """Stops all timers."""
        for timer in (self._late, *(member.eviction for member in self._members.values())):
            if timer is not None:
                timer.cancel()

    def _rebalance(self) -> None:
        self._state = _State.JOINING
        for member in self._members.values():
            _respond(member.syncing, (REBALANCE_IN_PROGRESS, b""))
            member.syncing = None
        longest = max(member.rebalance_timeout for member in self._members.values())
        self._late = asyncio.get_running_loop().call_later(longest, self._remove_late)

    def _remove_late(self) -> None:
        for member_id, member in list(self._members.items()):
            if member.joining is None:
                self.remove(member_id)

    def _begin_generation_if_complete(self) -> None:
        if any(member.joining is None for member in self._members.values()):
            return
        if self._late is not None:
            self._late.cancel()
        self._state = _State.SYNCING
        self._generation += 1
        if self._leader not in self._members:
            self._leader = next(iter(self._members))
        everyone = self._members.values()
        self._protocol = next(
            name
            for name in self._members[self._leader].protocols
            if all(name in member.protocols for member in everyone)
        )
        roll = [{"id": name, "metadata": member.protocols[self._protocol]} for name, member in self._members.items()]
        for name, member in self._members.items():
            _respond(member.joining, self._joined(name, roll if name == self._leader else []))
            member.joining = None
            self._keep(member)

    def _joined(self, member_id: str, members: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "throttle": 0,
            "error": NO_ERROR,
            "generation": self._generation,
            "protocol": self._protocol,
            "leader": self._leader,
            "member": member_id,
            "members": members,
        }

    def _keep(self, member: _Member, longest: float = math.inf) -> None:
        """Restarts the member's session time-out, or a shorter one. A member that waits to join isn't evicted."""
        if member.eviction is not None:
            member.eviction.cancel()
        if member.joining is None:
            loop = asyncio.get_running_loop()
            member.eviction = loop.call_later(min(member.session_timeout, longest), self._evict, member)

    def _evict(self, member: _Member) -> None:
        for member_id, other in self._members.items():
            if other is member:
                self.remove(member_id)
                return


def _respond(waiting: asyncio.Future[Any] | None, response: Any) -> None:
    if waiting is not None and not waiting.done():  # it was cancelled when its connection ended
        waiting.set_result(response)


def _refused(error: int) -> dict[str, Any]:
    return {
        "throttle": 0, "error": error, "generation": -1, "protocol": "", "leader": "", "member": "", "members": [],
    }  # fmt: skip
