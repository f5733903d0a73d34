"""Sinks for bad records: `DeadLetterFile` stores them in a file, `DeadLetterTopic` in a topic of your own Kafka.

Both can be used as the `on_bad_record` of a feed. A sink is called with a `DecodeError`, and returns once the record is
stored with its raw bytes. Otherwise it raises, and the record is not acknowledged. A record may be stored more than
once, for example if the process crashes after it was stored and before its offset was committed. It has the same
`Record.coordinates` each time.
"""

from rbhq_stream._dead_letter.file import DeadLetterFile
from rbhq_stream._dead_letter.letter import DeadLetter, DeadLetterError
from rbhq_stream._dead_letter.reading import DeadLetters
from rbhq_stream._dead_letter.topic import DeadLetterTopic

__all__ = ["DeadLetter", "DeadLetterError", "DeadLetterFile", "DeadLetterTopic", "DeadLetters"]
