"""The tests, and what measures the library."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The root of the repository."""
