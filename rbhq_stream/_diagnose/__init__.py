"""Why there is no feed, step by step: `diagnose(config)`, and what it gives."""

from rbhq_stream._diagnose.examination import diagnose
from rbhq_stream._diagnose.findings import Diagnosis, Step, Verdict

__all__ = ["Diagnosis", "Step", "Verdict", "diagnose"]
