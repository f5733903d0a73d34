"""A real Apache Kafka for the tests, started and stopped by the tests themselves.

No container and no service that has to be installed by hand: the broker's jars come from Maven
Central once (``python -m tests.broker.prepare``), and every test session starts its own broker
on loopback, with TLS, SCRAM-SHA-512 and access control switched on, as a production broker has.

* ``install``       fetches Kafka into a cache folder.
* ``prepare``       does so, and makes an archive of its classes, so that brokers start sooner.
* ``certificates``  the certificate authority and server certificates of one run.
* ``kafka``         ``KafkaCluster``: one or more brokers and everything a test does to them.
* ``raw_producer``  publishes what the Python client cannot.
* ``proxy``         ``TcpProxy``: breaks the network between a client and a broker.
* ``fixtures``      the pytest fixtures (``kafka``, ``kafka3``, ``partner``, ...).
"""
