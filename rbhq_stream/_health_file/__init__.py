"""The health of a feed in a small file, for probes from outside the process: written, read and judged."""

from rbhq_stream._health_file.reading import HealthReport
from rbhq_stream._health_file.writing import HealthFile

__all__ = ["HealthFile", "HealthReport"]
