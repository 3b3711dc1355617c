"""What the parts of the limits tell each other; callers see `RateLimited` only."""


class QueueFullError(Exception):
    """Too many wait already, or one has waited too long."""


class SharedUnavailableError(Exception):
    """Redis does not answer in time, or is left alone because it did not."""
