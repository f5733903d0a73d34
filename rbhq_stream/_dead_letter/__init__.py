"""Where bad records go: `DeadLetterFile` keeps them in a file, `DeadLetterTopic` in a topic of your own Kafka.

Either is an `on_bad_record` of a feed. Called with a `DecodeError` it returns when the record is safe, with its raw
bytes, and else raises: then the record isn't done. A record may be stored more than once (a crash after it was
stored and before its offset was committed, say), and then has the same `Record.place` each time.
"""

from rbhq_stream._dead_letter.file import DeadLetterFile, DeadLetters
from rbhq_stream._dead_letter.letter import DeadLetter, DeadLetterError
from rbhq_stream._dead_letter.topic import DeadLetterTopic

__all__ = ["DeadLetter", "DeadLetterError", "DeadLetterFile", "DeadLetterTopic", "DeadLetters"]
