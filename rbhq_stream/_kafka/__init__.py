"""All that the feed has to do with the Kafka client. `kafka_source` makes the source of a feed."""

from rbhq_stream._kafka.consumer import KafkaSource
from rbhq_stream._kafka.every_partition import EveryPartitionSource, kafka_source

__all__ = ["EveryPartitionSource", "KafkaSource", "kafka_source"]
