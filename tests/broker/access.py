"""Users and permissions of a cluster. Every change is in force on every node when it returns."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not marked as exported
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tests.broker import wire
from tests.broker.core import ClusterCore, wait_until
from tests.broker.node import BrokerError, KafkaNode

_MECHANISM = ScramMechanism.SCRAM_SHA_512
_ITERATIONS = 4096


class AccessOperations(ClusterCore):
    """Who may log in, and what they may do then."""

    def __init__(self) -> None:
        super().__init__()
        self._passwords: dict[str, str] = {}

    def create_user(self, name: str, password: str) -> None:
        """Create a user who may log in with SCRAM-SHA-512, but do nothing yet."""
        info = ScramCredentialInfo(_MECHANISM, _ITERATIONS)
        self._alter(UserScramCredentialUpsertion(name, info, password.encode()))
        self._wait_login(name, password, expected=True)
        self._passwords[name] = password

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password; connections that are open stay so."""
        self.create_user(name, password)

    def delete_user(self, name: str) -> None:
        """Take a user created here away; connections that are open stay so."""
        self._alter(UserScramCredentialDeletion(name, _MECHANISM))
        self._wait_login(name, self._passwords.pop(name), expected=False)

    def allow_read(self, user: str, topic: str, *, prefixed: bool = False) -> None:
        """Let a user read a topic (or, prefixed, every topic whose name starts so)."""
        self.allow(user, AclOperation.READ, ResourceType.TOPIC, topic, prefixed=prefixed)

    def allow_write(self, user: str, topic: str, *, prefixed: bool = False) -> None:
        """Let a user publish to a topic."""
        self.allow(user, AclOperation.WRITE, ResourceType.TOPIC, topic, prefixed=prefixed)

    def allow_group(self, user: str, group: str, *, prefixed: bool = False) -> None:
        """Let a user be a member of a consumer group, and look at it."""
        for operation in (AclOperation.READ, AclOperation.DESCRIBE):
            self.allow(user, operation, ResourceType.GROUP, group, prefixed=prefixed)

    def deny_read(self, user: str, topic: str) -> None:
        """Forbid reading (and knowing of) one topic, whatever else is allowed."""
        for operation in (AclOperation.READ, AclOperation.DESCRIBE):
            self.deny(user, operation, ResourceType.TOPIC, topic)

    def deny_group(self, user: str, group: str) -> None:
        """Forbid the use of one group, whatever else is allowed."""
        for operation in (AclOperation.READ, AclOperation.DESCRIBE):
            self.deny(user, operation, ResourceType.GROUP, group)

    def revoke_topic(self, user: str, topic: str) -> None:
        """Take back every permission (and prohibition) given for exactly this topic name."""
        self._revoke(user, ResourceType.TOPIC, topic)

    def revoke_group(self, user: str, group: str) -> None:
        """Take back every permission (and prohibition) given for exactly this group name."""
        self._revoke(user, ResourceType.GROUP, group)

    def revoke_all(self, user: str) -> None:
        """Take back everything this user was ever allowed or denied."""
        self._revoke(user, ResourceType.ANY, None)

    def allow(
        self,
        user: str,
        operation: AclOperation,
        resource: ResourceType,
        name: str,
        *,
        prefixed: bool = False,
    ) -> None:
        """Grant one operation on one resource, or on all whose name starts with ``name``."""
        self._grant(user, operation, resource, name, prefixed, AclPermissionType.ALLOW)

    def deny(
        self,
        user: str,
        operation: AclOperation,
        resource: ResourceType,
        name: str,
        *,
        prefixed: bool = False,
    ) -> None:
        """Forbid one operation on one resource; this wins over any grant."""
        self._grant(user, operation, resource, name, prefixed, AclPermissionType.DENY)

    def _grant(
        self,
        user: str,
        operation: AclOperation,
        resource: ResourceType,
        name: str,
        prefixed: bool,
        permission: AclPermissionType,
    ) -> None:
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        principal = f"User:{user}"
        binding = AclBinding(resource, name, pattern, principal, "*", operation, permission)
        self.admin.create_acls([binding])[binding].result()
        # The numbers of these enums are those of the protocol.
        acl = wire.Acl(
            int(resource.value),
            name,
            int(pattern.value),
            principal,
            "*",
            int(operation.value),
            int(permission.value),
        )
        self._on_every_node(lambda port: acl in wire.acls(port), f"{binding} is in force")

    def _revoke(self, user: str, resource: ResourceType, name: str | None) -> None:
        pattern = ResourcePatternType.ANY
        operation, permission = AclOperation.ANY, AclPermissionType.ANY
        principal: Any = f"User:{user}"
        wanted: Any = name  # a filter takes None for "any", which its type does not say
        which = AclBindingFilter(resource, wanted, pattern, principal, None, operation, permission)  # type: ignore[arg-type]
        self.admin.delete_acls([which])[which].result()

        def gone(port: int) -> bool:
            return not any(
                acl.principal == principal
                and resource in (ResourceType.ANY, ResourceType(acl.resource_type))
                and name in (None, acl.resource_name)
                for acl in wire.acls(port)
            )

        self._on_every_node(gone, f"the permissions of {user} on {name or 'anything'} are gone")

    def _alter(self, alteration: UserScramCredentialAlteration) -> None:
        self.admin.alter_user_scram_credentials([alteration])[alteration.user].result()

    def _wait_login(self, name: str, password: str, *, expected: bool) -> None:
        """Wait until every node accepts (or refuses) the password, by trying to log in."""
        state = "can" if expected else "can no longer"

        def as_expected(node: KafkaNode) -> bool:
            return self._can_log_in(node, name, password) is expected

        for node in self.running_nodes():
            wait_until(partial(as_expected, node), f"{name} {state} log in to node {node.node_id}")

    def _can_log_in(self, node: KafkaNode, name: str, password: str) -> bool:
        refused: list[KafkaError] = []

        def on_error(error: KafkaError) -> None:
            if error.code() == KafkaError._AUTHENTICATION:
                refused.append(error)

        settings: dict[str, Any] = {
            # past the proxy, if there is one; and whatever certificate the node shows just now
            "bootstrap.servers": f"localhost:{node.ports.client}",
            "security.protocol": "SASL_SSL",
            "enable.ssl.certificate.verification": False,
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": name,
            "sasl.password": password,
            "log_level": 0,
            "error_cb": on_error,
        }
        client = AdminClient(settings)
        for _ in range(50):
            with suppress(KafkaException):
                client.list_topics(timeout=0.2)
                return True
            client.poll(0)
            if refused:
                return False
        raise BrokerError(f"node {node.node_id} neither accepts nor refuses {name}")
