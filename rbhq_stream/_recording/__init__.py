"""Recordings: what a feed read, in files of an open format, and its replay through the same feed.

docs/recording.md specifies the format. This package knows nothing of the engine.
"""

from rbhq_stream._recording.folder import RecordTo as RecordTo
from rbhq_stream._recording.recorded_source import recorded as recorded
from rbhq_stream._recording.recording import Recording as Recording
from rbhq_stream._recording.segments import RecordingCut as RecordingCut
