"""All that the feed has to do with the Kafka client. `KafkaSource` is the source of a feed."""

from rbhq_stream._kafka.consumer import KafkaSource

__all__ = ["KafkaSource"]
