"""What can be set on a sandbox: durations of its scenarios and bounds of its stores."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """One sandbox's settings. Durations are seconds, sizes are bytes."""

    slow_seconds: float = 2.0
    """Wait before the first byte in scenario `slow`."""
    silence_seconds: float = 20.0
    """Silence after the first event in scenario `silent`."""
    pace_seconds: float = 0.1
    """Wait between two events in scenario `slow-stream`."""
    batch_seconds: float = 1.0
    """Time from the creation of a batch to its end."""
    recorded_requests: int = 1_000
    """Requests that `/_sandbox/requests` remembers."""
    stored_batches: int = 1_000
    stored_files: int = 10_000
    stored_skills: int = 1_000
    stored_bytes: int = 8 * 1024**3
    """Space for files, skills and batch results together, in a temporary folder."""
