"""Gets everything ready that a broker needs: ``python -m tests.broker.prepare`` is what ``make test`` calls first.

The first time it installs Kafka, and runs it once to have Java store the classes that it loads in
an archive ("class data sharing"). With the archive a broker starts in two thirds of the time. A Java
that doesn't accept the archive, because it is of another version, starts without.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from pathlib import Path

from confluent_kafka import Consumer

from tests.broker.fixtures import new_partner
from tests.broker.install import KAFKA_VERSION, InstallError, class_archive, install, java_version
from tests.broker.kafka import KafkaCluster


def make_class_archive() -> None:
    """Has Java write the archive when a broker that has done all that the tests do comes to its end."""
    with tempfile.TemporaryDirectory(dir=class_archive().parent, prefix=".archive-") as temporary:
        made = Path(temporary) / class_archive().name
        with KafkaCluster(Path(temporary) / "kafka", jvm_options=[f"-XX:ArchiveClassesAtExit={made}"]) as cluster:
            partner = new_partner(cluster)
            cluster.publish(partner.topics.prices, [(None, b"any")])
            settings = cluster.client_settings(partner.username, partner.password)
            group = {"group.id": f"{partner.group_prefix}any", "auto.offset.reset": "earliest"}
            with closing(Consumer({**settings, **group})) as consumer:
                consumer.subscribe([partner.topics.prices])
                consumer.poll(20)
            cluster.nodes[0].stop(60)
        if made.exists():  # whole, as two of us may be doing this at once
            made.rename(class_archive())


def main() -> int:
    try:
        install()
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not class_archive().exists():
        make_class_archive()
    print(f"Apache Kafka {KAFKA_VERSION} is ready (Java {java_version()})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
