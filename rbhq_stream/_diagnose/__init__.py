"""Finds out, step by step, why a feed does not work: `diagnose(config)` and its result."""

from rbhq_stream._diagnose.examination import diagnose
from rbhq_stream._diagnose.findings import Diagnosis, Step, Verdict

__all__ = ["Diagnosis", "Step", "Verdict", "diagnose"]
