"""The only room that knows the Kafka client: `KafkaSource` is the feed's source, `consumer` makes a bare one."""

from rbhq_stream._kafka.consumer import KafkaSource

__all__ = ["KafkaSource"]
